"""Dense layers that models are built from."""

from collections.abc import Callable, Sequence
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

# Measured on CPUs, forward and backward: with 3 vectors pairs take a quarter of the time of a batched matrix product,
# with 7 the same.
_FEW_VECTORS = 4


class DotInteraction(tf.keras.layers.Layer):
    """Dot products of all pairs of vectors (Naumov et al., "Deep Learning Recommendation Model", 2019, section 2.1).

    All shapes are static, as XLA and TPUs need. Few vectors are multiplied pair by pair: on CPUs a batched matrix
    product calls a kernel per example, which takes several times as long as the arithmetic of small matrices.
    """

    def call(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """From `num_vectors` tensors `[batch, dim]` to `[batch, num_vectors * (num_vectors - 1) / 2]`."""
        # A matrix product adds bfloat16 numbers up in float32, `reduce_sum` does not.
        if 1 < len(vectors) <= _FEW_VECTORS and vectors[0].dtype == tf.float32:
            pairs = [(row, column) for row in range(len(vectors)) for column in range(row)]
            return tf.stack([tf.reduce_sum(vectors[i] * vectors[j], axis=1) for i, j in pairs], axis=1)
        return _pairwise_dots(tf.stack(vectors, axis=1))  # pyright: ignore[reportReturnType] (the decorator changes it)


@tf.custom_gradient
def _pairwise_dots(vectors: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """From `[batch, num_vectors, dim]` to `[batch, num_vectors * (num_vectors - 1) / 2]`, and the gradient of that.

    With products P = V V^T and their gradient G, that of V is (G + G^T) V: one product, where TensorFlow would derive
    two. Row i of P holds i pairs; cutting and padding rows moves them in runs, where gathering would move numbers.
    """
    num_vectors = int(vectors.shape[1])
    products = tf.matmul(vectors, vectors, transpose_b=True)
    dots = tf.concat([products[:, i, :i] for i in range(num_vectors)], axis=1)

    def gradient(of_dots: tf.Tensor) -> tf.Tensor:
        rows = tf.split(of_dots, list(range(num_vectors)), axis=1)
        lower = tf.stack([tf.pad(row, [[0, 0], [0, num_vectors - i]]) for i, row in enumerate(rows)], axis=1)
        return tf.matmul(lower + tf.transpose(lower, [0, 2, 1]), vectors)

    return dots, gradient


def on_tpu() -> bool:
    """Whether what is being traced becomes a TPU's program, which needs fixed shapes."""
    return isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)


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
        output_kernel: str = "glorot_uniform",
    ):
        """Makes the layers.

        Args:
            hidden: Widths of the hidden layers.
            output_dim: Width of the output.
            dropout: Fraction of hidden units dropped in training.
            output_bias: Initial bias of the output, such as the mean of what is predicted.
            dtype: Keras dtype policy, such as `mixed_bfloat16`.
            output_kernel: Keras initializer of the output's weights.
        """
        super().__init__(dtype=dtype)
        self._dropout = dropout
        self._hidden = [tf.keras.layers.Dense(width, activation="relu", dtype=dtype) for width in hidden]
        bias = tf.initializers.Constant(output_bias)
        self._output = tf.keras.layers.Dense(
            output_dim, kernel_initializer=output_kernel, bias_initializer=bias, dtype=dtype
        )

    def call(self, inputs: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """From `[batch, input_dim]` to `[batch, output_dim]`; in training, `seed` (int32 `[2]`) chooses what drops."""
        for number, layer in enumerate(self._hidden):
            inputs = dropout(layer(inputs), self._dropout, None if seed is None else fold_in(seed, number))
        return self._output(inputs)
