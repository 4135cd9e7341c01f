"""The Parquet files with one row per test row or query that the Evaluator writes beside its metrics. Free of Beam.

Rows of ratings and clicks have

- `row`: uint64, the key of the row (`components.evaluation.row_keys`);
- `label`, `prediction`, `naive`: float32, the label, the model's prediction and the naive baseline's;
- `logistic`: float32, for clicks, the logistic regression's prediction;
- `blessed`: float32, the last blessed model's prediction; null without one;
- `loss`: float64, squared error, or log loss in nats.

Rows of retrieval are queries and have

- `row`: uint64, the key of the query;
- `user`: large_binary, the query's identifier; null where queries have none;
- `seen`: int32, number of items that the query leaves out of its list;
- `train_counts`: list of int64, rows of each relevant item in the training split;
- `ranks`, `popular_ranks`, `blessed_ranks`: list of int16, where each relevant item stands in the list of the model, of
  the most popular items, of the last blessed model (1 is first; 0 means not among the first 100);
- `listed`: list of large_binary, the first `LISTED` items of the model's list.

Both have one column `slice.NAME` of texts for every column that the evaluation slices by.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluation.click_metrics import log_losses
from trainer_module.data.paths import is_remote
from trainer_module.data.spec import Task
from trainer_module.errors import DataError

ROWS_DIRECTORY = "rows"
FILE_PREFIX, FILE_SUFFIX = "rows", ".parquet"

ROW, LABEL, PREDICTION, LOSS = "row", "label", "prediction", "loss"
NAIVE, LOGISTIC, BLESSED = "naive", "logistic", "blessed"
USER, SEEN_COUNT, RELEVANT_COUNTS, LISTED_ITEMS = "user", "seen", "train_counts", "listed"
RANKS, POPULAR_RANKS, BLESSED_RANKS = "ranks", "popular_ranks", "blessed_ranks"
_SLICE = "slice."

# Items of each list that are kept, for people to look at.
LISTED = 10

_FACTS = b"recspan"


def row_schema(task: Task, keys: Sequence[str], slices: Sequence[str]) -> pa.Schema:
    """Columns of the files.

    Args:
        task: Of the dataset.
        keys: Columns that make the key; kept with the files.
        slices: Columns by which the evaluation slices.
    """
    if task == "retrieval":
        ranks = pa.list_(pa.int16())
        fields = [
            (ROW, pa.uint64()),
            (USER, pa.large_binary()),
            (SEEN_COUNT, pa.int32()),
            (RELEVANT_COUNTS, pa.list_(pa.int64())),
            (RANKS, ranks),
            (POPULAR_RANKS, ranks),
            (BLESSED_RANKS, ranks),
            (LISTED_ITEMS, pa.list_(pa.large_binary())),
        ]
    else:
        sources = (LABEL, PREDICTION, NAIVE, *((LOGISTIC,) if task == "click" else ()), BLESSED)
        fields = [(ROW, pa.uint64()), *((name, pa.float32()) for name in sources), (LOSS, pa.float64())]
    named = [*fields, *((slice_column(name), pa.string()) for name in slices)]
    facts = json.dumps({"task": task, "keys": sorted(keys)})
    return pa.schema(named, metadata={_FACTS: facts.encode()})


def slice_column(name: str) -> str:
    """The column that holds each row's value in a column that the evaluation slices by."""
    return f"{_SLICE}{name}"


def losses(task: Task, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Squared errors of ratings, log losses of clicks in nats: float64 `[rows]`.

    Args:
        task: `rating` or `click`.
        labels: `[rows]`.
        predictions: `[rows]`.
    """
    labels, predictions = labels.astype(np.float64), predictions.astype(np.float64)
    if task == "rating":
        return np.square(predictions - labels)
    return log_losses(labels, predictions)


@dataclass(frozen=True)
class EvaluatedRows:
    """The rows of an evaluation.

    Attributes:
        task: Of the dataset.
        keys: Columns that make the key.
        table: See the module.
    """

    task: Task
    keys: tuple[str, ...]
    table: pa.Table

    @property
    def slices(self) -> tuple[str, ...]:
        """Columns by which the evaluation slices."""
        return tuple(name.removeprefix(_SLICE) for name in self.table.schema.names if name.startswith(_SLICE))

    def column(self, name: str) -> np.ndarray:
        """Values of a column of numbers, `[rows]`."""
        return self.table[name].to_numpy()


def read_rows(evaluation: str) -> EvaluatedRows:
    """Reads the rows of an evaluation.

    Args:
        evaluation: Directory or URI of the Evaluator's output.

    Raises:
        DataError: The evaluation has no rows.
    """
    files = _files(os.path.join(evaluation, ROWS_DIRECTORY))
    if not files:
        raise DataError(
            f"{evaluation}: this evaluation kept no losses of its rows; run the pipeline again with --no-cache"
        )
    parts = [_read(file) for file in files]
    facts = json.loads(parts[0].schema.metadata[_FACTS])
    return EvaluatedRows(facts["task"], tuple(facts["keys"]), pa.concat_tables(parts).unify_dictionaries())


def _read(file: str | pa.BufferReader) -> pa.Table:
    # A slice has few values, which are kept once.
    few = [name for name in pq.read_schema(file).names if name.startswith(_SLICE)]
    return pq.read_table(file, read_dictionary=few)


def _files(directory: str) -> list:
    """What pyarrow reads, in the order of the files' names."""
    if not is_remote(directory):
        found = os.listdir(directory) if os.path.isdir(directory) else []
        return [os.path.join(directory, name) for name in sorted(found) if name.endswith(FILE_SUFFIX)]
    import tensorflow as tf

    names = sorted(tf.io.gfile.glob(os.path.join(directory, f"*{FILE_SUFFIX}")))
    return [pa.BufferReader(tf.io.gfile.GFile(name, "rb").read()) for name in names]
