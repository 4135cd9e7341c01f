"""Examples on disk, read as Arrow batches whatever their format.

Files whose names end in `.parquet` hold columns of lists; all others are gzip TFRecords of serialized `tf.Example`s.
"""

import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder

from trainer_module.data.paths import is_remote
from trainer_module.errors import DataError

# Rows of a batch. Large batches make costs per batch and column negligible.
BATCH_ROWS = 65_536

PARQUET = ".parquet"

# TFRecords are read in large gulps; the default buffer of 256 KiB costs a quarter of the reading time.
_READ_BUFFER_BYTES = 8 << 20
_FEATURE_TYPES = {
    pa.large_binary(): schema_pb2.BYTES,
    pa.int64(): schema_pb2.INT,
    pa.float32(): schema_pb2.FLOAT,
}


class ExampleFiles:
    """The examples of one split.

    Attributes:
        files: Paths or URIs, sorted.
        num_examples: In all files.
    """

    def __init__(self, file_patterns: Sequence[str], nonzero: str = ""):
        """Finds the files and counts their examples.

        Args:
            file_patterns: All of one format.
            nonzero: Column of one integer per example; examples where it is 0 are left out. Empty takes all examples.

        Raises:
            DataError: No file matches, the files are empty, or no example is left.
        """
        self.files = sorted(tf.io.gfile.glob(list(file_patterns)))
        if not self.files:
            raise DataError(f"no example files match {', '.join(file_patterns)}")
        self._nonzero = nonzero
        self.num_examples = sum(map(_count, self.files))
        if not self.num_examples:
            raise DataError(f"the example files {', '.join(self.files)} are empty")
        if nonzero:
            column = pa.schema([(nonzero, pa.large_list(pa.int64()))])
            self.num_examples = sum(batch.num_rows for batch in self.batches(column))
            if not self.num_examples:
                raise DataError(f"column {nonzero!r} is 0 in all examples of {', '.join(self.files)}")

    def batches(
        self, schema: pa.Schema, size: int = BATCH_ROWS, every: int = 1, first: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Some columns of every example, or of evenly spaced ones, in the order of the files.

        Args:
            schema: Names and types of the columns, `large_list`s.
            size: Rows per batch; the last one may be smaller.
            every: Takes one in so many examples.
            first: Number of the first example that is taken, below `every`.
        """
        read = (batch for file in self.files for batch in self._read(file, schema))
        return rebatched(_strided(read, every, first), size)

    def _read(self, file: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        if not self._nonzero:
            yield from read_file(file, schema)
            return
        field = pa.field(self._nonzero, pa.large_list(pa.int64()))
        with_column = schema if self._nonzero in schema.names else schema.append(field)
        for batch in read_file(file, with_column):
            kept = batch.filter(pa.array(single_values(batch, self._nonzero) != 0))
            yield kept.select(schema.names)


def read_file(file: str, schema: pa.Schema | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of at most `BATCH_ROWS` examples.

    Args:
        file: Path or URI.
        schema: Names and types of the columns, `large_list`s; None gives all that a batch has, where the type of a
            column without values may be null.
    """
    for batch in _read(file, schema):
        selected = batch if schema is None else batch.select(schema.names)
        yield selected if schema is None or selected.schema.equals(schema) else selected.cast(schema)


def rebatched(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Batches of `size` rows from batches of any size; the last one may be smaller."""
    waiting: list[pa.RecordBatch] = []
    num_rows = 0
    for batch in batches:
        waiting.append(batch)
        num_rows += batch.num_rows
        if num_rows < size:
            continue
        together = concatenated(waiting)
        whole = num_rows - num_rows % size
        yield from (together.slice(start, size) for start in range(0, whole, size))
        waiting, num_rows = [together.slice(whole)], num_rows - whole
    if num_rows:
        yield concatenated(waiting)


def concatenated(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of some batches with at least one row in all."""
    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batch


def write_parquet(path: str, table: pa.Table) -> None:
    """Writes a Parquet file, local or remote, in row groups of `BATCH_ROWS`.

    Files are read from their first row to their last by components of this pipeline. Dictionaries and statistics of
    columns would take most of the time of writing, and reading would not be faster.
    """
    buffer = io.BytesIO()
    pq.write_table(table, buffer, BATCH_ROWS, use_dictionary=False, write_statistics=False, compression="lz4")
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(buffer.getvalue())


def serialized(batch: pa.RecordBatch) -> list[bytes]:
    """The rows of a batch as serialized `tf.Example`s."""
    # The encoder refuses a column without any value whose type is not known.
    typed = [field.name for field in batch.schema if not pa.types.is_null(field.type)]
    return example_coder.RecordBatchToExamplesEncoder().encode(batch.select(typed))


def values_and_row_splits(lists: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A column of lists as flat values and, int64 `[rows + 1]`, where each row's begin; a null is an empty list."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    return _numpy(lists.flatten()), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def single_values(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """The values of a column that has one in every row, `[rows]`.

    Raises:
        DataError: A row has none, or several.
    """
    lists = batch.column(name)
    values = lists.flatten()
    if len(values) != batch.num_rows or (batch.num_rows and pc.max(pc.list_value_length(lists)).as_py() != 1):
        raise DataError(f"column {name!r}: {len(values)} values in {batch.num_rows} rows; expected one in every row")
    return _numpy(values)


def single_or_missing(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """The values of a column of numbers that has at most one in a row, float64 `[rows]`; NaN where it has none.

    A batch in which no row has a value may lack the column.
    """
    values = np.full(batch.num_rows, np.nan)
    if name in batch.schema.names and not pa.types.is_null(batch.column(name).type):
        lists = batch.column(name)
        values[pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)] = _numpy(lists.flatten())
    return values


def _numpy(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)


def _strided(batches: Iterable[pa.RecordBatch], every: int, first: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch if every == 1 else batch.take(pa.array(np.arange(first, batch.num_rows, every)))
        # Where the next one lies in the batch that follows.
        first = (first - batch.num_rows) % every


def _count(file: str) -> int:
    if file.endswith(PARQUET):
        with _opened(file) as parquet:
            return parquet.metadata.num_rows
    return sum(int(size) for size in _records(file).batch(BATCH_ROWS).map(tf.size).as_numpy_iterator())


def _read(file: str, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    if file.endswith(PARQUET):
        with _opened(file) as parquet:
            yield from parquet.iter_batches(BATCH_ROWS, columns=schema and schema.names)
        return
    decoder = example_coder.ExamplesToRecordBatchDecoder(schema and _proto(schema).SerializeToString())
    for records in _records(file).batch(BATCH_ROWS).prefetch(1).as_numpy_iterator():
        try:
            batch = decoder.DecodeBatch(records.tolist())
        except RuntimeError as error:
            raise DataError(
                f"{file}: an example is damaged or has values of another type than the column's ({error}). Ingest the "
                "data again (--no-cache)"
            ) from error
        yield batch


def _opened(file: str) -> pq.ParquetFile:
    if not is_remote(file):
        return pq.ParquetFile(file)
    # Arrow takes no file object of TensorFlow's. A file holds one block of the data.
    with tf.io.gfile.GFile(file, "rb") as remote:
        return pq.ParquetFile(pa.BufferReader(remote.read()))


def _proto(schema: pa.Schema) -> schema_pb2.Schema:
    types = ((field.name, field.type) for field in schema)
    return schema_pb2.Schema(
        feature=[
            schema_pb2.Feature(name=name, type=_FEATURE_TYPES[of_lists.value_type])  # pyright: ignore[reportAttributeAccessIssue] (a list type)
            for name, of_lists in types
        ]
    )


def _records(file: str) -> tf.data.TFRecordDataset:
    return tf.data.TFRecordDataset(file, "GZIP", _READ_BUFFER_BYTES)
