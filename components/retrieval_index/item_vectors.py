"""The candidates' vectors inside the SavedModel, as float32 or as int8 rows, and the scores of queries with them."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from trainer_module.export.quantization import quantize

_BLOCK_ROWS = 65_536

# Rows that are widened to float32 at once: few enough for a processor's cache, and blocks few enough for a graph.
_WIDENED_ROWS, _MOST_BLOCKS = 16_384, 64


class Float32Vectors(tf.Module):
    """Vectors as they are."""

    def __init__(self, vectors: np.ndarray):
        """Copies vectors, float32 `[candidates, dim]`, into a variable, block by block."""
        super().__init__()
        self._vectors = tf.Variable(tf.zeros(vectors.shape), trainable=False, name="candidate_vectors")
        for start, block in _blocks(vectors):
            self._vectors[start : start + len(block)].assign(block)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products of query vectors `[batch, dim]` with all candidates, `[batch, candidates]`."""
        return tf.matmul(queries, self._vectors, transpose_b=True)


class Int8Vectors(tf.Module):
    """Vectors as int8 rows with a float32 scale each; see `trainer_module.export.quantization`."""

    def __init__(self, vectors: np.ndarray):
        """Quantizes vectors, float32 `[candidates, dim]`, into variables, block by block."""
        super().__init__()
        self._num_rows = len(vectors)
        self._rows = tf.Variable(tf.zeros(vectors.shape, tf.int8), trainable=False, name="candidate_vectors_int8")
        self._scales = tf.Variable(tf.zeros(vectors.shape[:1]), trainable=False, name="candidate_scales")
        for start, block in _blocks(vectors):
            rows, scales = quantize(block)
            self._rows[start : start + len(block)].assign(rows)
            self._scales[start : start + len(block)].assign(scales)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products of query vectors `[batch, dim]` with all candidates, `[batch, candidates]`.

        Queries stay float32. TensorFlow also multiplies int8 matrices on CPUs, but that took three times as long, and
        would round queries as well.
        """
        size = max(_WIDENED_ROWS, -(-self._num_rows // _MOST_BLOCKS))
        blocks = [
            tf.matmul(queries, tf.cast(self._rows[start : start + size], tf.float32), transpose_b=True)
            * self._scales[start : start + size]
            for start in range(0, self._num_rows, size)
        ]
        return tf.concat(blocks, axis=1)


ItemVectors = Float32Vectors | Int8Vectors


def _blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row and rows of each block of a memory-mapped array, so that no second copy is in memory."""
    for start in range(0, len(vectors), _BLOCK_ROWS):
        yield start, np.asarray(vectors[start : start + _BLOCK_ROWS])
