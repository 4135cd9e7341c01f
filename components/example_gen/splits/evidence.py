"""Evidence of leaks: assigned rows, reduced to what can break a protocol's promise.

Nothing here is used to assign rows, so that an error in an assignment does not hide itself. Each block reduces its own
evidence. Evidence is partitioned by key, because no promise but that of `time` looks beyond rows of one key; so the
check scales with the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.example_gen.rows import ITEM, POSITION, SPLITS, USER, Rows, describe_places

_EXAMPLES = 3


@dataclass(frozen=True)
class Evidence:
    """Assigned rows. A protocol that looks at no keys, or at no times, leaves zeros there.

    Attributes:
        key: What the promise is about: user, (user, item) pair, or a hash of a value; `[rows]` int64.
        time: Microseconds since 1970, `[rows]` int64.
        position: See `rows.positions`, `[rows]` int64.
        split: Index into `SPLITS`, `[rows]` int8.
    """

    key: np.ndarray
    time: np.ndarray
    position: np.ndarray
    split: np.ndarray

    @classmethod
    def of(cls, rows: Rows, key: np.ndarray | None = None, time: np.ndarray | None = None) -> "Evidence":
        """From rows that are assigned.

        Args:
            rows: With `rows.split` set.
            key: `[rows]` int64; None is zeros.
            time: `[rows]` int64; None is zeros.
        """
        assert rows.split is not None
        position = rows.column(POSITION)
        nothing = np.zeros(len(position), np.int64)
        return cls(nothing if key is None else key, nothing if time is None else time, position, rows.split)

    def take(self, rows: np.ndarray) -> "Evidence":
        """Selects rows by index or mask."""
        return Evidence(*(values[rows] for values in vars(self).values()))


def concatenate(parts: Sequence[Evidence]) -> Evidence:
    """Joins evidence of several blocks."""
    return Evidence(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def pair_keys(rows: Rows) -> np.ndarray:
    """A number for each row's (user, item) pair, `[rows]` int64. Row numbers of entities are below 2^31."""
    return (rows.column(USER) << 32) | rows.column(ITEM)


def parts_by_key(evidence: Evidence, count: int) -> dict[int, Evidence]:
    """Distributes rows over at most `count` parts, so that rows of equal key are in one part."""
    if count == 1:
        return {0: evidence}
    part = evidence.key % count
    sizes = np.bincount(part, minlength=count)
    return {index: evidence.take(part == index) for index in np.flatnonzero(sizes).tolist()}


def first_of_each_key_and_split(evidence: Evidence) -> Evidence:
    """Keeps one row of each key and split, the one of lowest position. It proves a shared key as well as all do."""
    first = _first_rows(evidence)
    return evidence.take(first[first >= 0])


def find_shared_keys(what: str, evidence: Evidence, files: Sequence[str]) -> list[str]:
    """Looks for keys in more than one split.

    Args:
        what: Name of a key in messages, such as `user`.
        evidence: All rows of its keys, or the first of each key and split.
        files: Names of files by number.

    Returns:
        One sentence for each pair of splits that share a key, with examples.
    """
    first = _first_rows(evidence)
    shared = first[np.count_nonzero(first >= 0, axis=1) > 1]
    evidence = evidence.take(shared[shared >= 0])
    order = np.lexsort((evidence.split, evidence.key))
    key, split, position = evidence.key[order], evidence.split[order], evidence.position[order]
    at = np.flatnonzero(key[1:] == key[:-1])
    leaks = []
    for a, b in sorted({(int(split[i]), int(split[i + 1])) for i in at}):
        pairs = at[(split[at] == a) & (split[at + 1] == b)]
        examples = describe_pairs(position[pairs], position[pairs + 1], files)
        leaks.append(f"the same {what} is in {SPLITS[a]} and in {SPLITS[b]}: {examples}")
    return leaks


def _first_rows(evidence: Evidence) -> np.ndarray:
    """The row of lowest position of each distinct key and split, `[keys, splits]` int64; -1 where there is none."""
    order = np.arange(len(evidence.key))
    if np.any(evidence.position[1:] < evidence.position[:-1]):
        order = np.argsort(evidence.position)
    keys = pa.array(evidence.key).dictionary_encode()
    number = keys.indices.to_numpy().astype(np.int64) * len(SPLITS) + evidence.split
    first = np.full((len(keys.dictionary), len(SPLITS)), -1)
    # Of several values that are assigned to one place, the last one stays.
    backwards = order[::-1]
    first.ravel()[number[backwards]] = backwards
    return first


def describe_pairs(first: np.ndarray, second: np.ndarray, files: Sequence[str]) -> str:
    """The first few of some pairs of rows, and how many pairs there are.

    Args:
        first: Positions of the pairs' first rows, `[pairs]` int64.
        second: Positions of their second rows, `[pairs]` int64.
        files: Names of files by number.
    """
    examples = [describe_places(pair, files) for pair in zip(first[:_EXAMPLES], second[:_EXAMPLES], strict=True)]
    return f"{', '.join(examples)} ({len(first)} in all)"


def describe_some(position: np.ndarray, files: Sequence[str]) -> str:
    """The first few of some rows, and how many rows there are.

    Args:
        position: `[rows]` int64, at least one.
        files: Names of files by number.
    """
    return f"{describe_places(position[:_EXAMPLES], files)} ({len(position)} in all)"
