"""A rating model: what users, items and their attributes say of each other, pair by pair, plus a small MLP."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from trainer_module.embeddings import FeatureConfigs, Features, look_up
from trainer_module.errors import ConfigError
from trainer_module.experiment import RatingModelConfig
from trainer_module.features import FeatureSpec
from trainer_module.layers import FLOAT32, MLP, DenseOptions, DotInteraction, dropout, fold_in


class RatingHead(tf.keras.layers.Layer):
    """Factorization of all pairs of embedded features, with an MLP over embeddings and numbers.

    A DLRM (Naumov et al., 2019) without a bottom tower: the dot products enter the MLP and, summed with a linear term
    per feature, also the output directly, as in a factorization machine (Rendle, 2010).
    """

    def __init__(self, top: MLP, dropout: float, dtype: str = "float32"):
        super().__init__(dtype=dtype)
        self._interaction = DotInteraction(dtype=dtype)
        self._linear = tf.keras.layers.Dense(1, use_bias=False, dtype=dtype)
        self._top = top
        self._dropout = dropout

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]` and numbers `[batch, 1]` to unclipped ratings, float32 `[batch]`."""
        if seed is not None:
            rows = [dropout(row, self._dropout, fold_in(seed, number)) for number, row in enumerate(rows)]
        dots = self._interaction(rows)
        flat = tf.concat([*rows, *(tf.cast(number, rows[0].dtype) for number in numbers)], axis=1)
        of_top = self._top(tf.concat([flat, dots], axis=1), seed=None if seed is None else fold_in(seed, len(rows)))
        rating = tf.squeeze(of_top + self._linear(flat), axis=1) + tf.reduce_sum(dots, axis=1)
        return tf.cast(rating, tf.float32)


class RatingModel(tf.keras.Model):
    """Embedded features under a `RatingHead`."""

    def __init__(
        self,
        embedding: tf.keras.layers.Layer,
        spec: FeatureSpec,
        head: tf.keras.layers.Layer,
        rating_range: tuple[float, float],
        embedding_l2: float = 0.0,
        jit_compile: bool = False,
    ):
        """Takes the parts.

        Args:
            embedding: From `{column: ids}` and `{column: weights}` to `{column: [batch, dim] or [batch, 1, dim]}`;
                called once per step.
            spec: Says which inputs are ids, weights and numbers.
            head: The dense part: embeddings, numbers and seed to ratings.
            rating_range: Predictions are clipped to it, the training loss is not.
            embedding_l2: Weight of the squared norm of the looked-up rows in the loss.
            jit_compile: Compile the head with XLA.
        """
        super().__init__()
        self.embedding = embedding
        self._spec = spec
        self._head = head
        self._apply_head = tf.function(head, jit_compile=True, autograph=False) if jit_compile else head
        self._rating_range = rating_range
        self._embedding_l2 = embedding_l2

    def call(self, features: Features) -> tf.Tensor:
        """Predicts ratings `[batch]` from ids per categorical and float32 `[batch, 1]` per numeric column."""
        return self._predict(look_up(self.embedding, self._spec, features), features, self._apply_head)

    def predict_from(self, looked_up: Mapping[str, tf.Tensor], features: Features) -> tf.Tensor:
        """What `call` does once `look_up` has been done elsewhere; plain operations, XLA or not."""
        return self._predict(looked_up, features, self._head)

    def per_example_loss(self, features: Features, ratings: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Squared error plus regularization, `[batch]`, with dropout by `seed` (int32 `[2]`).

        Regularizing the rows that a batch looks up, rather than whole tables, costs nothing for the rows that it does
        not touch and works where the tables live inside the TPU's embedding engine.
        """
        rows = _rows(look_up(self.embedding, self._spec, features))
        predicted = self._apply_head(rows, self._numbers(features), seed)
        squared_norm = tf.add_n([tf.reduce_sum(tf.square(row), axis=1) for row in rows])
        return tf.square(predicted - ratings) + self._embedding_l2 * squared_norm

    def _predict(self, looked_up: Mapping[str, tf.Tensor], features: Features, head: Callable) -> tf.Tensor:
        return tf.clip_by_value(head(_rows(looked_up), self._numbers(features), None), *self._rating_range)

    def _numbers(self, features: Features) -> list[tf.Tensor]:
        numbers = [features[column.name] for column in self._spec.numeric]
        return numbers  # pyright: ignore[reportReturnType] (numbers are dense, only ids may be sparse)


def _rows(looked_up: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Embeddings `[batch, dim]` by name: a dense column may come as `[batch, 1, dim]`, a bag is `[batch, dim]`."""
    return [tf.reshape(looked_up[name], [-1, looked_up[name].shape[-1]]) for name in sorted(looked_up)]


def build_rating_model(
    config: RatingModelConfig,
    spec: FeatureSpec,
    configs: FeatureConfigs,
    embedding: tf.keras.layers.Layer,
    rating_range: tuple[float, float],
    mean_rating: float = 0.0,
    dense: DenseOptions = FLOAT32,
) -> RatingModel:
    """Puts a rating model together.

    Args:
        config: Sizes and regularization.
        spec: Gives the columns.
        configs: Features and tables.
        embedding: The layer made from them.
        rating_range: Of predictions.
        mean_rating: Where predictions start before training.
        dense: How the dense part computes.

    Raises:
        ConfigError: The tables differ in width, so that their rows cannot be multiplied pairwise, or a feature is a
            sequence.
    """
    widths = {feature.table.name: feature.table.dim for feature in configs.values()}
    if len(set(widths.values())) > 1:
        raise ConfigError(
            f"the rating model takes dot products of all pairs of rows, so its tables need one width; got {widths}. "
            "Set embeddings.dim and leave the tables' own dim out."
        )
    if sequences := [column.name for column in spec.categorical if column.max_sequence_length]:
        raise ConfigError(f"the rating model takes no sequences; set max_sequence_length of {sequences} to 0")
    head = RatingHead(MLP(config.mlp, 1, config.dropout, mean_rating, dense.dtype), config.dropout, dense.dtype)
    # Variables are made here, before anything is compiled.
    row, number = tf.zeros([1, next(iter(widths.values()))]), tf.zeros([1, 1])
    head([row] * len(configs), [number] * len(spec.numeric), None)
    return RatingModel(  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)
        embedding=embedding,
        spec=spec,
        head=head,
        rating_range=rating_range,
        embedding_l2=config.embedding_l2,
        jit_compile=dense.jit_compile,
    )
