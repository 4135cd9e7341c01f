"""Assigns rows of a table to `train`, `eval` and `test`, block by block.

Hashes are those of `example_gen.splits`: BLAKE2b of each distinct name, keyed by the seed, then the finalizer of
splitmix64. A row so stays in its split on every machine and in every run, whatever other columns are read.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.old_splits import EVAL, SPLITS, TEST, choose, mix, uniform
from components.flat_example_gen.config import ColumnSplit, RandomSplit, SplitConfig, TimeSplit


@dataclass(frozen=True)
class Counts:
    """How many rows each time has.

    Attributes:
        times: Distinct, ascending, `[n]`: float64, or bytes as objects.
        counts: Rows of each, `[n]` int64.
    """

    times: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Cuts:
    """Rows from `eval_from` on are `eval`, from `test_from` on `test`; None is later than all."""

    eval_from: float | bytes | None
    test_from: float | bytes | None


def count_times(times: np.ndarray) -> Counts:
    """The counts of a block's times, `[rows]`."""
    return Counts(*np.unique(times, return_counts=True))


def merge(parts: Sequence[Counts]) -> Counts:
    """The counts of all rows together; at least one part."""
    times, inverse = np.unique(np.concatenate([part.times for part in parts]), return_inverse=True)
    counts = np.zeros(len(times), np.int64)
    np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
    return Counts(times, counts)


def plan(split: TimeSplit, whole: Counts) -> Cuts:
    """Cuts that meet the fractions as nearly as rows of equal time allow."""
    before = np.concatenate([[0], np.cumsum(whole.counts)])
    test_at = int(np.argmin(np.abs(before - before[-1] * (1 - split.test_fraction))))
    eval_at = int(np.argmin(np.abs(before - before[test_at] * (1 - split.eval_fraction))))
    times = [*whole.times.tolist(), None]
    return Cuts(times[eval_at], times[test_at])


def assign(split: SplitConfig, file: str, rows: np.ndarray, values: pa.Array | None, cuts: Cuts | None) -> np.ndarray:
    """Assigns the rows of a block.

    Args:
        split: How.
        file: Path of the rows' file below the dataset's directory.
        rows: Numbers of the rows in it, `[rows]` int64.
        values: Of the column that the split looks at, `[rows]` without nulls: float64 for times that are numbers,
            otherwise `large_binary`. None where it looks at none.
        cuts: Of `plan`, for `TimeSplit`.

    Returns:
        Indices into `SPLITS`, `[rows]` int8.
    """
    if isinstance(split, RandomSplit):
        hashes = mix(_hash([file.encode()], split.seed) ^ mix(rows.astype(np.uint64)))
        if values is not None:
            distinct = values.dictionary_encode()
            hashes = _hash(distinct.dictionary.to_pylist(), split.seed)[distinct.indices.to_numpy()]
        test = uniform(mix(hashes ^ np.uint64(TEST))) < split.test_fraction
        return choose(test, uniform(mix(hashes ^ np.uint64(EVAL))) < split.eval_fraction)
    assert values is not None
    if isinstance(split, TimeSplit):
        assert cuts is not None
        times = as_times(values)
        return choose(_from(times, cuts.test_from), _from(times, cuts.eval_from))
    names = pa.array(names_of(split), pa.large_binary())
    return pc.index_in(values, names).to_numpy().astype(np.int8)


def names_of(split: ColumnSplit) -> list[bytes]:
    """What a column says of the rows of each of `SPLITS`."""
    return [getattr(split, name).encode() for name in SPLITS]


def as_times(values: pa.Array) -> np.ndarray:
    """Times that numpy can order, `[rows]`."""
    return values.to_numpy(zero_copy_only=False)


def _from(times: np.ndarray, first: float | bytes | None) -> np.ndarray:
    return np.zeros(len(times), bool) if first is None else (times >= first).astype(bool)


def _hash(tokens: Sequence[bytes], seed: int) -> np.ndarray:
    """64-bit hashes, `[tokens]`."""
    key = f"{seed}".encode()
    digests = b"".join(hashlib.blake2b(token, digest_size=8, key=key).digest() for token in tokens)
    return np.frombuffer(digests, "<u8").astype(np.uint64)
