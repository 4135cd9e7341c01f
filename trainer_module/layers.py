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


class DotInteraction(tf.keras.layers.Layer):
    """Dot products of all pairs of vectors (Naumov et al., "Deep Learning Recommendation Model", 2019, section 2.1).

    The pairs are chosen when the layer is built and gathered by constant indices, so every shape is static, as XLA
    and TPUs need.
    """

    def call(self, vectors: Sequence[tf.Tensor]) -> tf.Tensor:
        """From `num_vectors` tensors `[batch, dim]` to `[batch, num_vectors * (num_vectors - 1) / 2]`."""
        return _pairwise_dots(tf.stack(vectors, axis=1))


@tf.custom_gradient
def _pairwise_dots(vectors: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """From `[batch, num_vectors, dim]` to `[batch, num_vectors * (num_vectors - 1) / 2]`, and the gradient of that.

    With products P = V V^T and their gradient G, that of V is (G + G^T) V. Gathering the sum straight from the gradient
    of the pairs spares one of the two products, and the scatter, that TensorFlow would derive.
    """
    num_vectors = vectors.shape[1]
    pairs = [(i, j) for i in range(num_vectors) for j in range(i)]
    products = tf.reshape(tf.matmul(vectors, vectors, transpose_b=True), [-1, num_vectors * num_vectors])
    dots = tf.gather(products, [i * num_vectors + j for i, j in pairs], axis=1)
    # Where each product's gradient stands; the diagonal is no pair and gets the zero behind all pairs.
    position = {pair: number for number, (i, j) in enumerate(pairs) for pair in ((i, j), (j, i))}
    positions = [position.get((i, j), len(pairs)) for i in range(num_vectors) for j in range(num_vectors)]

    def gradient(of_dots: tf.Tensor) -> tf.Tensor:
        of_products = tf.gather(tf.pad(of_dots, [[0, 0], [0, 1]]), positions, axis=1)
        return tf.matmul(tf.reshape(of_products, [-1, num_vectors, num_vectors]), vectors)

    return dots, gradient


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
