"""A ranking model: embedded features and numbers under a head that scores them."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.embeddings.layer import Features, look_up
from trainer_module.errors import ConfigError
from trainer_module.models.config import RankingConfig
from trainer_module.models.example_weights import weighted
from trainer_module.models.objectives import Objective, Rating
from trainer_module.models.parts import ModelParts
from trainer_module.models.shrinkage import best_shrinkage, shrinkage_sums
from trainer_module.models.signatures import BY_COLUMN, BY_EXAMPLE, Served, select


class RankingModel(tf.keras.Model):
    """Looks all columns up once and hands rows and numbers to a head; what the score means is the objective's.

    Attributes:
        embedding: The layer with the tables.
        objective: Scores to predictions, losses and metrics.
        calibration: Chooses on held-out rows how much of a correction is believed; None without a correction.
    """

    def __init__(
        self,
        embedding: tf.keras.layers.Layer,
        spec: FeatureSpec,
        head: tf.keras.layers.Layer,
        objective: Objective,
        embedding_l2: float = 0.0,
        table_l2: float = 0.0,
        num_biases: int = 0,
        corrects: bool = False,
        jit_compile: bool = False,
    ):
        """Takes the parts.

        Args:
            embedding: From `{column: ids}` and `{column: weights}` to `{column: [batch, dim] or [batch, 1, dim]}`;
                called once per step.
            spec: Says which inputs are ids, weights and numbers.
            head: The dense part: embeddings `[batch, dim]`, numbers `[batch, 1]` and seed (int32 `[2]`, or None
                outside training) to scores `[batch]`.
            objective: What the scores are for.
            embedding_l2: Weight of the squared norm of the looked-up rows in the loss.
            table_l2: Weight of the squared norm of all tables in the loss.
            num_biases: Number of biases at the end of a row, which regularization leaves out.
            corrects: Whether the head corrects a naive baseline of ratings. The loss is then measured in the squared
                error of the baseline, and evaluations choose how much of the correction is believed.
            jit_compile: Compile the head with XLA.
        """
        super().__init__()
        self.embedding = embedding
        self.objective = objective
        self._spec = spec
        self._head = head
        self._apply_head = tf.function(head, jit_compile=True, autograph=False) if jit_compile else head
        self._embedding_l2 = embedding_l2
        self._table_l2 = table_l2
        self._num_biases = num_biases
        self.calibration = Shrinkage(self) if corrects else None

    def call(self, features: Features) -> tf.Tensor:
        """Predictions `[batch]` from ids per categorical and float32 `[batch, 1]` per numeric column."""
        return self.objective.predict(self.scores(features))

    def predict_from(self, looked_up: Mapping[str, tf.Tensor], features: Features) -> tf.Tensor:
        """What `call` does once `look_up` has been done elsewhere; plain operations, XLA or not."""
        return self.objective.predict(self._head(_rows(looked_up), self._numbers(features), None))

    def scores(self, features: Features) -> tf.Tensor:
        """Scores `[batch]`, without dropout."""
        return self._apply_head(self._look_up(features), self._numbers(features), None)

    def per_example_loss(self, features: Features, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Loss, weighted if the spec has a column of weights, plus regularization, `[batch]`, with dropout by `seed`
        (int32 `[2]`).

        Regularizing the rows that a batch looks up, rather than whole tables, costs nothing for the rows that it does
        not touch and works where the tables live inside the TPU's embedding engine.

        Raises:
            ConfigError: Whole tables are to be regularized, and some live inside the TPU's embedding engine.
        """
        rows = self._look_up(features)
        loss = self.objective.loss(self._apply_head(rows, self._numbers(features), seed), labels)
        if self.calibration is not None:
            loss /= tf.square(self._head.scale)
        loss = weighted(loss, self._spec, features)
        if self._embedding_l2:
            norms = [tf.reduce_sum(tf.square(self._regularized(row)), axis=1) for row in rows]
            loss += self._embedding_l2 * tf.add_n(norms)
        if self._table_l2:
            norms = [tf.reduce_sum(tf.square(self._regularized(table))) for table in self._tables()]
            loss += self._table_l2 * tf.add_n(norms)
        return loss

    def parts(self, features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        """For a model that corrects a baseline: the baseline's scores and the whole correction, `[batch]` both."""
        return self._head.parts(self._look_up(features), self._numbers(features), None)

    @property
    def shrinkage(self) -> tf.Variable:
        """For a model that corrects a baseline: the share of the correction in scores outside training, a scalar."""
        return self._head.shrinkage

    def correct(self, mean_label: float, biases: Mapping[str, np.ndarray], scale: float) -> None:
        """Lets a model that corrects a baseline correct another one, with what it has learned.

        Off TPUs, where tables can be written.

        Args:
            mean_label: Of the baseline.
            biases: By table, those of its tokens, float32 `[tokens]`.
            scale: Error of the baseline, in the unit of the label.
        """
        self._head.intercept.assign(self.objective.initial_score(mean_label))
        self._head.scale.assign(scale)
        for name, of_tokens in biases.items():
            table = self.embedding.trainable_tables[name]
            rows = table.numpy()
            rows[: len(of_tokens), -1] = of_tokens
            table.assign(rows)

    def shrink(self, shrinkage: float) -> None:
        """Lets scores outside training take this share of the correction."""
        self._head.shrinkage.assign(shrinkage)

    def _regularized(self, rows: tf.Tensor | tf.Variable) -> tf.Tensor:
        return rows[:, : -self._num_biases] if self._num_biases else tf.convert_to_tensor(rows)

    def _tables(self) -> list[tf.Variable]:
        tables = self.embedding.trainable_tables
        looked_up = {column.table for column in self._spec.categorical}
        if inside := sorted(looked_up - tables.keys()):
            raise ConfigError(
                f"model.table_l2: table(s) {', '.join(inside)} live inside the TPU's embedding engine, which has no "
                "gradient for rows that are not looked up; use model.embedding_l2, or embeddings.placement: replicated"
            )
        return list(tables.values())

    @property
    def selection_metric(self) -> str:
        """Which of `metrics` chooses the best weights; the lower the better."""
        return self.objective.metric

    def evaluation_sums(self, features: Features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What adds up over batches and replicas to `metrics`, `[n]`; labels and weights are `[batch]`."""
        return self.objective.sums(self(features), labels, weights)

    def metrics_from(self, sums: np.ndarray) -> dict[str, float]:
        """Metrics by name, from the total of `evaluation_sums`."""
        return self.objective.metrics(sums)

    @property
    def named_predictions(self) -> Mapping[str, str | None]:
        """Which of the predictions each output of the exported model is; see `Served.predictions`."""
        return {self.objective.output: None}

    @property
    def served(self) -> tuple[Served, ...]:
        """Predictions, of examples or column by column."""
        outputs = self.named_predictions

        def predict(rows: Mapping[str, tf.Tensor], features: Features) -> dict[str, tf.Tensor]:
            return select(self.predict_from(rows, features), outputs)

        return tuple(
            Served(name, self._spec.inputs, predict, serialized, outputs)
            for name, serialized in ((BY_EXAMPLE, True), (BY_COLUMN, False))
        )

    def _look_up(self, features: Features) -> list[tf.Tensor]:
        return _rows(look_up(self.embedding, self._spec, features))

    def _numbers(self, features: Features) -> list[tf.Tensor]:
        numbers = [features[column.name] for column in self._spec.numeric]
        return numbers  # pyright: ignore[reportReturnType] (numbers are dense, only ids may be sparse)


class Shrinkage:
    """Chooses how much of a model's correction is believed."""

    def __init__(self, model: RankingModel):
        self._model = model

    def sums(self, features: Features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What adds up over batches and replicas, `[n]`; labels and weights are `[batch]`."""
        return shrinkage_sums(*self._model.parts(features), labels, weights)

    def choose(self, sums: np.ndarray) -> None:
        """Sets the model's shrinkage from the total of `sums`."""
        self._model.shrink(best_shrinkage(sums))


def _rows(looked_up: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Embeddings `[batch, dim]` by name: a dense column may come as `[batch, 1, dim]`, a bag is `[batch, dim]`."""
    return [tf.reshape(looked_up[name], [-1, looked_up[name].shape[-1]]) for name in sorted(looked_up)]


def build_ranking_model(config: RankingConfig, parts: ModelParts) -> RankingModel:
    """Builds a ranking model.

    Args:
        config: Which model, its sizes and regularization; it has been checked against the columns.
        parts: What it is built of.
    """
    spec, configs, objective, dense = parts.spec, parts.configs, parts.objective, parts.dense
    score = 0.0 if parts.mean_label is None else objective.initial_score(parts.mean_label)
    tables = [feature.table.name for _, feature in sorted(configs.items())]
    fixed = [place for place, table in enumerate(tables) if table in parts.fixed_biases]
    dim = next(iter(configs.values())).table.dim
    num_biases = config.num_biases
    head = config.head(dim, score, dense.dtype, **({"scale": parts.scale, "fixed": fixed} if num_biases else {}))
    # Variables are made here, before anything is compiled.
    rows = [tf.zeros([1, feature.table.dim]) for _, feature in sorted(configs.items())]
    head(rows, [tf.zeros([1, 1])] * len(spec.numeric), None)
    l2, table_l2 = config.embedding_l2, config.whole_table_l2
    corrects = bool(num_biases) and isinstance(objective, Rating)
    return RankingModel(parts.embedding, spec, head, objective, l2, table_l2, num_biases, corrects, dense.jit_compile)  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)
