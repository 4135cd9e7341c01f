"""The items among which a policy that follows from a model of clicks chooses.

The Trainer collects them from the training split and writes them beside the SavedModel, if rows have propensities. The
Evaluator reads them there.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from trainer_module.data.example_files import concatenated, single_values, write_parquet
from trainer_module.data.features import FeatureSpec
from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import DataError
from trainer_module.training.naive_baseline import Split

# Directory beside the SavedModel.
POLICY_CANDIDATES = "policy_candidates"

# The Evaluator predicts each of them for each row of the test split.
MOST_CANDIDATES = 1000

_FACTS, _ITEMS = "policy.json", "items.parquet"


@dataclass(frozen=True)
class PolicyCandidates:
    """Items, and the names of the columns that an evaluation of policies reads.

    Attributes:
        propensity: Column with the probability of having been shown.
        item_key: Column that identifies the item.
        items: The columns that describe the items, one row per item, with distinct keys.
    """

    propensity: str
    item_key: str
    items: pa.RecordBatch

    def save(self, directory: str) -> None:
        """Writes the items and the names; makes the directory, local or remote."""
        tf.io.gfile.makedirs(directory)
        with tf.io.gfile.GFile(os.path.join(directory, _FACTS), "w") as file:
            json.dump({"propensity": self.propensity, "item_key": self.item_key}, file)
        write_parquet(os.path.join(directory, _ITEMS), pa.Table.from_batches([self.items]))

    @classmethod
    def load(cls, directory: str) -> "PolicyCandidates":
        """Reads what `save` wrote."""
        with tf.io.gfile.GFile(os.path.join(directory, _FACTS)) as file:
            facts = json.load(file)
        with tf.io.gfile.GFile(os.path.join(directory, _ITEMS), "rb") as file:
            table = pq.read_table(pa.BufferReader(file.read()))
        return cls(facts["propensity"], facts["item_key"], concatenated(table.to_batches()))


def collect_candidates(dataset: DatasetSpec, spec: FeatureSpec, train: Split) -> PolicyCandidates | None:
    """Collects the items of the training split, each as its first row describes it.

    Args:
        dataset: Names the propensity and the columns that describe items.
        spec: The model's columns; those that it ignores are left out.
        train: The training split.

    Returns:
        None if the dataset has no propensities.

    Raises:
        DataError: There are more than `MOST_CANDIDATES` items.
    """
    if not dataset.propensity_key:
        return None
    key, *_ = dataset.item_columns
    columns = [column for column in spec.columns if column.name in dataset.item_columns]

    def of_batches() -> Iterator[pa.RecordBatch]:
        for batch in train.batches(columns):
            yield _first_of_each(batch, key)

    items = _first_of_each(concatenated(of_batches()), key)
    if items.num_rows > MOST_CANDIDATES:
        raise DataError(
            f"interactions.propensity: the training split has {items.num_rows:,} items, and the Evaluator predicts "
            f"each of them for each test row; it takes up to {MOST_CANDIDATES:,}. Leave interactions.propensity out"
        )
    return PolicyCandidates(dataset.propensity_key, key, items)


def _first_of_each(batch: pa.RecordBatch, key: str) -> pa.RecordBatch:
    """The first row of each value of a column, in the order of the rows."""
    _, first = np.unique(single_values(batch, key), return_index=True)
    return batch.take(pa.array(np.sort(first)))
