"""DLRM (Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019)."""

from collections.abc import Sequence

import tensorflow as tf

from trainer_module.models.layers import MLP, DotInteraction, fold_in


class DlrmHead(tf.keras.layers.Layer):
    """Projects numbers to the embedding width by a bottom MLP, and feeds all pairwise dot products into a top MLP."""

    def __init__(
        self,
        bottom: tf.keras.layers.Layer,
        interaction: tf.keras.layers.Layer,
        top: tf.keras.layers.Layer,
        dtype: str = "float32",
    ):
        """Takes the parts.

        Args:
            bottom: Maps numbers `[batch, num_numbers]` to `[batch, dim]`. This layer applies ReLU to the result.
            interaction: Maps a list of `[batch, dim]` to `[batch, num_interactions]`.
            top: Maps `[batch, dim + num_interactions]` to `[batch, 1]`.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._bottom = bottom
        self._interaction = interaction
        self._top = top

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """Maps embeddings `[batch, dim]` and numbers `[batch, 1]` to scores, float32 `[batch]`."""
        of_bottom, of_top = (None, None) if seed is None else (fold_in(seed, part) for part in range(2))
        dense = tf.nn.relu(self._bottom(tf.concat(numbers, axis=1), seed=of_bottom))
        interactions = self._interaction([dense, *(tf.cast(row, dense.dtype) for row in rows)])
        score = self._top(tf.concat([dense, interactions], axis=1), seed=of_top)
        return tf.cast(tf.squeeze(score, axis=1), tf.float32)


def dlrm_head(
    dim: int,
    bottom: Sequence[int],
    top: Sequence[int],
    dropout: float,
    initial_score: float,
    dtype: str = "float32",
) -> tf.keras.layers.Layer:
    """Builds a `DlrmHead`.

    Args:
        dim: Width of the tables.
        bottom: Widths of the bottom MLP's hidden layers.
        top: Widths of the top MLP's hidden layers.
        dropout: Fraction of hidden units dropped in training.
        initial_score: Initial output bias.
        dtype: Keras dtype policy.
    """
    return DlrmHead(
        bottom=MLP(bottom, dim, dropout, dtype=dtype),
        interaction=DotInteraction(dtype=dtype),
        top=MLP(top, 1, dropout, initial_score, dtype),
        dtype=dtype,
    )
