"""Every model, small: what is compiled, laid out and traced for a TPU that is not there."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf

from trainer_module.blueprint import Blueprint
from trainer_module.distribution import dense_options, replica_batch_size
from trainer_module.embeddings import Features, embedding_layer, feature_configs
from trainer_module.experiment import EmbeddingsConfig, Experiment, TrainingConfig
from trainer_module.features import Categorical, FeatureSpec, Label, Numeric, Table
from trainer_module.models.dlrm import build_dlrm
from trainer_module.optimization import Adagrad, OptimizerConfig
from trainer_module.optimizers import SplitOptimizer

# Dense ids, bags of any length, one table that two columns share, numbers.
SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Categorical(name="item", table="item"),
        Categorical(name="tags", table="tag", multivalent=True),
        Categorical(name="main_tag", table="tag"),
        Numeric(name="year", required=False),
        Label(name="rating"),
    ),
    tables=(Table(name="user"), Table(name="item"), Table(name="tag", combiner="sum")),
)
ROWS = {"user": 100, "item": 301, "tag": 7}
DIM = 8
BAG_LENGTH = 2


@dataclass(frozen=True)
class SmallModel:
    """A rating model over three small tables.

    Attributes:
        spec: Its columns and tables.
    """

    spec: FeatureSpec = SPEC
    blueprint_class: ClassVar[type[Blueprint]] = Blueprint

    def blueprint(
        self,
        batch_size: int,
        optimizer: OptimizerConfig = Adagrad(learning_rate=0.1),  # noqa: B008 (it is immutable)
        pipelining: bool = False,
    ) -> Blueprint:
        """How it is built.

        Args:
            batch_size: Over all replicas.
            optimizer: Of the tables.
            pipelining: Of the embedding engine.
        """
        experiment = Experiment(
            dataset="",
            embeddings=EmbeddingsConfig(dim=DIM, pipelining=pipelining),
            training=TrainingConfig(batch_size=batch_size, embedding_optimizer=optimizer),
        )
        return self.blueprint_class(experiment, self.spec, ROWS, (1.0, 5.0))

    def batch(self, batch_size: int) -> tuple[Features, tf.Tensor]:
        """Features and labels `[batch]`, the same at every call; bags hold `BAG_LENGTH` ids."""
        random = np.random.default_rng(0)
        features = {}
        for column in self.spec.categorical:
            shape = [batch_size, BAG_LENGTH if column.multivalent else 1]
            ids = random.integers(ROWS[column.table], size=shape)
            features[column.name] = (
                tf.SparseTensor(list(np.ndindex(*shape)), ids.ravel(), shape)
                if column.multivalent
                else tf.constant(ids)
            )
        for column in self.spec.numeric:
            features[column.name] = tf.constant(random.normal(size=[batch_size, 1]), tf.float32)
        return features, tf.constant(random.uniform(1, 5, size=[batch_size]), tf.float32)


class _DlrmBlueprint(Blueprint):
    """The same experiment with a DLRM."""

    def for_training(
        self, strategy: tf.distribute.Strategy, mean_label: float
    ) -> tuple[tf.keras.Model, SplitOptimizer]:
        training, embeddings = self.experiment.training, self.experiment.embeddings
        with strategy.scope():
            optimizer = SplitOptimizer.create(self.spec, training)
            batch_size = replica_batch_size(training, strategy)
            configs = feature_configs(self.spec, self.rows, embeddings, optimizer.of_table, batch_size, training.seed)
            layer = embedding_layer(configs, self.spec, embeddings)
            dense = dense_options(training, strategy)
            return build_dlrm(self.spec, configs, layer, bottom=(16,), top=(16,), dropout=0.1, dense=dense), optimizer


class SmallDlrm(SmallModel):
    """A DLRM over the same tables."""

    blueprint_class = _DlrmBlueprint


MODELS = {"rating": SmallModel(), "dlrm": SmallDlrm()}
