"""Builds the models of an experiment: one to train, one to serve."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.embeddings.layer import FeatureConfigs, await_values, embedding_layer, feature_configs
from trainer_module.experiment import Experiment
from trainer_module.models.objectives import Objective
from trainer_module.models.retrieval import Retrieval
from trainer_module.training.distribution import dense_options, replica_batch_size
from trainer_module.training.split_optimizer import SplitOptimizer


@dataclass(frozen=True)
class Blueprint:
    """Everything that decides what a model looks like.

    Attributes:
        experiment: The model, its tables and its training.
        spec: Columns and tables, with the experiment's changes applied.
        rows: Number of rows per table.
        objective: What the label means, or which items are to be found.
        fingerprints: Of the vocabularies, by table; empty where ids come from elsewhere.
    """

    experiment: Experiment
    spec: FeatureSpec
    rows: Mapping[str, int]
    objective: Objective | Retrieval
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def for_training(
        self, strategy: tf.distribute.Strategy, mean_label: float
    ) -> tuple[tf.keras.Model, SplitOptimizer]:
        """A model and its optimizers, made under `strategy`; predictions start at `mean_label`.

        Raises:
            ConfigError: The experiment does not fit the strategy or itself.
        """
        training, embeddings = self.experiment.training, self.experiment.embeddings
        with strategy.scope():
            optimizer = SplitOptimizer.create(self.spec, training)
            batch_size = replica_batch_size(training, strategy)
            spec = self.experiment.model.training_columns(self.spec, self.objective)
            configs = feature_configs(spec, self.rows, embeddings, optimizer.of_table, batch_size, training.seed)
            model = self.experiment.model.build(
                self.spec,
                configs,
                embedding_layer(configs, spec, embeddings),
                self.objective,
                mean_label,
                dense_options(training, strategy),
            )
        return model, optimizer

    def for_serving(self) -> tf.keras.Model:
        """A copy for CPUs in float32, without optimizer slots; its tables are NaN until they come from a checkpoint."""
        configs = await_values(feature_configs(self.spec, self.rows, self.experiment.embeddings))
        layer = self._layer_for_serving(configs)
        return self.experiment.model.build(self.spec, configs, layer, self.objective)

    def embedding_for_serving(self, features: Collection[str]) -> tf.keras.layers.Layer:
        """The embedding layer of `for_serving` with the tables of some categorical columns alone."""
        configs = feature_configs(self.spec, self.rows, self.experiment.embeddings)
        return self._layer_for_serving(await_values({name: configs[name] for name in features}))

    def _layer_for_serving(self, configs: FeatureConfigs) -> tf.keras.layers.Layer:
        # On a CPU all tables are alike; undivided, each is made from its value in the checkpoint as soon as it is made.
        undivided = self.experiment.embeddings.model_copy(update={"placement": "tpu_embedding"})
        return embedding_layer(configs, self.spec, undivided)
