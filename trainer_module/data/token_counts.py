"""Vocabularies of all tables from one pass: tokens are counted batch by batch in Arrow, not one by one in Python.

The files are those of `tft.vocabulary`, byte by byte. That analyzer builds dozens of Beam transforms for each table and
makes an element of every token.
"""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.beam import experimental

_SCHEMA = pa.schema([("token", pa.large_binary()), ("count", pa.int64())])
# A token is counted in the partition that its last byte chooses; a partition of each table has to fit in memory twice.
_PARTITIONS = 16
# So many distinct tokens, at least, are gathered before those of several batches are added up.
_PENDING = 1 << 20
# A vocabulary without tokens could not be looked up in; as in `tft.vocabulary`.
_NO_TOKEN = {"string": b"49d0cd50-04bb-48c0-bc6f-5b575dce351a", "int64": b"-1"}
_NEWLINES = (b"\n", b"\r")


@dataclass(frozen=True)
class TokenFile:
    """A file of tokens, the most frequent ones first; among equally frequent ones the largest first.

    Attributes:
        name: Of the file, and its key in the transform graph.
        table: Number of the table whose tokens it has.
        dtype: Of the table's tokens: `string` or `int64`.
        min_frequency: Tokens counted less often are left out.
        top_k: At most this many tokens; None keeps all.
        with_counts: Each line is the number, a blank and the token.
    """

    name: str
    table: int
    dtype: str
    min_frequency: int = 1
    top_k: int | None = None
    with_counts: bool = False

    def lines(self, counts: pa.Table) -> pa.Array:
        """The lines for the counts of all distinct tokens of the table, columns `token` and `count`."""
        counts = counts.filter(pc.greater_equal(counts["count"], self.min_frequency))
        counts = counts.sort_by([("count", "descending"), ("token", "descending")]).slice(0, self.top_k)
        if not len(counts):
            counts = pa.table([[_NO_TOKEN[self.dtype]], [1]], schema=_SCHEMA)
        tokens = counts["token"].combine_chunks()
        if not self.with_counts:
            return tokens
        numbers = counts["count"].combine_chunks().cast(pa.large_string()).cast(pa.large_binary())
        return pc.binary_join_element_wise(numbers, tokens, pa.scalar(b" ", pa.large_binary()))


def vocabularies(tokens: Sequence[tf.Tensor], files: Sequence[TokenFile]) -> list[tf.Tensor]:
    """Counts tokens over the whole analyzed data and writes vocabularies, for a `preprocessing_fn`.

    Args:
        tokens: Per table, the tokens of a batch, `[n]` strings or integers. Empty strings and those with a line break
            are not counted.
        files: What to write.

    Returns:
        Per file its path, a scalar for `tft.apply_vocabulary`, which is known once the analysis is done.
    """
    for file in files:
        tft.annotate_asset(file.name, file.name)
    return tft.experimental.ptransform_analyzer(
        inputs=list(tokens),
        ptransform=_WriteVocabularies(files),
        output_dtypes=[tf.string] * len(files),
        output_shapes=[[]] * len(files),
        output_asset_default_values=[_NO_TOKEN[file.dtype] for file in files],
        name="vocabularies",
    )


class _WriteVocabularies(experimental.PTransformAnalyzer):
    """From batches of tokens, a tuple with an array per table, to a path per file."""

    def __init__(self, files: Sequence[TokenFile]):
        super().__init__()
        self._files = tuple(files)

    def expand(self, pcoll: beam.PCollection) -> tuple[beam.PCollection, ...]:
        written = (
            pcoll
            | "CountInBundle" >> beam.ParDo(_CountInBundle())
            | "AddUp" >> beam.CombinePerKey(_AddUp())
            | "ByTable" >> beam.MapTuple(lambda key, counts: (key[0], counts))
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_Write(self._files, self.base_temp_dir)).with_outputs()
        )
        return tuple(written[file.name] for file in self._files)


class _CountInBundle(beam.DoFn):
    """Counts what a bundle holds; emits `((table, partition), counts)`, for partition 0 also where it is empty."""

    def start_bundle(self):
        self._counters: list[_Counter] = []

    def process(self, batch: Sequence[np.ndarray]):
        if not self._counters:
            self._counters = [_Counter() for _ in batch]
        for counter, tokens in zip(self._counters, batch, strict=True):
            counter.add(_counted(tokens))

    def finish_bundle(self) -> Iterator[Any]:
        for table, counter in enumerate(self._counters):
            counts = counter.total()
            chosen = _partitions(counts["token"].combine_chunks())
            for partition in sorted({0, *np.unique(chosen)}):
                part = counts.filter(pa.array(chosen == partition))
                yield beam.transforms.window.GlobalWindows.windowed_value(((table, int(partition)), part))


