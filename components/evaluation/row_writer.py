"""Keeps every test row's loss, or every query's ranks, while TFMA computes its metrics."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow_model_analysis as tfma
from apache_beam.io.parquetio import WriteToParquetBatched
from tensorflow_model_analysis.constants import BASELINE_KEY, CANDIDATE_KEY

from components.evaluation import row_files
from components.evaluation.added_features import ROW_WEIGHT, label_feature, naive_feature, predictions_of
from components.evaluation.row_files import LISTED
from components.evaluation.row_keys import row_keys
from components.evaluation.slicing import column_texts
from components.retrieval_index.exact import IDS, POPULAR_IDS
from components.retrieval_index.exact import RELEVANT_COUNTS as TRAIN_COUNTS_OF_RELEVANT
from trainer_module.data.spec import RELEVANT, SEEN, Task
from trainer_module.training.naive_baseline import BASELINE, LOGISTIC


@dataclass(frozen=True)
class KeptRows:
    """Which rows are kept, and where.

    Attributes:
        directory: Of the files.
        task: Of the dataset.
        keys: Columns that tell rows apart.
        slices: Columns by which the evaluation slices.
        label: Column that the model predicts; empty for retrieval.
        user_key: For retrieval, the column of the query's identifier; empty where there is none.
        heads: For a model of several goals, tasks by label.
    """

    directory: str
    task: Task
    keys: tuple[str, ...]
    slices: tuple[str, ...]
    label: str = ""
    user_key: str = ""
    heads: Mapping[str, Task] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        return row_files.row_schema(self.task, self.keys, self.slices, self.label, self.heads)

    def keyed(self, extracts: tfma.Extracts) -> tfma.Extracts:
        """Adds the rows' keys to the features of a batch, for retrieval also its users and numbers of seen items.

        Args:
            extracts: With an Arrow batch, before TFMA turns it into tensors.
        """
        batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
        columns = {row_files.ROW: row_keys(batch, self.keys)}
        if self.task == "retrieval":
            seen = pc.fill_null(pc.list_value_length(batch.column(SEEN)), 0)
            columns[row_files.SEEN_COUNT] = seen.to_numpy(zero_copy_only=False)
        if self.user_key:
            columns[row_files.USER] = _first_tokens(batch.column(self.user_key))
        named = {_feature(name): values for name, values in columns.items()}
        return {**extracts, tfma.FEATURES_KEY: {**extracts.get(tfma.FEATURES_KEY, {}), **named}}

    def table(self, extracts: tfma.Extracts) -> pa.Table:
        """The rows of a batch.

        Args:
            extracts: With predictions and the features of `keyed`, for rows also labels; before they are sliced.
        """
        features = extracts[tfma.FEATURES_KEY]
        columns = self._ranks(extracts[tfma.PREDICTIONS_KEY]) if self.task == "retrieval" else self._losses(extracts)
        for name in (row_files.ROW, row_files.SEEN_COUNT, row_files.USER):
            if _feature(name) in features:
                columns[name] = features[_feature(name)]
        for name in self.slices:
            columns[row_files.slice_column(name)] = column_texts(name, features[name])
        missing = [None] * len(columns[row_files.ROW])
        arrays = [pa.array(columns.get(field.name, missing), field.type) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _losses(self, extracts: tfma.Extracts) -> dict[str, Any]:
        features, labels = extracts[tfma.FEATURES_KEY], extracts[tfma.LABELS_KEY]
        candidate, blessed = _by_model(extracts[tfma.PREDICTIONS_KEY])
        found: dict[str, Any] = {}
        for head, task in (self.heads or {"": self.task}).items():
            of_head = _flat(features[label_feature(head)] if head else _by_model(labels)[0])
            predictions = _flat(predictions_of(candidate, head))
            # Only heads of several goals skip rows without a label.
            missing = np.isnan(of_head) if head else np.zeros(len(of_head), bool)
            losses = np.full(len(of_head), np.nan)
            losses[~missing] = row_files.losses(task, of_head[~missing], predictions[~missing])
            columns: dict[str, Any] = {
                row_files.LABEL: pa.array(of_head, mask=missing),
                row_files.PREDICTION: predictions,
                row_files.LOSS: pa.array(losses, mask=missing),
                row_files.WEIGHT: _flat(features[ROW_WEIGHT]),
            }
            for name, source in ((row_files.NAIVE, BASELINE), (row_files.LOGISTIC, LOGISTIC)):
                if (reference := naive_feature(source, head)) in features:
                    columns[name] = _flat(features[reference])
            if blessed is not None:
                columns[row_files.BLESSED] = _flat(predictions_of(blessed, head))
            found |= {row_files.head_column(head, name): values for name, values in columns.items()}
        return found

    def _ranks(self, predictions: Mapping[str, Any]) -> dict[str, Any]:
        answers, blessed = _by_model(predictions)
        relevant = [[item for item in row if item] for row in answers[RELEVANT].tolist()]
        counts = answers[TRAIN_COUNTS_OF_RELEVANT].tolist()
        found: dict[str, Any] = {
            # The relevant items come first in their rows.
            row_files.RELEVANT_COUNTS: [row[: len(items)] for row, items in zip(counts, relevant, strict=True)],
            row_files.RANKS: ranks(answers[IDS], relevant),
            row_files.POPULAR_RANKS: ranks(answers[POPULAR_IDS], relevant),
            row_files.LISTED_ITEMS: [[item for item in row if item] for row in answers[IDS][:, :LISTED].tolist()],
        }
        return found if blessed is None else found | {row_files.BLESSED_RANKS: ranks(blessed[IDS], relevant)}


class KeepRows(beam.PTransform):
    """Writes the rows of all batches to Parquet files, and passes the batches on."""

    def __init__(self, kept: KeptRows):
        super().__init__()
        self._kept = kept

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        prefix = os.path.join(self._kept.directory, row_files.FILE_PREFIX)
        _ = (
            extracts
            | "Rows" >> beam.Map(self._kept.table)
            | "Write" >> WriteToParquetBatched(prefix, self._kept.schema, file_name_suffix=row_files.FILE_SUFFIX)
        )
        return extracts


def ranks(lists: np.ndarray, wanted: Sequence[Sequence[bytes]]) -> list[list[int]]:
    """Where wanted items stand in lists: 1 is first, 0 means not listed.

    Args:
        lists: `[queries, length]`; a short list ends in empty texts.
        wanted: Items of each query.
    """
    found = []
    for listed, items in zip(lists.tolist(), wanted, strict=True):
        places = {item: rank for rank, item in enumerate(listed, 1)}
        found.append([places.get(item, 0) for item in items])
    return found


def _by_model(values: Any) -> tuple[Any, Any]:
    """The candidate's values and the last blessed model's; the latter are None without one."""
    if isinstance(values, Mapping) and CANDIDATE_KEY in values:
        return values[CANDIDATE_KEY], values[BASELINE_KEY]
    return values, None


def _feature(column: str) -> str:
    return f"__{column}__"


KEY_FEATURE = _feature(row_files.ROW)
"""Among a batch's features, the keys of its rows."""


def _flat(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(-1)


def _first_tokens(column: pa.Array) -> np.ndarray:
    """The first value of each row as bytes, `[rows]`; empty where a row has none."""
    firsts = [row[0] if row else b"" for row in column.to_pylist()]
    return np.array([each if isinstance(each, bytes) else str(each).encode() for each in firsts], object)
