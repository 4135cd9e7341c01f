"""Encoders of the user's history: from the rows of its items to one vector, or to one vector per step.

A history is filled up behind its items. Its length is that of its ids, so an item whose row is zero counts as an item.
"""

import math
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer_module.models.config import AttentionEncoder, QueryEncoder, RecencyEncoder, TransformerEncoder
from trainer_module.models.layers import dropout, fold_in, on_tpu

_MASKED = -1e9


class Encoder(Protocol):
    """Makes a query's vector from its history."""

    def __call__(self, rows: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """Encodes histories.

        Args:
            rows: Rows of the items, oldest first, filled up with anything, `[batch, length, dim]`.
            lengths: Number of items, int64 `[batch]`.
            seed: Chooses what dropout drops, int32 `[2]`; None drops nothing.

        Returns:
            `[batch, dim]`.
        """
        ...


class Recency(tf.keras.layers.Layer):
    """Weighted mean of the items; the weights are learned and depend on the age alone, the latest item having age 0.

    They start in proportion to `1 / (1 + age)`. An empty history gives zeros.
    """

    def __init__(self, length: int, dtype: str = "float32"):
        """Makes the weights.

        Args:
            length: Of the longest history.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._length = length
        start = tf.initializers.Constant(-np.log1p(np.arange(length)))
        self._of_age = self.add_weight(name="of_age", shape=[length], initializer=start)

    def call(self, rows: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """See `Encoder`."""
        steps = tf.range(self._length, dtype=lengths.dtype)
        ages = lengths[:, tf.newaxis] - 1 - steps
        scores = tf.gather(tf.cast(self._of_age, tf.float32), tf.clip_by_value(ages, 0, self._length - 1))
        return _weighted_mean(rows, scores, ages >= 0)


class Attention(tf.keras.layers.Layer):
    """Weighted mean of the items, with weights from the items' own rows and their ages.

    The weights are a softmax of `u tanh(W row + b) + a[age]` (Yang et al., "Hierarchical Attention Networks for
    Document Classification", NAACL 2016, with a bias by age). An empty history gives zeros.
    """

    def __init__(self, dim: int, length: int, dtype: str = "float32"):
        """Makes the layers.

        Args:
            dim: Width of a row.
            length: Of the longest history.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._length = length
        self._hidden = tf.keras.layers.Dense(dim, activation="tanh", dtype=dtype)
        self._score = tf.keras.layers.Dense(1, use_bias=False, dtype=dtype)
        self._of_age = self.add_weight(name="of_age", shape=[length], initializer="zeros")

    def call(self, rows: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """See `Encoder`."""
        ages = lengths[:, tf.newaxis] - 1 - tf.range(self._length, dtype=lengths.dtype)
        of_age = tf.gather(tf.cast(self._of_age, tf.float32), tf.clip_by_value(ages, 0, self._length - 1))
        scores = tf.cast(tf.squeeze(self._score(self._hidden(rows)), axis=2), tf.float32)
        return _weighted_mean(rows, scores + of_age, ages >= 0)


class Transformer(tf.keras.layers.Layer):
    """Causal transformer with layer normalization before each block (Xiong et al., "On Layer Normalization in the
    Transformer Architecture", ICML 2020), over item rows as in SASRec (Kang and McAuley, "Self-Attentive Sequential
    Recommendation", ICDM 2018).

    A learned start vector comes before the items, so step k has seen the first k items, and step 0 answers for a user
    without a history. A step sees no later step. What fills a history up is later than all its items, so no mask is
    needed to hide it. Off TPUs, only attention computes with what fills up: most histories are much shorter than the
    longest. Softmax and normalization are computed in float32.

    Attributes:
        num_steps: Length of the longest history plus one.
    """

    def __init__(self, config: TransformerEncoder, dim: int, length: int, dtype: str = "float32"):
        """Makes the layers.

        Args:
            config: Number of layers and heads, dropout.
            dim: Width of a row.
            length: Of the longest history.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self.num_steps = length + 1
        self._scale = math.sqrt(dim)
        self._dropout = config.dropout
        # An initializer without a seed gives the same values again.
        normal = [tf.initializers.TruncatedNormal(stddev=0.02) for _ in range(2)]
        self._positions = self.add_weight(name="positions", shape=[self.num_steps, dim], initializer=normal[0])
        self._start = self.add_weight(name="start", shape=[dim], initializer=normal[1])
        self._blocks = [_Block(config, dim, dtype) for _ in range(config.layers)]
        self._norm = _normalization()

    def call(self, rows: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """See `Encoder`."""
        is_last = tf.one_hot(lengths, self.num_steps, dtype=tf.float32)
        return tf.einsum("bs,bsd->bd", is_last, self.steps(rows, lengths, seed))

    def steps(self, rows: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encodes every beginning of the histories.

        Args:
            rows: As in `Encoder`.
            lengths: As in `Encoder`.
            seed: As in `Encoder`.

        Returns:
            The vectors after 0, 1, ..., `length` items, float32 `[batch, length + 1, dim]`; any finite numbers for more
            items than a history has.
        """
        rows = tf.cast(rows, self.compute_dtype) * self._scale
        start = tf.broadcast_to(tf.cast(self._start, rows.dtype), [tf.shape(rows)[0], 1, rows.shape[-1]])
        hidden = tf.concat([start, rows], axis=1) + tf.cast(self._positions, rows.dtype)
        layout = _Layout(tf.shape(rows)[0], lengths, self.num_steps)
        tokens = dropout(layout.packed(hidden), self._dropout, None if seed is None else fold_in(seed, 0))
        for number, block in enumerate(self._blocks, start=1):
            tokens = block(tokens, layout, None if seed is None else fold_in(seed, number))
        return layout.unpacked(self._norm(tf.cast(tokens, tf.float32)))


class _Layout:
    """Where the steps of histories lie among all steps of a batch."""

    def __init__(self, batch_size: tf.Tensor, lengths: tf.Tensor, num_steps: int):
        """Finds the steps that histories have.

        Args:
            batch_size: Number of histories.
            lengths: Number of items, int64 `[batch]`.
            num_steps: Of the longest history.
        """
        self._batch_size, self._num_steps = batch_size, num_steps
        is_step = tf.range(num_steps, dtype=tf.int64) <= lengths[:, tf.newaxis]
        # None is all of them.
        self._steps = None if on_tpu() else tf.where(tf.reshape(is_step, [-1]))

    def packed(self, values: tf.Tensor) -> tf.Tensor:
        """From `[batch, num_steps, dim]` to one token for each step that a history has, `[tokens, dim]`."""
        flat = tf.reshape(values, [-1, values.shape[-1]])
        return flat if self._steps is None else tf.gather(flat, self._steps[:, 0])

    def unpacked(self, tokens: tf.Tensor) -> tf.Tensor:
        """The other way round; steps that a history does not have are zeros, or whatever the token is."""
        dim = tokens.shape[-1]
        if self._steps is not None:
            size = tf.cast(self._batch_size * self._num_steps, tf.int64)
            tokens = tf.scatter_nd(self._steps, tokens, [size, dim])
        return tf.reshape(tokens, [-1, self._num_steps, dim])


class _Block(tf.keras.layers.Layer):
    """Self-attention and a feed-forward layer, each behind a normalization and beside a shortcut."""

    def __init__(self, config: TransformerEncoder, dim: int, dtype: str):
        super().__init__(dtype=dtype)
        self._heads = config.heads
        self._head_dim = dim // config.heads
        self._dropout = config.dropout
        self._norms = [_normalization() for _ in range(2)]
        self._in = tf.keras.layers.Dense(3 * dim, dtype=dtype)
        self._out = tf.keras.layers.Dense(dim, dtype=dtype)
        self._hidden = tf.keras.layers.Dense(config.feedforward * dim, activation="relu", dtype=dtype)
        self._contract = tf.keras.layers.Dense(dim, dtype=dtype)

    def call(self, inputs: tf.Tensor, layout: _Layout, seed: tf.Tensor | None = None) -> tf.Tensor:
        """From `[tokens, dim]` to the same."""
        seeds = [None if seed is None else fold_in(seed, number) for number in range(4)]
        attended = layout.packed(self._attend(layout.unpacked(self._in(self._normalized(inputs, 0))), seeds[0]))
        inputs += dropout(self._out(attended), self._dropout, seeds[1])
        hidden = dropout(self._hidden(self._normalized(inputs, 1)), self._dropout, seeds[2])
        return inputs + dropout(self._contract(hidden), self._dropout, seeds[3])

    def _normalized(self, inputs: tf.Tensor, number: int) -> tf.Tensor:
        return tf.cast(self._norms[number](tf.cast(inputs, tf.float32)), self.compute_dtype)

    def _attend(self, projected: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """From queries, keys and values side by side, `[batch, steps, 3 * dim]`, to `[batch, steps, dim]`."""
        num_steps = projected.shape[1]
        # [3, batch, heads, steps, dim of a head]
        by_head = tf.reshape(projected, [-1, num_steps, 3, self._heads, self._head_dim])
        queries, keys, values = tf.unstack(tf.transpose(by_head, [2, 0, 3, 1, 4]), axis=0)
        scores = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32) / math.sqrt(self._head_dim)
        later = np.triu(np.full([num_steps, num_steps], _MASKED, np.float32), 1)
        weights = dropout(tf.nn.softmax(scores + later), self._dropout, seed)
        attended = tf.matmul(tf.cast(weights, values.dtype), values)
        return tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, num_steps, self._heads * self._head_dim])


def make_encoder(config: QueryEncoder, dim: int, length: int, dtype: str = "float32") -> tf.keras.layers.Layer | None:
    """The encoder of an experiment, with its variables; None for the plain mean, which needs none.

    Args:
        config: Which one.
        dim: Width of a row.
        length: Of the longest history.
        dtype: Keras dtype policy.
    """
    if isinstance(config, TransformerEncoder):
        encoder = Transformer(config, dim, length, dtype)
    elif isinstance(config, AttentionEncoder):
        encoder = Attention(dim, length, dtype)
    elif isinstance(config, RecencyEncoder):
        encoder = Recency(length, dtype)
    else:
        return None
    # Variables are made here, before anything is compiled or restored.
    encoder(tf.zeros([1, length, dim]), tf.zeros([1], tf.int64), None)
    return encoder


def _weighted_mean(rows: tf.Tensor, scores: tf.Tensor, is_item: tf.Tensor) -> tf.Tensor:
    """Mean of `[batch, length, dim]` by the softmax of `scores` over the items, `[batch, length]` both."""
    counts = tf.cast(is_item, tf.float32)
    weights = tf.nn.softmax(tf.where(is_item, scores, _MASKED)) * counts
    return tf.einsum("bl,bld->bd", tf.cast(weights, rows.dtype), rows)


def _normalization() -> tf.keras.layers.Layer:
    return tf.keras.layers.LayerNormalization(epsilon=1e-6, dtype="float32")
