"""Importance weights of the policies that follow from a model of clicks.

In the context of a row (its user, its event columns such as the slot, its time) a policy chooses among the items of the
training split, by the model's click probability of each: `greedy` shows the best one, `softmax` draws them
proportionally to their odds of a click. Columns of the interaction itself stay as they were logged, whatever the item.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma

from components.evaluation.off_policy import greedy, softmax
from trainer_module.data.example_files import serialized, single_values
from trainer_module.data.token_index import TokenIndex
from trainer_module.models.signatures import BY_EXAMPLE
from trainer_module.training.policy_candidates import POLICY_CANDIDATES, PolicyCandidates

# From predictions `[rows, candidates]` and the places of the logged items to probabilities of showing those.
POLICIES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"greedy": greedy, "softmax": softmax}

_PREDICTIONS_AT_ONCE = 8192

# What a prediction may be for its odds to be finite, in float32.
_EPSILON = 1e-7


def weight_feature(policy: str) -> str:
    """The name under which the importance weights of a policy stand among a batch's features."""
    return f"__{policy}_weight__"


WEIGHT_FEATURES = tuple(weight_feature(policy) for policy in POLICIES)


def candidates_directory(model_dir: str) -> str | None:
    """The directory of the candidates beside a SavedModel; None if its data has no propensities."""
    directory = os.path.join(os.path.dirname(model_dir.rstrip("/")), POLICY_CANDIDATES)
    return directory if tf.io.gfile.exists(directory) else None


class WeighPolicies(beam.DoFn):
    """Adds the importance weights of all policies to the features of each batch."""

    def __init__(self, model_dir: str, candidates_dir: str):
        """Names the SavedModel and the candidates, which each worker loads once."""
        self._model_dir, self._candidates_dir = model_dir, candidates_dir

    def setup(self) -> None:
        """Loads both."""
        self._model: Any = tf.saved_model.load(self._model_dir)
        self._candidates = PolicyCandidates.load(self._candidates_dir)
        self._items = TokenIndex(self._candidates.items.column(self._candidates.item_key).flatten())

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        """Predicts each candidate for each row of the Arrow batch."""
        batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
        places = self._items.places(batch.column(self._candidates.item_key).flatten())
        propensities = single_values(batch, self._candidates.propensity)
        predictions = np.clip(self._predictions(batch), _EPSILON, 1 - _EPSILON)
        weights = {
            weight_feature(name): policy(predictions, places) / propensities for name, policy in POLICIES.items()
        }
        yield {**extracts, tfma.FEATURES_KEY: {**extracts.get(tfma.FEATURES_KEY, {}), **weights}}

    def _predictions(self, batch: pa.RecordBatch) -> np.ndarray:
        """Predicted clicks, float64 `[rows, candidates]`."""
        items = self._candidates.items
        context = batch.select(
            [n for n in batch.schema.names if n not in (*items.schema.names, tfma.ARROW_INPUT_COLUMN)]
        )
        size = max(1, _PREDICTIONS_AT_ONCE // items.num_rows)
        parts = []
        for start in range(0, batch.num_rows, size):
            rows = context.slice(start, size)
            of_rows = rows.take(pa.array(np.repeat(np.arange(rows.num_rows), items.num_rows)))
            of_items = items.take(pa.array(np.tile(np.arange(items.num_rows), rows.num_rows)))
            pairs = pa.RecordBatch.from_arrays(
                [*of_rows.columns, *of_items.columns], names=[*of_rows.schema.names, *of_items.schema.names]
            )
            (clicks,) = self._model.signatures[BY_EXAMPLE](examples=tf.constant(serialized(pairs))).values()
            parts.append(clicks.numpy().astype(np.float64).reshape(rows.num_rows, items.num_rows))
        return np.concatenate(parts)
