"""Rows of numbers as int8 with one float32 scale per row.

Symmetric rowwise quantization, as in FBGEMM's rowwise int8 tables and as the uniform baseline of Guan et al., "Post-
Training 4-bit Quantization on Embedding Tables" (2019): the scale of a row is its largest absolute value over 127, and
a number is the nearest multiple of it. A row of zeros has the scale 0. Numbers change by half a scale at most, which is
1/254 of the largest one in their row.
"""

from collections.abc import Iterator
from typing import Self

import numpy as np
import tensorflow as tf

from trainer_module.export.forecast import SCALE_BYTES

LARGEST = 127

_ROWS_AT_ONCE = 1 << 16

Ids = tf.Tensor | tf.SparseTensor | tf.RaggedTensor


def quantize(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds rows to int8.

    Args:
        rows: Finite float32 `[rows, dim]`.

    Returns:
        Int8 `[rows, dim]` between -127 and 127, and scales, float32 `[rows]`.
    """
    scales = np.abs(rows).max(axis=1, initial=0) / np.float32(LARGEST)
    multiples = np.divide(rows, scales[:, np.newaxis], out=np.zeros_like(rows), where=scales[:, np.newaxis] > 0)
    return np.clip(np.rint(multiples), -LARGEST, LARGEST).astype(np.int8), scales


def dequantize(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Float32 `[rows, dim]` from what `quantize` returned."""
    return rows.astype(np.float32) * scales[:, np.newaxis]


class QuantizedTable(tf.Module):
    """An embedding table of int8 rows. A lookup widens only the rows that it gathers."""

    def __init__(self, rows: int, dim: int, name: str):
        """Makes a table of zeros.

        Args:
            rows: Number of rows.
            dim: Numbers per row.
            name: Of the table.
        """
        super().__init__(f"{name}_int8")
        self.shape = (rows, dim)
        self.rows = tf.Variable(tf.zeros([rows, dim], tf.int8), trainable=False, name=f"{name}_int8")
        self.scales = tf.Variable(tf.zeros([rows]), trainable=False, name=f"{name}_scales")

    @classmethod
    def rounding(cls, table: tf.Variable, name: str) -> Self:
        """Quantizes a float32 table block by block, and leaves in it the float32 values that the int8 rows stand for.

        Args:
            table: `[rows, dim]`; is changed.
            name: Of the table.
        """
        quantized = cls(*table.shape, name=name)
        for places in _blocks(table.shape[0]):
            rows, scales = quantize(table.sparse_read(places).numpy())
            quantized.rows.scatter_update(tf.IndexedSlices(rows, places))
            quantized.scales.scatter_update(tf.IndexedSlices(scales, places))
            table.scatter_update(tf.IndexedSlices(dequantize(rows, scales), places))
        return quantized

    @property
    def nbytes(self) -> int:
        """Bytes of rows and scales."""
        rows, dim = self.shape
        return rows * (dim + SCALE_BYTES)

    def gather(self, ids: tf.Tensor) -> tf.Tensor:
        """Float32 rows `[n, dim]` of ids `[n]`."""
        return tf.cast(tf.gather(self.rows, ids), tf.float32) * tf.gather(self.scales, ids)[:, tf.newaxis]

    def widen(self, ids: Ids) -> tuple[Ids, tf.Tensor]:
        """Makes a small float32 table of the rows that `ids` name, so that any lookup of TensorFlow's can go on.

        Args:
            ids: Dense, sparse or ragged, of any shape. Negative ones name no row and stay as they are.

        Returns:
            The same ids as places in the small table, and the table, float32 `[1 + number of ids, dim]`. Its row 0 is
            zero: TensorFlow gathers row 0 for examples without ids before it puts zeros there.
        """
        values = ids if isinstance(ids, tf.Tensor) else ids.values
        flat = tf.reshape(values, [-1])
        table = tf.pad(self.gather(tf.maximum(flat, 0)), [[1, 0], [0, 0]])
        places = tf.where(flat < 0, flat, tf.range(1, tf.size(flat, flat.dtype) + 1, dtype=flat.dtype))
        places = tf.reshape(places, tf.shape(values))
        return (places if isinstance(ids, tf.Tensor) else ids.with_values(places)), table


def _blocks(num_rows: int) -> Iterator[tf.Tensor]:
    """Consecutive row numbers, `_ROWS_AT_ONCE` at a time."""
    for start in range(0, num_rows, _ROWS_AT_ONCE):
        yield tf.range(start, min(start + _ROWS_AT_ONCE, num_rows))
