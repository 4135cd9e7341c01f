"""Keys that tell test rows apart, equal wherever the same values stand."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.splits.hashing import as_bytes, hash_tokens, mix

# Keys the hashes, so that they are none of those that draw splits.
_KEY = "row"


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
        np.add.at(cells, rows, mix(hashes ^ mix(places.astype(np.uint64))))
        keys = keys + mix(cells ^ hash_tokens([name.encode()], _KEY)[0])
    return mix(keys)


def _hash_values(values: pa.Array) -> np.ndarray:
    if pa.types.is_large_binary(values.type) or pa.types.is_binary(values.type):
        distinct = values.dictionary_encode()
        indices = distinct.indices.to_numpy(zero_copy_only=False)
        return hash_tokens(as_bytes(distinct.dictionary), _KEY)[indices] if len(indices) else np.zeros(0, np.uint64)
    # Integers as such: a float64 does not tell large ones apart.
    wide = np.int64 if pa.types.is_integer(values.type) else np.float64
    return mix(values.to_numpy(zero_copy_only=False).astype(wide).view(np.uint64))
