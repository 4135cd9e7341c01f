"""A head for ratings: biases, dot products of all pairs of features, and a small MLP."""

from collections.abc import Collection, Sequence

import tensorflow as tf

from trainer_module.models.layers import MLP, DotInteraction, dropout, fold_in


class RatingHead(tf.keras.layers.Layer):
    """Factorization of all pairs of embedded features, with an MLP over embeddings and numbers.

    A DLRM (Naumov et al., 2019) without a bottom tower: the dot products enter the MLP and, summed with a linear term
    per feature, also the output directly, as in a factorization machine (Rendle, 2010), which it is without the MLP.

    With `num_biases=1`, the last number of a row is a bias, which is added to the score and nothing else. Biases of
    users and items are then those of the naive baseline and stay: the model learns what they do not explain. With few
    ratings per user, gradient steps would fit biases to noise that the baseline's penalty keeps out.
    """

    def __init__(
        self,
        linear: tf.keras.layers.Layer,
        top: tf.keras.layers.Layer | None,
        dropout: float,
        num_biases: int = 0,
        fixed: Collection[int] = (),
        dtype: str = "float32",
    ):
        """Takes the parts.

        Args:
            linear: From embeddings and numbers, side by side, to `[batch, 1]`.
            top: From embeddings, numbers and dot products, side by side, to `[batch, 1]`; None leaves it out.
            dropout: Fraction of embedding units dropped in training.
            num_biases: 1 if rows end in a bias, else 0.
            fixed: Positions of the rows whose bias is not trained.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._interaction = DotInteraction(dtype=dtype)
        self._linear = linear
        self._top = top
        self._dropout = dropout
        self._num_biases = num_biases
        self._fixed = frozenset(fixed)

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]` and numbers `[batch, 1]` to scores, float32 `[batch]`."""
        biases = []
        if self._num_biases:
            # In float32: in bfloat16 a rating near 4 has steps of 0.016.
            biases = [
                tf.cast(tf.stop_gradient(row[:, -1]) if position in self._fixed else row[:, -1], tf.float32)
                for position, row in enumerate(rows)
            ]
            rows = [row[:, :-1] for row in rows]
        if seed is not None:
            rows = [dropout(row, self._dropout, fold_in(seed, number)) for number, row in enumerate(rows)]
        dots = self._interaction(rows)
        flat = tf.concat([*rows, *(tf.cast(number, rows[0].dtype) for number in numbers)], axis=1)
        score = tf.squeeze(self._linear(flat), axis=1) + tf.reduce_sum(dots, axis=1)
        if self._top is not None:
            of_top = self._top(tf.concat([flat, dots], axis=1), seed=None if seed is None else fold_in(seed, len(rows)))
            score += tf.squeeze(of_top, axis=1)
        return tf.add_n([tf.cast(score, tf.float32), *biases])


def rating_head(
    mlp: Sequence[int],
    dropout: float,
    initial_score: float,
    num_biases: int = 0,
    fixed: Collection[int] = (),
    dtype: str = "float32",
) -> tf.keras.layers.Layer:
    """Puts a `RatingHead` together.

    Args:
        mlp: Widths of the hidden layers; without any there is no MLP.
        dropout: Fraction of embedding and hidden units dropped in training.
        initial_score: Where scores start.
        num_biases: 1 if rows end in a bias, else 0.
        fixed: Positions of the rows whose bias is not trained.
        dtype: Keras dtype policy.
    """
    # Biases already predict as well as a linear model can; a random one beside them would only add noise.
    kernel = "zeros" if num_biases else "glorot_uniform"
    if mlp:
        linear = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer=kernel, dtype=dtype)
        return RatingHead(linear, MLP(mlp, 1, dropout, initial_score, dtype), dropout, num_biases, fixed, dtype)
    start = tf.keras.initializers.Constant(initial_score)
    linear = tf.keras.layers.Dense(1, kernel_initializer=kernel, bias_initializer=start, dtype=dtype)
    return RatingHead(linear, None, dropout, num_biases, fixed, dtype)
