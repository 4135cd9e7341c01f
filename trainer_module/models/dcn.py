"""DCN v2 (Wang et al., "DCN V2: Improved Deep & Cross Network", WWW 2021)."""

from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

from trainer_module.models.layers import MLP, dropout, fold_in

Structure = Literal["stacked", "parallel"]


class Cross(tf.keras.layers.Layer):
    """Explicit feature crosses: `x_next = x_first * (W x + b) + x` (equation 1), W of full or of low rank.

    Low rank is `W = U V` with `rank` columns of U (equation 2, without experts): `2 * width * rank` weights in place of
    `width ** 2`.
    """

    def __init__(self, rank: int | None = None, dtype: str = "float32"):
        """Takes the rank of W; None is full."""
        super().__init__(dtype=dtype)
        self._rank = rank
        self._down: tf.keras.layers.Layer | None = None

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the weights for the width of the input."""
        width = int(input_shape[-1])
        self._up = tf.keras.layers.Dense(width, kernel_initializer="truncated_normal", dtype=self.dtype_policy)
        if self._rank:
            options = {"use_bias": False, "kernel_initializer": "truncated_normal", "dtype": self.dtype_policy}
            self._down = tf.keras.layers.Dense(self._rank, **options)
        super().build(input_shape)

    def call(self, x: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """From the layer before and the first input to the next, `[batch, width]` each."""
        return first * self._up(self._down(x) if self._down else x) + x


class DcnHead(tf.keras.layers.Layer):
    """Cross layers and an MLP over embeddings and numbers side by side."""

    def __init__(
        self,
        crosses: Sequence[tf.keras.layers.Layer],
        deep: tf.keras.layers.Layer,
        output: tf.keras.layers.Layer,
        structure: Structure,
        dropout: float = 0.0,
        dtype: str = "float32",
    ):
        """Takes the parts.

        Args:
            crosses: Each from `x` and the first input to the next `x`.
            deep: From `[batch, width]` to `[batch, any width]`; ReLU follows.
            output: From `[batch, any width]` to `[batch, 1]`.
            structure: `stacked` feeds the crosses into the MLP, `parallel` both into the output (figure 1).
            dropout: Fraction of the MLP's last units dropped in training.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._crosses = list(crosses)
        self._deep = deep
        self._output = output
        self._structure = structure
        self._dropout = dropout

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]`, whose widths may differ, and numbers `[batch, 1]` to scores `[batch]`."""
        first = tf.concat([*rows, *(tf.cast(number, rows[0].dtype) for number in numbers)], axis=1)
        crossed = first
        for cross in self._crosses:
            crossed = cross(crossed, first)
        of_deep, of_last = (None, None) if seed is None else (fold_in(seed, part) for part in range(2))
        deep = tf.nn.relu(self._deep(crossed if self._structure == "stacked" else first, seed=of_deep))
        deep = dropout(deep, self._dropout, of_last)
        last = deep if self._structure == "stacked" else tf.concat([crossed, deep], axis=1)
        return tf.cast(tf.squeeze(self._output(last), axis=1), tf.float32)


def dcn_head(
    num_crosses: int,
    rank: int | None,
    structure: Structure,
    mlp: Sequence[int],
    dropout: float,
    initial_score: float,
    dtype: str = "float32",
) -> tf.keras.layers.Layer:
    """Puts a `DcnHead` together.

    Args:
        num_crosses: Number of cross layers.
        rank: Of their matrices; None is full.
        structure: `stacked` or `parallel`.
        mlp: Widths of the MLP.
        dropout: Fraction of hidden units dropped in training.
        initial_score: Where scores start.
        dtype: Keras dtype policy.
    """
    *hidden, last = mlp
    return DcnHead(
        crosses=[Cross(rank, dtype) for _ in range(num_crosses)],
        deep=MLP(hidden, last, dropout, dtype=dtype),
        output=MLP((), 1, output_bias=initial_score, dtype=dtype),
        structure=structure,
        dropout=dropout,
        dtype=dtype,
    )
