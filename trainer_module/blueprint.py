"""Builds the models of an experiment: one to train, one to serve."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.embeddings.layer import FeatureConfigs, await_values, embedding_layer, feature_configs
from trainer_module.experiment import Experiment
from trainer_module.models.goals import Goals
from trainer_module.models.objectives import Objective
from trainer_module.models.parts import ModelParts
from trainer_module.models.retrieval import Retrieval
from trainer_module.training.distribution import dense_options, replica_batch_size
from trainer_module.training.split_optimizer import SplitOptimizer

_log = logging.getLogger(__name__)

# Of a table. On two cores, a step that updates 8 million rows takes more than half a second.
_MANY_ROWS = 1_000_000


@dataclass(frozen=True)
class Blueprint:
    """Everything that decides what a model looks like.

    Attributes:
        experiment: The model, its tables and its training.
        spec: Columns and tables, with the experiment's changes applied.
        rows: Number of rows per table.
        objective: What the label means, or the labels of several goals, or which items are to be found.
        fingerprints: Of the vocabularies, by table; empty where ids come from elsewhere.
    """

    experiment: Experiment
    spec: FeatureSpec
    rows: Mapping[str, int]
    objective: Objective | Goals | Retrieval
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def for_training(
        self,
        strategy: tf.distribute.Strategy,
        mean_label: float,
        initial_biases: Mapping[str, np.ndarray] = MappingProxyType({}),
        scale: float = 1.0,
    ) -> tuple[tf.keras.Model, SplitOptimizer]:
        """Makes a model and its optimizers.

        Args:
            strategy: Under whose scope both are made.
            mean_label: Where predictions start.
            initial_biases: For each of `fixed_biases`, those of its tokens, float32 `[tokens]`.
            scale: For a rating model that corrects the naive baseline, the baseline's error in the label's unit.

        Raises:
            ConfigError: The experiment does not fit the strategy or itself.
        """
        training, embeddings = self.experiment.training, self.experiment.embeddings
        if not isinstance(strategy, tf.distribute.TPUStrategy):
            self._warn_of_whole_updates()
        with strategy.scope():
            optimizer = SplitOptimizer.create(self.spec, training)
            batch_size = replica_batch_size(training, strategy)
            spec = self.experiment.model.training_columns(self.spec, self.objective)
            configs = feature_configs(
                spec, self.rows, embeddings, optimizer.of_table, batch_size, training.seed, initial_biases
            )
            parts = ModelParts(
                spec=self.spec,
                configs=configs,
                embedding=embedding_layer(configs, spec, embeddings),
                objective=self.objective,
                dense=dense_options(training, strategy),
                mean_label=mean_label,
                scale=scale,
                fixed_biases=self.fixed_biases,
            )
            model = self.experiment.model.build(parts)
        return model, optimizer

    @property
    def fixed_biases(self) -> frozenset[str]:
        """Tables whose rows end in a bias of the naive baseline, which training does not change."""
        return self.experiment.model.fixed_biases(self.experiment.dataset, self.spec)

    def for_serving(self) -> tf.keras.Model:
        """A copy for CPUs in float32, without optimizer slots; its tables are NaN until they come from a checkpoint."""
        configs = await_values(feature_configs(self.spec, self.rows, self.experiment.embeddings))
        layer = self._layer_for_serving(configs)
        parts = ModelParts(self.spec, configs, layer, self.objective, fixed_biases=self.fixed_biases)
        return self.experiment.model.build(parts)

    def embedding_for_serving(self, features: Collection[str]) -> tf.keras.layers.Layer:
        """The embedding layer of `for_serving` with the tables of some categorical columns alone."""
        configs = feature_configs(self.spec, self.rows, self.experiment.embeddings)
        return self._layer_for_serving(await_values({name: configs[name] for name in features}))

    def _warn_of_whole_updates(self) -> None:
        """Names large tables whose optimizer updates all rows in every step, which takes longer than all else."""
        default = self.experiment.training.embedding_optimizer
        for table in self.spec.tables:
            rows, optimizer = self.rows[table.name], table.optimizer or default
            if optimizer.name == "adam" and rows >= _MANY_ROWS:
                key = f"embeddings.tables.{table.name}.optimizer" if table.optimizer else "training.embedding_optimizer"
                _log.warning(
                    "%s is adam, which updates all %s rows of table %r in every step where there is no TPU; lazy_adam "
                    "updates those that the step looks up",
                    key,
                    f"{rows:,}",
                    table.name,
                )

    def _layer_for_serving(self, configs: FeatureConfigs) -> tf.keras.layers.Layer:
        # On a CPU all tables are alike; undivided, each is made from its value in the checkpoint as soon as it is made.
        undivided = self.experiment.embeddings.model_copy(update={"placement": "tpu_embedding"})
        return embedding_layer(configs, self.spec, undivided)
