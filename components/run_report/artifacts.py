"""Everything that sections read, each thing once."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft
from tensorboard.compat.proto.event_pb2 import Event
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from components.drift.layout import REPORT_FILE as DRIFT_FILE
from components.drift.report import DriftReport
from components.evaluation.importance import Importance, read_importance
from components.evaluation.row_files import EvaluatedRows, read_rows
from components.example_validator.anomalies import Finding, findings
from components.retrieval_index.config import DEFAULT_CUTOFF
from components.retrieval_index.layout import REPORT_FILE
from components.run_report.card import ModelCard
from components.run_report.data_flow import Task
from components.run_report.stop import Stop
from trainer_module.data.example_files import ExampleFiles
from trainer_module.data.features import Categorical, HashBuckets
from trainer_module.data.spec import CANDIDATES, QUERIES, DatasetSpec
from trainer_module.data.spec import Task as PredictionTask
from trainer_module.data.vocabularies import read_tokens

# Rows of a split that are read for what its statistics do not tell.
ROWS_READ = 200_000
# Test rows or queries whose losses or ranks are looked at.
ROWS_JUDGED = 2_000_000
# Tokens of a vocabulary that is read; larger ones would take longer than all else.
_MOST_TOKENS = 2_000_000
SPLITS = ("train", "eval", "test")


@dataclass(frozen=True)
class Uris:
    """Where the artifacts of a run lie; empty for those that a stopped run did not make.

    Attributes:
        examples: Directories of splits, by name.
        statistics: The same of their statistics.
        anomalies: The same of their anomalies.
        transform_graph: Of Transform.
        model_run: Logs and best weights of the training.
        model: The model that was judged, or would have been.
        evaluation: Of the Evaluator.
        drift: Of DriftGate; empty where data are not compared.
    """

    examples: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[str, str] = field(default_factory=dict)
    anomalies: Mapping[str, str] = field(default_factory=dict)
    transform_graph: str = ""
    model_run: str = ""
    model: str = ""
    evaluation: str = ""
    drift: str = ""


@dataclass(frozen=True)
class Series:
    """Values of something during training.

    Attributes:
        steps: When.
        values: What.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Goal:
    """A label that the model predicts, or the lists of a retrieval model.

    Attributes:
        head: The label; empty for a model of one goal.
        rows: The first test rows with their losses, or queries with their ranks.
        metric: The metric that judges the goal, without the head.
    """

    head: str
    rows: EvaluatedRows
    metric: str

    @property
    def main_metric(self) -> str:
        """The metric as the summary names it."""
        return self.metric_of_run(self.metric)

    def metric_of_run(self, name: str) -> str:
        """Name of another metric of the goal in the summary."""
        return f"{self.head}.{name}" if self.head else name

    def titled(self, title: str) -> str:
        """A title that names the goal where there are several."""
        return f"{self.head}: {title}" if self.head else title


