"""The Parquet files with one row per test row or query that the Evaluator writes beside its metrics. Free of Beam.

Rows of ratings and clicks have

- `row`: uint64, the key of the row (`components.evaluation.row_keys`);
- `label`, `prediction`, `naive`: float32, the label, the model's prediction and the naive baseline's;
- `logistic`: float32, for clicks, the logistic regression's prediction;
- `blessed`: float32, the last blessed model's prediction; null without one;
- `loss`: float64, squared error, or log loss in nats;
- `weight`: float32, the row's weight in the metrics.

A model of several goals has these columns but `row` once for each head, named `head.LABEL.label` and so on; where a row
lacks the label of a head, `label` and `loss` are null.

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
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluation.click_metrics import log_losses
from trainer_module.data.paths import is_remote
from trainer_module.data.spec import Task
from trainer_module.errors import DataError

ROWS_DIRECTORY = "rows"
FILE_PREFIX, FILE_SUFFIX = "rows", ".parquet"

ROW, LABEL, PREDICTION, LOSS, WEIGHT = "row", "label", "prediction", "loss", "weight"
NAIVE, LOGISTIC, BLESSED = "naive", "logistic", "blessed"
USER, SEEN_COUNT, RELEVANT_COUNTS, LISTED_ITEMS = "user", "seen", "train_counts", "listed"
RANKS, POPULAR_RANKS, BLESSED_RANKS = "ranks", "popular_ranks", "blessed_ranks"
_SLICE, _HEAD = "slice.", "head."

# Items of each list that are kept, for people to look at.
LISTED = 10

_FACTS = b"recspan"


def row_schema(
    task: Task, keys: Sequence[str], slices: Sequence[str], label: str = "", heads: Mapping[str, Task] | None = None
) -> pa.Schema:
    """Columns of the files.

    Args:
        task: Of the dataset.
        keys: Columns that make the key; kept with the files.
        slices: Columns by which the evaluation slices.
        label: Column that the model predicts; kept with the files. Empty for retrieval.
        heads: For a model of several goals, tasks by label; kept with the files.
    """
    heads = heads or {}
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
        fields = [(ROW, pa.uint64())]
        for head, task_of_head in (heads or {"": task}).items():
            fields += [(head_column(head, name), kind) for name, kind in _of_prediction(task_of_head)]
    named = [*fields, *((slice_column(name), pa.string()) for name in slices)]
    facts = json.dumps({"task": task, "keys": sorted(keys), "label": label, "heads": heads})
    return pa.schema(named, metadata={_FACTS: facts.encode()})


def _of_prediction(task: Task) -> list[tuple[str, pa.DataType]]:
    """Columns of a prediction."""
    sources = (LABEL, PREDICTION, NAIVE, *((LOGISTIC,) if task == "click" else ()), BLESSED)
    return [*((name, pa.float32()) for name in sources), (LOSS, pa.float64()), (WEIGHT, pa.float32())]


def head_column(head: str, name: str) -> str:
    """The column of a head; that of a model of one prediction where `head` is empty."""
    return f"{_HEAD}{head}.{name}" if head else name


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
        label: Column that the model predicts; empty for retrieval, and in files of earlier versions.
        heads: For a model of several goals, tasks by label.
    """

    task: Task
    keys: tuple[str, ...]
    table: pa.Table
    label: str = ""
    heads: Mapping[str, Task] = field(default_factory=dict)

    @property
    def slices(self) -> tuple[str, ...]:
        """Columns by which the evaluation slices."""
        return tuple(name.removeprefix(_SLICE) for name in self.table.schema.names if name.startswith(_SLICE))

    @property
    def weights(self) -> np.ndarray:
        """The rows' weights, float64 `[rows]`; 1 where none was kept."""
        if WEIGHT not in self.table.schema.names:
            return np.ones(self.table.num_rows)
        return np.nan_to_num(self.column(WEIGHT).astype(np.float64), nan=1.0)

    def column(self, name: str) -> np.ndarray:
        """Values of a column of numbers, `[rows]`."""
        return self.table[name].to_numpy()

    def of_head(self, head: str) -> "EvaluatedRows":
        """The rows that have the label of a head, as rows of a model that predicts nothing else.

        Args:
            head: One of `heads`.
        """
        own = {head_column(head, name): name for name, _ in _of_prediction(self.heads[head])}
        taken = [name for name in self.table.schema.names if not name.startswith(_HEAD) or name in own]
        table = self.table.select(taken).rename_columns([own.get(name, name) for name in taken])
        return EvaluatedRows(self.heads[head], self.keys, table.filter(table[LOSS].is_valid()), head)


def read_rows(evaluation: str, columns: Collection[str] | None = None, at_most: int | None = None) -> EvaluatedRows:
    """Reads the rows of an evaluation.

    Args:
        evaluation: Directory or URI of the Evaluator's output.
        columns: Names of columns, without heads, of which those are read that the task has; None reads all.
        at_most: Number of rows, the first ones; None reads all.

    Raises:
        DataError: The evaluation has no rows.
    """
    files = _files(os.path.join(evaluation, ROWS_DIRECTORY))
    if not files:
        raise DataError(
            f"{evaluation}: this evaluation kept no losses of its rows; run the pipeline again with --no-cache"
        )
    taken: list[pa.RecordBatch] = []
    for batch in _batches(files, columns):
        left = at_most - sum(each.num_rows for each in taken) if at_most is not None else batch.num_rows
        if left <= 0:
            break
        taken.append(batch.slice(0, left))
    table = pa.Table.from_batches(taken).unify_dictionaries()
    facts = json.loads(table.schema.metadata[_FACTS])
    return EvaluatedRows(facts["task"], tuple(facts["keys"]), table, facts.get("label", ""), facts.get("heads", {}))


def _batches(files: Sequence[str | pa.BufferReader], columns: Collection[str] | None) -> Iterator[pa.RecordBatch]:
    for file in files:
        names = pq.read_schema(file).names
        # A slice has few values, which are kept once.
        few = [name for name in names if name.startswith(_SLICE)]
        wanted = [name for name in names if columns is None or _own_name(name) in columns]
        yield from pq.ParquetFile(file, read_dictionary=few).iter_batches(1 << 20, columns=wanted)


def _own_name(name: str) -> str:
    """The name of a column without its head."""
    return name.rpartition(".")[2] if name.startswith(_HEAD) else name


def _files(directory: str) -> list:
    """What pyarrow reads, in the order of the files' names."""
    if not is_remote(directory):
        found = os.listdir(directory) if os.path.isdir(directory) else []
        return [os.path.join(directory, name) for name in sorted(found) if name.endswith(FILE_SUFFIX)]
    import tensorflow as tf

    names = sorted(tf.io.gfile.glob(os.path.join(directory, f"*{FILE_SUFFIX}")))
    return [pa.BufferReader(tf.io.gfile.GFile(name, "rb").read()) for name in names]
