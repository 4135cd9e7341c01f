"""Dense layers that models are built from."""

from collections.abc import Sequence

import tensorflow as tf


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


class MLP(tf.keras.layers.Layer):
    """Dense layers with ReLU and dropout, then a linear one."""

    def __init__(self, hidden: Sequence[int], output_dim: int, dropout: float = 0.0, output_bias: float = 0.0):
        """Makes the layers.

        Args:
            hidden: Widths of the hidden layers.
            output_dim: Width of the output.
            dropout: Fraction of hidden units dropped in training.
            output_bias: Initial bias of the output, such as the mean of what is predicted.
        """
        super().__init__()
        layers = []
        for width in hidden:
            layers += [tf.keras.layers.Dense(width, activation="relu"), tf.keras.layers.Dropout(dropout)]
        layers.append(tf.keras.layers.Dense(output_dim, bias_initializer=tf.initializers.Constant(output_bias)))
        self._layers = tf.keras.Sequential(layers)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """From `[batch, input_dim]` to `[batch, output_dim]`."""
        return self._layers(inputs, training=training)