@dataclass(frozen=True)
class RunArtifacts:
    """A run, as sections see it.

    Attributes:
        dataset: The dataset.
        summary: The Pusher's summary; of a stopped run, what is known of it (`components.pusher.summary.run_facts`).
        card: The model's card.
        uris: Where the artifacts lie.
        tasks: What each component took; empty where the runner adds that to the page, as the local one does.
        stop: What stopped the run; None if it came to its end.
    """

    dataset: DatasetSpec
    summary: Mapping[str, Any]
    card: ModelCard
    uris: Uris
    tasks: tuple[Task, ...] = ()
    stop: Stop | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The experiment."""
        return self.summary["config"]

    @property
    def overall(self) -> Mapping[str, float | None]:
        """Metrics over the whole test split, by name."""
        (overall, *_) = self.summary["evaluation"]["slices"]
        return {name: value for name, value in overall.items() if name != "slice"}

    @property
    def cutoff(self) -> int:
        """The length of lists that judges a retrieval model."""
        return (self.config["evaluation"]["cutoffs"] or [DEFAULT_CUTOFF])[0]

    @cached_property
    def goals(self) -> tuple[Goal, ...]:
        """What the model is judged by, one per head."""
        whole = self.rows
        parts = [(head, whole.of_head(head)) for head in whole.heads] or [("", whole)]
        return tuple(Goal(head, rows, self._main_metric(rows.task)) for head, rows in parts)

    def goals_of(self, task: PredictionTask) -> Iterator[Goal]:
        """Goals of a task whose label some test row has."""
        return (goal for goal in self.goals if goal.rows.task == task and goal.rows.table.num_rows)

    def _main_metric(self, task: PredictionTask) -> str:
        return {"rating": "rmse", "click": "log_loss", "retrieval": f"ndcg_at_{self.cutoff}"}[task]

    @property
    def higher_is_better(self) -> bool:
        return self.dataset.task == "retrieval"

    @cached_property
    def rows(self) -> EvaluatedRows:
        """The first test rows or queries with their losses or ranks."""
        return read_rows(self.uris.evaluation, at_most=ROWS_JUDGED)

    @cached_property
    def importance(self) -> Importance:
        """Permutation importance of input columns."""
        return read_importance(self.uris.evaluation)

    @cached_property
    def statistics(self) -> dict[str, dict[str, statistics_pb2.FeatureNameStatistics]]:
        """Statistics of columns by split and name."""
        found = {}
        for split, directory in self.uris.statistics.items():
            text = _read(os.path.join(directory, "FeatureStats.pb"))
            (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(text).datasets
            found[split] = {feature.path.step[0]: feature for feature in dataset.features}
        return found

    @property
    def is_validated(self) -> bool:
        """Whether the rows were compared with the schema."""
        return bool(self.uris.anomalies or (self.stop and self.stop.findings))

    @cached_property
    def findings(self) -> list[Finding]:
        """Anomalies of all splits."""
        if self.stop and self.stop.findings:
            return list(self.stop.findings)
        return findings(
            {
                split: anomalies_pb2.Anomalies.FromString(_read(os.path.join(directory, "SchemaDiff.pb")))
                for split, directory in self.uris.anomalies.items()
            }
        )

    @cached_property
    def drift(self) -> DriftReport | None:
        """The comparison with earlier data; None where there is none."""
        if self.stop and self.stop.drift:
            return self.stop.drift
        if not self.uris.drift:
            return None
        return DriftReport.model_validate_json(_read(os.path.join(self.uris.drift, DRIFT_FILE)))

    @cached_property
    def curves(self) -> dict[str, Series]:
        """What TensorBoard shows of the training, by tag."""
        found: dict[str, dict[int, float]] = {}
        for file in sorted(tf.io.gfile.glob(os.path.join(self.uris.model_run, "events.out.tfevents.*"))):
            for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
                event = Event.FromString(record)
                for value in event.summary.value:
                    if value.HasField("tensor") and (number := tf.make_ndarray(value.tensor)).size == 1:
                        # A training that went on from a checkpoint has logged some steps twice.
                        found.setdefault(value.tag, {})[event.step] = float(number.reshape(()))
        return {tag: Series(*zip(*sorted(of_tag.items()), strict=True)) for tag, of_tag in found.items()}

    @cached_property
    def index_report(self) -> Mapping[str, Any]:
        """Facts about the retrieval index; empty for other models."""
        path = os.path.join(self.uris.model, REPORT_FILE)
        return json.loads(_read(path)) if tf.io.gfile.exists(path) else {}

    @cached_property
    def transform_output(self) -> tft.TFTransformOutput:
        return tft.TFTransformOutput(self.uris.transform_graph)

    @cached_property
    def vocabularies(self) -> dict[str, pa.Array]:
        """Tokens by table, in the order of their ids; none of tables of hash buckets or with too many tokens."""
        if "training" not in self.summary:
            return {}
        rows = self.summary["training"]["table_rows"]
        return {
            table.name: read_tokens(self.transform_output, table.name)
            for table in self.dataset.features.tables
            if not isinstance(table.vocabulary, HashBuckets)
            and rows.get(table.name, 0) <= _MOST_TOKENS
            and self.transform_output.vocabulary_file_by_name(table.name)
        }

    @cached_property
    def head(self) -> dict[str, pa.RecordBatch]:
        """The first rows of each split, with the columns of tokens."""
        wanted = [column.name for column in self.tokens]
        extra = [name for name in (self.dataset.title_key,) if name]
        whole = self.dataset.features.arrow_schema()
        schema = pa.schema([whole.field(name) for name in dict.fromkeys([*wanted, *extra])])
        return {split: _first_rows(self.uris.examples[split], schema, ROWS_READ) for split in SPLITS}

    @property
    def tokens(self) -> tuple[Categorical, ...]:
        """Columns of tokens, without those that repeat what other rows hold, as histories do."""
        return tuple(column for column in self.dataset.features.categorical if column.counted)

    def counts(self, column: str) -> tuple[pa.Array, np.ndarray]:
        """Tokens of a column in the first rows of the training split, the most frequent first, and their numbers."""
        counted = pc.value_counts(self.head["train"].column(column).flatten())
        tokens, numbers = counted.field("values"), counted.field("counts").to_numpy()
        order = np.argsort(-numbers, kind="stable")
        return tokens.take(pa.array(order)), numbers[order]

    @property
    def train_rows_read(self) -> int:
        return self.head["train"].num_rows

    @cached_property
    def titles(self) -> dict[bytes, str]:
        """Titles of items by identifier; an identifier for those without one."""
        key, title = self.dataset.item_key, self.dataset.title_key
        if not key:
            return {}
        if self.dataset.task == "retrieval":
            whole = self.dataset.candidate_schema()
            schema = pa.schema([whole.field(name) for name in dict.fromkeys((key, title or key))])
            batches = [_first_rows(self.uris.examples[CANDIDATES], schema, ROWS_READ)]
        elif title:
            batches = [self.head[split] for split in SPLITS]
        else:
            return {}
        found: dict[bytes, str] = {}
        for batch in batches:
            items = _single(batch.column(key)).dictionary_encode()
            # One row for each item.
            places = pa.array(np.unique(items.indices.to_numpy(), return_index=True)[1])
            names = _single(batch.column(title or key)).take(places).to_pylist()
            for item, name in zip(_single(batch.column(key)).take(places).to_pylist(), names, strict=True):
                found.setdefault(as_bytes(item), _text(name) or _text(item))
        return found

    def title(self, item: bytes) -> str:
        """What people call an item."""
        return self.titles.get(item, item.decode(errors="replace"))

    def queries(self, users: list[bytes]) -> dict[bytes, dict[str, list[bytes]]]:
        """Columns of some users' queries, by user."""
        schema = self.dataset.query_schema()
        found: dict[bytes, dict[str, list[bytes]]] = {}
        for batch in ExampleFiles([os.path.join(self.uris.examples[QUERIES], "*")]).batches(schema):
            of_row = _single(batch.column(self.dataset.user_key)).to_pylist()
            for row, user in enumerate(map(as_bytes, of_row)):
                if user in users:
                    found[user] = {name: batch.column(name)[row].as_py() for name in schema.names}
        return found


def as_bytes(value: Any) -> bytes:
    """A token as the index has it."""
    return value if isinstance(value, bytes) else str(value).encode()


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else "" if value is None else str(value)


def _single(column: pa.Array) -> pa.Array:
    """The first value of every row; null where it has none."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    starts = np.cumsum(lengths) - lengths
    return column.flatten().take(pa.array(np.where(lengths > 0, starts, 0), mask=lengths == 0))


def _first_rows(directory: str, schema: pa.Schema, count: int) -> pa.RecordBatch:
    taken: list[pa.RecordBatch] = []
    for batch in _batches(directory, schema):
        taken.append(batch.slice(0, count))
        count -= taken[-1].num_rows
        if count <= 0:
            break
    return pa.Table.from_batches(taken).combine_chunks().to_batches()[0]


def _batches(directory: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    return ExampleFiles([os.path.join(directory, "*")]).batches(schema)


def _read(path: str) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()
