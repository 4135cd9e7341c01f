"""Keys that tell test rows apart, equal wherever the same values stand."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_STEP = np.uint64(0x9E3779B97F4A7C15)


def row_keys(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray:
    """Hashes the values of some columns, row by row.

    The hash depends on the columns' names and on the order of a row's values, but not on the order of the columns, of
    the rows, or on how rows are cut into batches. Rows with equal values have equal keys.

    Args:
        batch: Columns of lists of bytes, integers or numbers.
        columns: Names of columns of the batch.

    Returns:
        uint64 `[rows]`.
    """
    keys = np.zeros(batch.num_rows, np.uint64)
    for name in sorted(columns):
        column = batch.column(name)
        # Also of a slice of a longer array, whose offsets do not begin at 0.
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        hashes = _hash_values(column.flatten())
        rows = np.repeat(np.arange(batch.num_rows), lengths)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        cells = np.zeros(batch.num_rows, np.uint64)
        np.add.at(cells, rows, _mix(hashes ^ _mix(places.astype(np.uint64))))
        keys = keys + _mix(cells ^ _hash_bytes([name.encode()])[0])
    return _mix(keys)


def _hash_values(values: pa.Array) -> np.ndarray:
    if pa.types.is_large_binary(values.type) or pa.types.is_binary(values.type):
        distinct = values.dictionary_encode()
        indices = distinct.indices.to_numpy(zero_copy_only=False)
        return _hash_bytes(distinct.dictionary.to_pylist())[indices] if len(indices) else np.zeros(0, np.uint64)
    return _mix(values.to_numpy(zero_copy_only=False).astype(np.float64).view(np.uint64))


def _hash_bytes(values: Sequence[bytes]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(value, digest_size=8).digest() for value in values)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), elementwise modulo 2^64."""
    values = values + _STEP
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
