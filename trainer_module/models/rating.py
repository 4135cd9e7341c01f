"""A head for ratings: biases, dot products of all pairs of features, and a small MLP."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from trainer_module.models.layers import MLP, DotInteraction, dropout, fold_in


class RatingHead(tf.keras.layers.Layer):
    """Factorization of all pairs of embedded features, with an MLP over embeddings and numbers.

    A DLRM (Naumov et al., 2019) without a bottom tower: the dot products enter the MLP and, summed with a linear term
    per feature, also the output directly, as in a factorization machine (Rendle, 2010), which it is without the MLP.

    With a `start`, the head learns a correction of the naive baseline. The last number of a row is then a bias, which
    is added to the score and nothing else, and the score is

        intercept + fixed biases + shrinkage * scale * (everything else)

    Intercept and fixed biases are those of the naive baseline and stay. With few ratings per user, gradient steps would
    fit biases to noise that the baseline's penalty keeps out. `scale` is the baseline's error, so that what is learned
    does not depend on the unit of the labels. `shrinkage` is 1 in training; evaluations choose it
    (`trainer_module.models.shrinkage`).
    """

    def __init__(
        self,
        linear: tf.keras.layers.Layer,
        top: tf.keras.layers.Layer | None,
        dropout: float,
        start: "Start | None" = None,
        dtype: str = "float32",
    ):
        """Takes the parts.

        Args:
            linear: From embeddings and numbers, side by side, to `[batch, 1]`.
            top: From embeddings, numbers and dot products, side by side, to `[batch, 1]`; None leaves it out.
            dropout: Fraction of embedding units dropped in training.
            start: The naive baseline that is corrected; None if rows end in no bias.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._interaction = DotInteraction(dtype=dtype)
        self._linear = linear
        self._top = top
        self._dropout = dropout
        self._start = start
        if start is not None:
            self.intercept, self.scale, self.shrinkage = (
                self.add_weight(
                    name,
                    shape=(),
                    # In float32: in bfloat16 a rating near 4 has steps of 0.016.
                    dtype="float32",
                    initializer=tf.keras.initializers.Constant(value),
                    trainable=False,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                    experimental_autocast=False,
                )
                for name, value in (("intercept", start.score), ("scale", start.scale), ("shrinkage", 1.0))
            )

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]` and numbers `[batch, 1]` to scores, float32 `[batch]`."""
        if self._start is None:
            return tf.cast(self._learned(rows, numbers, seed), tf.float32)
        baseline, correction = self.parts(rows, numbers, seed)
        return baseline + (correction if seed is not None else self.shrinkage * correction)

    def parts(
        self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the naive baseline says and the correction without shrinkage, float32 `[batch]` both.

        For a head with a start; arguments as in `call`.
        """
        fixed, learned = [], []
        for position, row in enumerate(rows):
            bias = tf.cast(row[:, -1], tf.float32)
            if position in self._start.fixed:
                fixed.append(tf.stop_gradient(bias))
            else:
                learned.append(bias)
        score = tf.cast(self._learned([row[:, :-1] for row in rows], numbers, seed), tf.float32)
        return tf.add_n([tf.fill(tf.shape(score), self.intercept), *fixed]), self.scale * tf.add_n([score, *learned])

    def _learned(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """Linear term, dot products and MLP, `[batch]`."""
        if seed is not None:
            rows = [dropout(row, self._dropout, fold_in(seed, number)) for number, row in enumerate(rows)]
        dots = self._interaction(rows)
        flat = tf.concat([*rows, *(tf.cast(number, rows[0].dtype) for number in numbers)], axis=1)
        score = tf.squeeze(self._linear(flat), axis=1) + tf.reduce_sum(dots, axis=1)
        if self._top is not None:
            of_top = self._top(tf.concat([flat, dots], axis=1), seed=None if seed is None else fold_in(seed, len(rows)))
            score += tf.squeeze(of_top, axis=1)
        return score


@dataclass(frozen=True)
class Start:
    """The naive baseline that a head corrects.

    Attributes:
        score: Intercept.
        scale: Error of the baseline, in the unit of scores.
        fixed: Positions of the rows whose bias is the baseline's.
    """

    score: float
    scale: float = 1.0
    fixed: frozenset[int] = frozenset()


def rating_head(
    mlp: Sequence[int], dropout: float, start: Start, has_biases: bool, dtype: str = "float32"
) -> tf.keras.layers.Layer:
    """Puts a `RatingHead` together.

    Args:
        mlp: Widths of the hidden layers; without any there is no MLP.
        dropout: Fraction of embedding and hidden units dropped in training.
        start: Where scores start.
        has_biases: Whether rows end in a bias, and the head corrects `start` rather than begins there.
        dtype: Keras dtype policy.
    """
    # The naive baseline predicts as well as a linear model can; random weights beside it would only add noise.
    kernel = "zeros" if has_biases else "glorot_uniform"
    bias = 0.0 if has_biases else start.score
    corrected = start if has_biases else None
    if mlp:
        linear = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer=kernel, dtype=dtype)
        top = MLP(mlp, 1, dropout, bias, dtype, output_kernel=kernel)
        return RatingHead(linear, top, dropout, corrected, dtype)
    initializer = tf.keras.initializers.Constant(bias)
    linear = tf.keras.layers.Dense(1, kernel_initializer=kernel, bias_initializer=initializer, dtype=dtype)
    return RatingHead(linear, None, dropout, corrected, dtype)
