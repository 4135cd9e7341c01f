"""The data that a model is prepared with before it is built."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf
import tensorflow_transform as tft

from trainer_module.data.features import FeatureSpec
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.spec import DatasetSpec
from trainer_module.training.config import TrainingConfig


class TrainingExamples(Protocol):
    """The examples of the training steps.

    Attributes:
        num_examples: Of the split.
    """

    num_examples: int

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """Batches without end, `(features, labels [batch])`, from that of `first_step` on."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """What the Trainer knows about the data.

    Attributes:
        dataset: As declared.
        spec: Columns and tables, with the experiment's changes applied.
        transform_output: Of Transform.
        model_inputs: Raw columns to model inputs.
        train: The training split.
        batch_size: Examples per step, over all replicas.
        candidates: Patterns of the files of the split `candidates`; empty where the dataset has none.
    """

    dataset: DatasetSpec
    spec: FeatureSpec
    transform_output: tft.TFTransformOutput
    model_inputs: ModelInputs
    train: ExampleReader
    batch_size: int
    candidates: Sequence[str] = ()
