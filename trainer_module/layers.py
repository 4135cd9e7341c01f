"""Dense layers that models are built from."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class DenseOptions:
    """How a model's dense part computes.

    Attributes:
        dtype: Keras dtype policy: `float32` or `mixed_bfloat16`, which multiplies in bfloat16 and keeps weights in
            float32.
        jit_compile: Compile with XLA.
    """

    dtype: str = "float32"
    jit_compile: bool = False


FLOAT32 = DenseOptions()


class DotInteraction(tf.keras.layers.Layer):
    """Dot products of all pairs of vectors (Naumov et al., "Deep Learning Recommendation Model", 2019, section 2.1).

    The pairs are chosen when the layer is built and gathered by constant indices, so every shape is static, as XLA
    and TPUs need.
    """

    def call(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """From `num_vectors` tensors `[batch, dim]` to `[batch, num_vectors * (num_vectors - 1) / 2]`."""
        num_vectors = len(vectors)
        pairs = [i * num_vectors + j for i in range(num_vectors) for j in range(i)]
        stacked = tf.stack(vectors, axis=1)
        products = tf.matmul(stacked, stacked, transpose_b=True)
        return tf.gather(tf.reshape(products, [-1, num_vectors * num_vectors]), pairs, axis=1)


def fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    """A new seed for part `number` of what `seed` was for; both int32 `[2]`."""
    return tf.random.experimental.stateless_fold_in(seed, number)


def dropout(inputs: tf.Tensor, rate: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Zeros a fraction `rate` of the units and scales up the others; without a seed, does nothing.

    What is dropped depends on the seed alone, so that training can be resumed, or repeated from any step, exactly.
    """
    if seed is None or not rate:
        return inputs
    return tf.nn.experimental.stateless_dropout(inputs, rate, seed)


class MLP(tf.keras.layers.Layer):
    """Dense layers with ReLU and dropout, then a linear one."""

    def __init__(
        self,
        hidden: Sequence[int],
        output_dim: int,
        dropout: float = 0.0,
        output_bias: float = 0.0,
        dtype: str = "float32",
    ):
        """Makes the layers.

        Args:
            hidden: Widths of the hidden layers.
            output_dim: Width of the output.
            dropout: Fraction of hidden units dropped in training.
            output_bias: Initial bias of the output, such as the mean of what is predicted.
            dtype: Keras dtype policy, such as `mixed_bfloat16`.
        """
        super().__init__(dtype=dtype)
        self._dropout = dropout
        self._hidden = [tf.keras.layers.Dense(width, activation="relu", dtype=dtype) for width in hidden]
        bias = tf.initializers.Constant(output_bias)
        self._output = tf.keras.layers.Dense(output_dim, bias_initializer=bias, dtype=dtype)

    def call(self, inputs: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """From `[batch, input_dim]` to `[batch, output_dim]`; in training, `seed` (int32 `[2]`) chooses what drops."""
        for number, layer in enumerate(self._hidden):
            inputs = dropout(layer(inputs), self._dropout, None if seed is None else fold_in(seed, number))
        return self._output(inputs)
