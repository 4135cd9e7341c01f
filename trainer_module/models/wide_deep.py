"""Wide & deep (Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016)."""

from collections.abc import Sequence

import tensorflow as tf

from trainer_module.models.layers import MLP


class WideDeepHead(tf.keras.layers.Layer):
    """The sum of a linear model and an MLP over the same features.

    The last number of a token's row is its linear weight; the numbers before it are its embedding in the deep part.
    Both parts thus share one lookup. (The paper keeps the wide weights in separate tables.)
    """

    def __init__(self, deep: tf.keras.layers.Layer, dtype: str = "float32"):
        """Takes the deep part, which maps concatenated embeddings and numbers to `[batch, 1]`."""
        super().__init__(dtype=dtype)
        self._deep = deep
        self._linear = tf.keras.layers.Dense(1, use_bias=False, dtype=dtype)

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """Maps embeddings `[batch, dim]`, whose widths may differ, and numbers `[batch, 1]` to scores `[batch]`."""
        numbers = [tf.cast(number, rows[0].dtype) for number in numbers]
        weights = [row[:, -1:] for row in rows]
        score = tf.add_n(
            [*weights, self._deep(tf.concat([*(row[:, :-1] for row in rows), *numbers], axis=1), seed=seed)]
        )
        if numbers:
            score += self._linear(tf.concat(numbers, axis=1))
        return tf.cast(tf.squeeze(score, axis=1), tf.float32)


def wide_deep_head(
    mlp: Sequence[int], dropout: float, initial_score: float, dtype: str = "float32"
) -> tf.keras.layers.Layer:
    """Builds a `WideDeepHead`.

    Args:
        mlp: Widths of the hidden layers.
        dropout: Fraction of hidden units dropped in training.
        initial_score: Initial output bias.
        dtype: Keras dtype policy.
    """
    return WideDeepHead(MLP(mlp, 1, dropout, initial_score, dtype), dtype)
