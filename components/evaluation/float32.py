"""Predictions of the float32 model beside a quantized one, so that its metrics stand beside those of the quantized."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from components.evaluation.predictions import requests
from components.retrieval_index.exact import EVALUATE, IDS
from trainer_module.export.config import FLOAT32_DIRECTORY
from trainer_module.models.signatures import BY_EXAMPLE

FLOAT32 = "float32"
FLOAT32_FEATURE = "__float32__"
"""Among a batch's features, the float32 model's predictions `[batch]`, or its lists of identifiers `[batch, k]`."""


def float32_feature(head: str) -> str:
    """The name under which predictions of a head stand; `FLOAT32_FEATURE` for a model with one prediction."""
    return f"{FLOAT32_FEATURE}{head}"


def float32_directory(candidate_dir: str) -> str | None:
    """The float32 SavedModel beside the evaluated one; None if that one is not quantized."""
    directory = os.path.join(os.path.dirname(candidate_dir.rstrip("/")), FLOAT32_DIRECTORY)
    return directory if tf.io.gfile.exists(directory) else None


class PredictInFloat32(beam.DoFn):
    """Adds the float32 model's predictions to the features of each batch."""

    def __init__(self, directory: str, is_retrieval: bool, heads: Sequence[str] = ()):
        """Takes what is needed to predict.

        Args:
            directory: Of the SavedModel, which each worker loads once.
            is_retrieval: Whether it finds items.
            heads: Outputs of a model of several goals; empty for all others.
        """
        self._directory = directory
        self._is_retrieval = is_retrieval
        self._heads = heads

    def setup(self) -> None:
        """Loads the model."""
        self._model: Any = tf.saved_model.load(self._directory)

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        """Predicts from the serialized examples, which the evaluated model takes as well."""
        signature = self._model.signatures[EVALUATE if self._is_retrieval else BY_EXAMPLE]
        answers = signature(examples=requests(extracts))
        if self._is_retrieval:
            predictions = {FLOAT32_FEATURE: answers[IDS].numpy()}
        elif self._heads:
            predictions = {float32_feature(head): answers[head].numpy() for head in self._heads}
        else:
            (only,) = answers.values()
            predictions = {FLOAT32_FEATURE: only.numpy()}
        yield {**extracts, tfma.FEATURES_KEY: {**extracts.get(tfma.FEATURES_KEY, {}), **predictions}}


def of_float32(element: Any) -> np.ndarray:
    """What `PredictInFloat32` added, from the input of a metric."""
    return np.asarray(element[tfma.FEATURES_KEY][FLOAT32_FEATURE])