class _AddUp(beam.CombineFn):
    """Adds up counts of the same tokens."""

    def create_accumulator(self) -> "_Counter":
        return _Counter()

    def add_input(self, accumulator: "_Counter", counts: pa.Table) -> "_Counter":
        accumulator.add(counts)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable["_Counter"]) -> "_Counter":
        merged = _Counter()
        for accumulator in accumulators:
            merged.add(accumulator.total())
        return merged

    def extract_output(self, accumulator: "_Counter") -> pa.Table:
        return accumulator.total()


class _Counter:
    """Counts of distinct tokens, added up once in a while."""

    def __init__(self):
        self._parts: list[pa.Table] = []
        self._pending, self._limit = 0, _PENDING

    def add(self, counts: pa.Table) -> None:
        self._parts.append(counts)
        self._pending += len(counts)
        if self._pending > self._limit:
            # Twice what is left, so that the work stays proportional to what was added.
            self._limit = max(_PENDING, 2 * len(self.total()))

    def total(self) -> pa.Table:
        """Each token once, columns `token` and `count`."""
        if len(self._parts) != 1:
            counts = pa.concat_tables([_SCHEMA.empty_table(), *self._parts])
            distinct, sums = added_up(counts["token"], counts["count"])
            self._parts = [pa.table([distinct, sums], schema=_SCHEMA)]
            self._pending = len(sums)
        return self._parts[0]


def added_up(values: pa.ChunkedArray, counts: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Counts of values that may stand several times, as counts of distinct values.

    Arrow's own grouping takes four times as long for texts.

    Args:
        values: Without nulls, `[rows]`.
        counts: Below 2^53 in all, `[rows]`.

    Returns:
        Distinct values, and the sum of the counts of each, int64.
    """
    if not len(values):
        return pa.array([], values.type), np.zeros(0, np.int64)
    encoded = values.dictionary_encode()
    # All chunks share one dictionary.
    numbers = np.concatenate([chunk.indices for chunk in encoded.chunks])
    return encoded.chunk(0).dictionary, np.bincount(numbers, weights=counts).astype(np.int64)


class _Write(beam.DoFn):
    """Writes the files of a table; emits each path under the file's name."""

    def __init__(self, files: Sequence[TokenFile], directory: str):
        self._files, self._directory = files, directory

    def process(self, element: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
        table, parts = element
        # No token is in two parts.
        counts = pa.concat_tables(parts)
        for file in self._files:
            if file.table == table:
                path = os.path.join(self._directory, file.name)
                _write_lines(path, file.lines(counts))
                yield beam.pvalue.TaggedOutput(file.name, np.array(path))


def _counted(tokens: np.ndarray) -> pa.Table:
    """Distinct tokens of a batch and how often they occur."""
    counted = pc.value_counts(pa.array(tokens, None if tokens.dtype.kind == "i" else pa.large_binary()))
    distinct, counts = counted.flatten()
    if pa.types.is_integer(distinct.type):
        return pa.table([distinct.cast(pa.large_string()).cast(pa.large_binary()), counts], schema=_SCHEMA)
    kept = pc.greater(pc.binary_length(distinct), 0)
    for newline in _NEWLINES:
        kept = pc.and_not(kept, pc.match_substring(distinct, newline))
    return pa.table([distinct, counts], schema=_SCHEMA).filter(kept)


def _partitions(tokens: pa.LargeBinaryArray) -> np.ndarray:
    """The partition of each token, which is not empty, `[n]`."""
    if not len(tokens):
        return np.zeros(0, np.uint8)
    _, offsets, data = tokens.buffers()
    ends = np.frombuffer(offsets, np.int64)[tokens.offset + 1 : tokens.offset + len(tokens) + 1]
    return np.frombuffer(data, np.uint8)[ends - 1] % _PARTITIONS


def _write_lines(path: str, lines: pa.Array) -> None:
    """Writes a file as a whole: a task that is repeated finds it complete or not at all."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    scratch = f"{path}.{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(scratch, "wb") as file:
        for start in range(0, len(lines), _PENDING):
            block = lines.slice(start, _PENDING)
            one_list = pa.ListArray.from_arrays(pa.array([0, len(block)], pa.int32()), block)
            file.write(pc.binary_join(one_list, pa.scalar(b"\n", pa.large_binary()))[0].as_py() + b"\n")
    tf.io.gfile.rename(scratch, path, overwrite=True)
