"""Predictions of the candidate, and of the last blessed model where there is one."""

from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from trainer_module.errors import ModelError


def requests(extracts: tfma.Extracts) -> tf.Tensor:
    """The serialized examples of a batch, strings `[rows]`.

    Args:
        extracts: With an Arrow batch that has them as a column.
    """
    column = extracts[tfma.ARROW_RECORD_BATCH_KEY].column(tfma.ARROW_INPUT_COLUMN)
    return tf.constant(column.flatten().to_numpy(zero_copy_only=False), tf.string)


class Predict(beam.DoFn):
    """Adds the models' predictions to each batch, as TFMA's own extractor does.

    That one keeps each batch until Python's garbage collector finds a cycle, which it does not look for before memory
    has grown by gigabytes: the cycle is a handful of objects that hold a batch of strings. It also turns all columns
    into tensors, which takes longer than the predictions.
    """

    def __init__(self, loaders: Mapping[str, tfma.types.ModelLoader], signature: str):
        """Takes what is needed to predict.

        Args:
            loaders: TFMA's, by name of the model; they load a model once for all stages of a worker.
            signature: Name of the models' signature that takes serialized examples.
        """
        self._loaders, self._signature = loaders, signature

    def setup(self) -> None:
        """Loads the models.

        Raises:
            ModelError: The last blessed model lacks the signature.
        """
        self._signatures: dict[str, Any] = {}
        for name, loader in self._loaders.items():
            signatures = loader.load().signatures
            if self._signature not in signatures:
                raise ModelError(
                    f"the last blessed model of this pipeline has no signature {self._signature!r} to compare with; "
                    "give the pipeline another name"
                )
            self._signatures[name] = signatures[self._signature]

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        """Asks the models.

        Yields:
            The batch with predictions: `[rows, ...]`, or by output where there are several; by model if there are two.
        """
        examples = requests(extracts)
        answers = {name: _plain(signature(examples=examples)) for name, signature in self._signatures.items()}
        predictions = answers if len(answers) > 1 else next(iter(answers.values()))
        yield {**extracts, tfma.PREDICTIONS_KEY: predictions}


def _plain(outputs: Mapping[str, tf.Tensor]) -> np.ndarray | dict[str, np.ndarray]:
    """The only output, or all of them by name."""
    arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))
