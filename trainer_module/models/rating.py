"""A rating model: what users, items and their attributes say of each other, pair by pair, plus a small MLP."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from trainer_module.embeddings import embedding_layer, feature_configs
from trainer_module.errors import ConfigError
from trainer_module.experiment import RatingModelConfig
from trainer_module.features import FeatureSpec
from trainer_module.layers import MLP, DotInteraction

Features = Mapping[str, tf.Tensor | tf.SparseTensor]


class RatingModel(tf.keras.Model):
    """Factorization of all pairs of embedded features, with an MLP over embeddings and numbers.

    A DLRM (Naumov et al., 2019) without a bottom tower: the dot products enter the MLP and, summed with a linear term
    per feature, also the output directly, as in a factorization machine (Rendle, 2010).
    """

    def __init__(
        self,
        embedding: tf.keras.layers.Layer,
        numeric: Sequence[str],
        top: MLP,
        rating_range: tuple[float, float],
        dropout: float = 0.0,
        embedding_l2: float = 0.0,
    ):
        """Takes the parts.

        Args:
            embedding: From `{column: ids}` to `{column: [batch, dim] or [batch, 1, dim]}`; called once per step.
            numeric: Names of the numeric inputs.
            top: From all embeddings, numbers and dot products to `[batch, 1]`.
            rating_range: Predictions are clipped to it, the training loss is not.
            dropout: Fraction of embedding units dropped in training.
            embedding_l2: Weight of the squared norm of the looked-up rows in the loss.
        """
        super().__init__()
        self.embedding = embedding
        self._numeric = tuple(numeric)
        self._rating_range = rating_range
        self._embedding_l2 = embedding_l2
        self._interaction = DotInteraction()
        self._dropout = tf.keras.layers.Dropout(dropout)
        self._linear = tf.keras.layers.Dense(1, use_bias=False)
        self._top = top

    def call(self, features: Features) -> tf.Tensor:
        """Predicts ratings `[batch]` from ids per categorical and float32 `[batch, 1]` per numeric column."""
        rating, _ = self._score(features, training=False)
        return tf.clip_by_value(rating, *self._rating_range)

    def per_example_loss(self, features: Features, ratings: tf.Tensor) -> tf.Tensor:
        """Squared error plus regularization, `[batch]`, with dropout on.

        Regularizing the rows that a batch looks up, rather than whole tables, costs nothing for the rows that it does
        not touch and works where the tables live inside the TPU's embedding engine.
        """
        predicted, squared_norm = self._score(features, training=True)
        return tf.square(predicted - ratings) + self._embedding_l2 * squared_norm

    def _score(self, features: Features, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        ids = {name: value for name, value in features.items() if name not in self._numeric}
        # A column of `[batch, 1]` ids comes back as `[batch, 1, dim]`, a multivalent one as `[batch, dim]`.
        looked_up = [tf.reshape(rows, [-1, rows.shape[-1]]) for _, rows in sorted(self.embedding(ids).items())]
        squared_norm = tf.add_n([tf.reduce_sum(tf.square(rows), axis=1) for rows in looked_up])
        rows = [self._dropout(row, training=training) for row in looked_up]
        dots = self._interaction(rows)
        flat = tf.concat([*rows, *(features[name] for name in self._numeric)], axis=1)
        rating = self._top(tf.concat([flat, dots], axis=1), training=training) + self._linear(flat)
        return tf.squeeze(rating, axis=1) + tf.reduce_sum(dots, axis=1), squared_norm


def build_rating_model(
    config: RatingModelConfig,
    spec: FeatureSpec,
    rows: Mapping[str, int],
    rating_range: tuple[float, float],
    embedding_optimizer: tf.keras.optimizers.legacy.Optimizer | None,
    mean_rating: float,
) -> RatingModel:
    """Puts a rating model together.

    Args:
        config: Sizes and regularization.
        spec: Gives columns and tables.
        rows: Number of rows per table.
        rating_range: Of predictions.
        embedding_optimizer: None for a serving copy, which then holds no optimizer slots.
        mean_rating: Where predictions start before training.

    Raises:
        ConfigError: The tables differ in width, so that their rows cannot be multiplied pairwise.
    """
    configs = feature_configs(spec, rows, config)
    widths = {feature.table.name: feature.table.dim for feature in configs.values()}
    if len(set(widths.values())) > 1:
        raise ConfigError(
            f"the rating model takes dot products of all pairs of rows, so its tables need one width; got {widths}. "
            "Set model.embedding_dim and leave the tables' own dim out."
        )
    return RatingModel(  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)
        embedding=embedding_layer(configs, embedding_optimizer),
        numeric=[column.name for column in spec.numeric],
        top=MLP(config.mlp, 1, config.dropout, output_bias=mean_rating),
        rating_range=rating_range,
        dropout=config.dropout,
        embedding_l2=config.embedding_l2,
    )
