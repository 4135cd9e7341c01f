"""What a model is built of."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.embeddings.layer import FeatureConfigs
from trainer_module.models.layers import FLOAT32, DenseOptions


@dataclass(frozen=True)
class ModelParts:
    """Everything that a model may be built of; each kind of model takes what it needs.

    Attributes:
        spec: Gives the columns.
        configs: Features and tables.
        embedding: The layer made from them.
        objective: What the model is trained for, as its config prepared it.
        dense: How the dense part computes.
        mean_label: What is predicted before training; None for a model whose weights come from elsewhere.
        scale: Error of the naive baseline, in the unit of the label.
        fixed_biases: Tables whose rows end in a bias of the naive baseline.
    """

    spec: FeatureSpec
    configs: FeatureConfigs
    embedding: tf.keras.layers.Layer
    objective: Any
    dense: DenseOptions = FLOAT32
    mean_label: float | None = None
    scale: float = 1.0
    fixed_biases: Collection[str] = ()
