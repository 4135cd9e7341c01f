"""Predictions of the float32 model beside a quantized one, so that its metrics stand beside those of the quantized."""

import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from components.retrieval_index.exact import EVALUATE, IDS
from trainer_module.export.config import FLOAT32_DIRECTORY
from trainer_module.models.signatures import BY_EXAMPLE

FLOAT32 = "float32"
FLOAT32_FEATURE = "__float32__"
"""Among a batch's features, the float32 model's predictions `[batch]`, or its lists of identifiers `[batch, k]`."""


def float32_directory(candidate_dir: str) -> str | None:
    """The float32 SavedModel beside the evaluated one; None if that one is not quantized."""
    directory = os.path.join(os.path.dirname(candidate_dir.rstrip("/")), FLOAT32_DIRECTORY)
    return directory if tf.io.gfile.exists(directory) else None


class PredictInFloat32(beam.DoFn):
    """Adds the float32 model's predictions to the features of each batch."""

    def __init__(self, directory: str, is_retrieval: bool):
        """Names the SavedModel, which each worker loads once, and says whether it finds items."""
        self._directory = directory
        self._is_retrieval = is_retrieval

    def setup(self) -> None:
        """Loads the model."""
        self._model: Any = tf.saved_model.load(self._directory)

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        """Predicts from the serialized examples, which the evaluated model takes as well."""
        requests = extracts[tfma.ARROW_RECORD_BATCH_KEY].column(tfma.ARROW_INPUT_COLUMN).flatten()
        signature = self._model.signatures[EVALUATE if self._is_retrieval else BY_EXAMPLE]
        answers = signature(examples=tf.constant(requests.to_numpy(zero_copy_only=False), tf.string))
        predictions = answers[IDS] if self._is_retrieval else _only(answers)
        features = {**extracts.get(tfma.FEATURES_KEY, {}), FLOAT32_FEATURE: predictions.numpy()}
        yield {**extracts, tfma.FEATURES_KEY: features}


def of_float32(element: Any) -> np.ndarray:
    """What `PredictInFloat32` added, from the input of a metric."""
    return np.asarray(element[tfma.FEATURES_KEY][FLOAT32_FEATURE])


def _only(answers: dict[str, tf.Tensor]) -> tf.Tensor:
    (predictions,) = answers.values()
    return predictions
