"""What an experiment decides about the model and its training; the pipeline owns the file's other sections."""

from pydantic import ValidationError

from trainer_module.data.features import FeatureSpec
from trainer_module.data.spec import DatasetSpec
from trainer_module.embeddings.config import EmbeddingsConfig, check_names
from trainer_module.errors import ConfigError
from trainer_module.export.config import ExportConfig
from trainer_module.export.forecast import subset_tables
from trainer_module.frozen import Frozen, reasons
from trainer_module.models.config import ModelConfig, RatingModelConfig
from trainer_module.optimizers.config import check_function, check_modules
from trainer_module.training.config import TrainingConfig


class Experiment(Frozen):
    """All that the Trainer needs to know, beside its input artifacts.

    Attributes:
        dataset: What the data is: columns, task, keys.
        model: The model.
        embeddings: The embedding tables.
        training: The loop.
        export: How the SavedModel is made.
        modules: Python modules whose functions the experiment may call, as learning rates.
    """

    dataset: DatasetSpec
    model: ModelConfig = RatingModelConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()
    modules: tuple[str, ...] = ()

    @property
    def goals(self) -> dict[str, str]:
        """What is predicted: the task by label for a model of several goals; for others the dataset's task, by `""`."""
        tasks = {label.name: label.task for label in self.dataset.labels}
        return {label: tasks[label] for label in self.model.predicted} or {"": self.dataset.task}

    def features(self, declared: FeatureSpec) -> FeatureSpec:
        """The columns and tables of the model, from those of the dataset.

        Raises:
            ConfigError: A name in `embeddings` or `model.ignore` is unknown, or what is left contradicts itself.
        """
        spec = self.model.adapted(self.dataset, self.embeddings.applied_to(declared))
        check_names("model.ignore", self.model.ignore, [column.name for column in spec.inputs])
        try:
            return spec.without(self.model.ignore)
        except ValidationError as error:
            raise ConfigError(f"model.ignore: {reasons(error)}") from None

    def check(self) -> None:
        """Checks that dataset, model, tables and training fit together, as far as no row of the data is needed.

        Does not import TensorFlow, so that an experiment is refused as soon as it is read.

        Raises:
            ConfigError: They do not; the message names the keys to change.
        """
        spec = self.features(self.dataset.features)
        dims = {table.name: table.dim or self.embeddings.dim for table in spec.tables}
        self.model.check(self.dataset, spec, dims)
        self.model.check_training(self.training)
        subset_tables(spec, self.export.features)
        if self.dataset.propensity_key and self.model.predicted:
            raise ConfigError(
                "interactions.propensity: policies follow from one click probability, and a multi_task model may "
                "predict several things; leave interactions.propensity out, or take another model"
            )
        if self.dataset.propensity_key and self.dataset.item_key in self.model.ignore:
            raise ConfigError(
                f"model.ignore: {self.dataset.item_key} identifies the items among which the Evaluator lets policies "
                "choose, as interactions.propensity asks for; leave one of the two out"
            )
        self._check_functions()

    def _check_functions(self) -> None:
        optimizers = {
            "training.dense_optimizer": self.training.dense_optimizer,
            "training.embedding_optimizer": self.training.embedding_optimizer,
        }
        for name, table in self.embeddings.tables.items():
            if table.optimizer:
                optimizers[f"embeddings.tables.{name}.optimizer"] = table.optimizer
        try:
            check_modules(self.modules)
            for where, optimizer in optimizers.items():
                check_function(optimizer.learning_rate, self.modules, where)
        except ValueError as error:
            raise ConfigError(str(error)) from None
