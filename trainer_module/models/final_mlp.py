"""FinalMLP (Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023)."""

from collections.abc import Sequence

import tensorflow as tf

from trainer_module.models.layers import MLP, dropout, fold_in


class BilinearFusion(tf.keras.layers.Layer):
    """The score of two vectors: a weighted sum of each, and a bilinear form per head (equations 9 to 11).

    Each head sees its own part of both vectors, so that h heads need a h-th of the weights of one.
    """

    def __init__(self, num_heads: int, initial_score: float, dtype: str = "float32"):
        """Takes the number of heads, which divides the widths of both vectors, and where scores start."""
        super().__init__(dtype=dtype)
        self._num_heads = num_heads
        start = tf.keras.initializers.Constant(initial_score)
        self._first = tf.keras.layers.Dense(1, bias_initializer=start, dtype=dtype)
        self._second = tf.keras.layers.Dense(1, use_bias=False, dtype=dtype)

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Makes the weights for the widths of both vectors."""
        first, second = (int(shape[-1]) // self._num_heads for shape in input_shape)
        self._form = self.add_weight(
            name="form", shape=(self._num_heads, first, second), initializer="glorot_uniform", trainable=True
        )
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """From two vectors `[batch, width]`, whose widths may differ, to scores `[batch]`."""
        first, second = inputs
        heads = [tf.reshape(each, [-1, self._num_heads, int(each.shape[-1]) // self._num_heads]) for each in inputs]
        form = tf.cast(self._form, first.dtype)
        bilinear = tf.reduce_sum(tf.einsum("bhi,hij->bhj", heads[0], form) * heads[1], axis=[1, 2])
        return tf.squeeze(self._first(first) + self._second(second), axis=1) + bilinear


class FinalMlpHead(tf.keras.layers.Layer):
    """Two MLPs over the same embeddings and numbers, whose last layers meet in a bilinear fusion.

    The paper's gates of features are left out: without features of their own to look at, all that they can do is to
    scale the inputs of the first layers, which these do themselves.
    """

    def __init__(
        self,
        streams: Sequence[tf.keras.layers.Layer],
        fusion: tf.keras.layers.Layer,
        dropout: float = 0.0,
        dtype: str = "float32",
    ):
        """Takes the parts.

        Args:
            streams: Two, each from `[batch, width]` to `[batch, any width]`; ReLU follows.
            fusion: From both outputs to scores `[batch]`.
            dropout: Fraction of the streams' last units dropped in training.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._streams = list(streams)
        self._fusion = fusion
        self._dropout = dropout

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]`, whose widths may differ, and numbers `[batch, 1]` to scores `[batch]`."""
        inputs = tf.concat([*rows, *(tf.cast(number, rows[0].dtype) for number in numbers)], axis=1)
        outputs = []
        for place, stream in enumerate(self._streams):
            of_stream, of_last = (
                (None, None) if seed is None else (fold_in(seed, 2 * place + part) for part in range(2))
            )
            outputs.append(dropout(tf.nn.relu(stream(inputs, seed=of_stream)), self._dropout, of_last))
        return tf.cast(self._fusion(outputs), tf.float32)


def final_mlp_head(
    first: Sequence[int],
    second: Sequence[int],
    num_heads: int,
    dropout: float,
    initial_score: float,
    dtype: str = "float32",
) -> tf.keras.layers.Layer:
    """Puts a `FinalMlpHead` together.

    Args:
        first: Widths of the first MLP.
        second: Widths of the second MLP.
        num_heads: Of the fusion; divides the last width of both.
        dropout: Fraction of hidden units dropped in training.
        initial_score: Where scores start.
        dtype: Keras dtype policy.
    """
    streams = [MLP(hidden, last, dropout, dtype=dtype) for *hidden, last in (first, second)]
    return FinalMlpHead(streams, BilinearFusion(num_heads, initial_score, dtype), dropout, dtype)
