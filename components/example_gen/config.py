"""The section `data` of an experiment: which dataset is read, and how its rows are split."""

import contextlib
import glob
import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from components.example_gen.bigquery.config import BigQueryConfig
from components.example_gen.bigquery.layout import result_directory
from components.example_gen.output.payload import Payload
from components.example_gen.spans import MissingSpans, check_pattern, has_span, is_dated, number_of, wildcards
from components.example_gen.splits.config import SplitConfig
from components.example_gen.splits.protocol import SplitProtocol
from components.example_gen.splits.protocols.random import RandomSplit
from components.example_gen.table_checks import check_tables
from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets import known_dataset
from trainer_module.data.datasets.criteo import CRITEO, FILES_BY_DAY, SYNTHETIC_CRITEO
from trainer_module.data.paths import is_remote
from trainer_module.data.spec import Task
from trainer_module.data.sql import AS_OF, names_as_of
from trainer_module.data.tables import EntityTable, InteractionsTable, Tables
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen, reasons
from trainer_module.suggestions import did_you_mean

NO_FILES = "no-raw-files"
"""What TFX's driver looks below where all tables are queries; it takes paths alone."""
QUERIES_ALONE = "bigquery://"
"""Begins what stands for the directory of the raw files where all tables are queries."""

# History of a query, where the split respects time.
DEFAULT_HISTORY = 50

# The split of Criteo's clicks, and of a table in its former spelling, unless the experiment says otherwise.
CLICK_SPLIT = RandomSplit(test_fraction=0.1)

# What `dataset` was called before tables had names of their own.
_FORMER_FORMATS = ("csv", "parquet")
_FORMER_DATASETS = {
    "movielens-100k-retrieval": "dataset: movielens-100k, task: retrieval",
    "synthetic-retrieval": "dataset: synthetic, task: retrieval",
    "movielens-100k-neighbours": "dataset: movielens-100k, neighbours: 100",
    "synthetic-neighbours": "dataset: synthetic, neighbours: 100",
}
_FORMER_KEYS = {
    "protocol": "split: {by: ...}",
    "eval_fraction": "split: {eval_fraction: ...}",
    "test_fraction": "split: {test_fraction: ...}",
    "history_length": "history",
}
_IN_INTERACTIONS = (
    *("files", "delimiter", "column_names", "missing_values", "max_row_mb", "max_unpack_ratio"),
    *("label", "categorical", "numeric"),
)


class GeneratedClicks(Frozen):
    """How much of `synthetic-criteo` is generated; what is there already must have been generated alike.

    Attributes:
        rows: Number of rows.
        seed: Of all random numbers.
    """

    rows: int = Field(default=1_000_000, ge=1000)
    seed: int = Field(default=0, ge=0)


class DataConfig(Frozen):
    """Which dataset is read, and how its rows are split into `train`, `eval` and `test`.

    `test` is held out for the final evaluation; `eval` serves model selection. A dataset is either a known one, by
    `dataset`, or the tables of one's own, by `interactions` and, where there are attributes, `items` and `users`.

    Attributes:
        dataset: Name of a known dataset; None reads the tables below.
        interactions: What happened.
        items: Attributes of items.
        users: Attributes of users.
        as_of: Value of the parameter `@as_of` of queries: a time with its offset from UTC. A query that reads its
            tables as of that time gives the same rows in every run.
        bigquery: Where queries run and who pays for them; needed if a table is a query.
        task: `rating` predicts a number, `click` the probability of a label that is 0 or 1, `retrieval` finds the items
            of a user's rows. None is the known dataset's own.
        split: How rows are split.
        split_all_rows: For retrieval: whether rows below `positive_from` count when rows are split, and are left out
            afterwards. Stages of one experiment then hold the same rows out. Users and items of such rows are known.
        label_range: Smallest and largest rating; rows outside are malformed, and predictions are clipped. None accepts
            any number and clips to the range of the training split.
        slices: Columns by whose values evaluation breaks its metrics down.
        history: Largest number of a user's earlier items in the column `history`; for retrieval of rows without a time,
            of the user's other items. None is 50 for retrieval where rows have a time and the split respects it, and 0
            elsewhere.
        neighbours: Largest number of tokens in the columns `rated` and `raters`; 0 leaves them out.
        schema_file: A curated schema of your own (text format of `tensorflow_metadata.proto.v0.Schema`).
        max_bad_rows: Number of malformed rows that are set aside in a quarantine file; one more fails the run.
        window: Number of spans that are read, up to `last_span`; None takes all.
        last_span: Ends the window: a number, or a date if files are named by date. None takes the newest.
        leave_out: Spans of the window that are not read, such as days whose data were refused: numbers or dates.
        missing_spans: Whether a window with gaps is a warning or an error.
        generated: Size and seed of `synthetic-criteo`.
        payload: Format of the ingested examples on disk. Every component reads either; `tfrecord` is what other TFX
            pipelines expect, and several times slower.
    """

    dataset: str | None = None
    interactions: InteractionsTable | None = None
    items: EntityTable | None = None
    users: EntityTable | None = None
    as_of: datetime | None = None
    bigquery: BigQueryConfig | None = None
    task: Task | None = None
    split: SplitConfig = RandomSplit()
    split_all_rows: bool = False
    label_range: tuple[float, float] | None = None
    slices: tuple[str, ...] | None = None
    history: int | None = Field(default=None, ge=0)
    neighbours: int = Field(default=0, ge=0)
    schema_file: str = ""
    max_bad_rows: int = Field(default=0, ge=0)
    window: int | None = Field(default=None, ge=1)
    last_span: int | date | None = None
    leave_out: tuple[int | date, ...] = ()
    missing_spans: MissingSpans = "warning"
    generated: GeneratedClicks | None = None
    payload: Payload = "parquet"

    @model_validator(mode="before")
    @classmethod
    def _read_former_spellings(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        dataset = value.get("dataset")
        if not isinstance(dataset, str | None):
            # Said by the field's own check.
            return value
        if dataset in _FORMER_FORMATS:
            return _from_flat_table(value)
        if dataset in _FORMER_DATASETS:
            raise ValueError(f"dataset {dataset} is now spelt {_FORMER_DATASETS[dataset]}")
        if former := [key for key in _FORMER_KEYS if key in value]:
            raise ValueError(f"{former[0]} is now spelt {_FORMER_KEYS[former[0]]}")
        if dataset == SYNTHETIC_CRITEO.name and (moved := value.keys() & {"rows", "seed"}):
            raise ValueError(f"{sorted(moved)[0]} is now spelt generated: {{{sorted(moved)[0]}: ...}}")
        if dataset in (CRITEO.name, SYNTHETIC_CRITEO.name):
            return dict(value) | {"split": _with_share_of_clicks(value.get("split", {}))}
        return value

    @field_validator("as_of")
    @classmethod
    def _has_an_offset(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("expected a time with its offset from UTC, as in 2026-11-01T00:00:00Z")
        return value

    @field_validator("last_span", mode="plain")
    @classmethod
    def _check_last_span(cls, value: Any) -> int | date | None:
        # A union would report the failure of each of its members.
        return None if value is None else _number_or_date(value)

    @field_validator("leave_out", mode="before")
    @classmethod
    def _check_leave_out(cls, values: Any) -> tuple[int | date, ...]:
        if not isinstance(values, list | tuple):
            raise ValueError("expected a list of spans, as in [4] or [2024-05-01]")
        return tuple(map(_number_or_date, values))

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        own = [name for name in ("interactions", "items", "users") if getattr(self, name)]
        if self.dataset and own:
            raise ValueError(
                f"dataset {self.dataset} brings its own tables; leave {' and '.join(own)} out, or leave dataset out"
            )
        if not self.dataset and not self.interactions:
            raise ValueError(
                "name a known dataset, as in dataset: movielens-100k, or describe your tables, as in interactions: "
                "{files: events/*.csv, user: customer, item: sku}; `recspan data inspect FILES` writes it for you"
            )
        if not self.dataset and self.task is None:
            raise ValueError("task: say what is predicted: rating, click or retrieval")
        if self.generated and self.dataset != SYNTHETIC_CRITEO.name:
            raise ValueError(f"generated: only dataset {SYNTHETIC_CRITEO.name} has it; leave it out")
        dataset = self.described()
        self._check_queries()
        self.split.check(dataset)
        if self.split_all_rows and dataset.task != "retrieval":
            raise ValueError(
                f"split_all_rows: only task retrieval leaves rows out, and this is task {dataset.task}; all rows are "
                "split anyway, so leave it out"
            )
        if not self.dataset:
            try:
                _ = self.directory
            except ConfigError as error:
                raise ValueError(str(error)) from None
            check_tables(dataset, self.split.own_column(dataset.tables.interactions))
        self._check_spans(dataset.tables)
        return self

    def described(self) -> Dataset:
        """The dataset with the settings of this section; computed once for equal sections.

        Raises:
            ValueError: No dataset has that name, or the settings contradict each other.
        """
        return _described(self)

    def _describe(self) -> Dataset:
        if self.dataset:
            try:
                known = known_dataset(self.dataset)
            except ConfigError as error:
                raise ValueError(f"dataset: {error}") from None
        else:
            tables = Tables(interactions=self.interactions, items=self.items, users=self.users)
            known = Dataset.model_construct(**_defaults(Dataset), tables=tables, task=self.task)
        task = self.task or known.task
        slices = self.slices if self.slices is not None else _slices_for(known, task)
        changes = {
            "task": task,
            "tables": self._tables(known.tables),
            "label_range": self.label_range or (known.label_range if task == "rating" else None),
            "slices": slices,
            "history": self._history(known.tables.interactions, task),
            "neighbours": self.neighbours,
            "schema_file": str(Path(self.schema_file).absolute()) if self.schema_file else known.schema_file,
        }
        try:
            return Dataset(**{name: getattr(known, name) for name in Dataset.model_fields} | changes)
        except ValidationError as error:
            raise ValueError(reasons(error)) from None

    @property
    def name(self) -> str:
        """Of the dataset, for names of pipelines."""
        return self.dataset or "own"

    @property
    def directory(self) -> str:
        """The directory below which all files lie, possibly remote; `QUERIES_ALONE` and a project if there are none."""
        dataset = self.described()
        if self.dataset:
            return os.path.join("data", dataset.directory or dataset.name)
        if not self.reads_files:
            assert self.bigquery is not None
            return f"{QUERIES_ALONE}{self.bigquery.project}"
        return _common_directory(
            [_fixed_directory(file) for _, table in dataset.tables.named() for file in table.files]
        )

    def patterns(self) -> dict[str, tuple[str, ...]]:
        """Patterns of the files of each table below `directory`."""
        dataset, directory = self.described(), self.directory
        tables = dict(dataset.tables.named())
        if self.dataset:
            return {name: table.files for name, table in tables.items()}
        return {
            name: tuple(_below(directory, file) for file in table.files)
            for name, table in tables.items()
            if table.files
        }

    def portable(self) -> "DataConfig":
        """The same section with paths relative to `directory`: equal wherever the files lie and the pipeline runs."""
        if self.dataset:
            return self.model_copy(update={"schema_file": os.path.basename(self.schema_file)})
        changed = {
            name: getattr(self, name).model_copy(update={"files": files}) for name, files in self.patterns().items()
        }
        return self.model_copy(update=changed | {"schema_file": os.path.basename(self.schema_file)})

    @property
    def queries(self) -> dict[str, str]:
        """The queries by table; a table of files has none."""
        return {name: table.query for name, table in self.described().tables.named() if table.query}

    @property
    def unpinned_queries(self) -> dict[str, str]:
        """The queries whose rows change with their tables, because they do not name `@as_of`."""
        return {name: query for name, query in self.queries.items() if not names_as_of(query)}

    @property
    def reads_files(self) -> bool:
        """Whether a table has files."""
        return any(table.files for _, table in self.described().tables.named())

    def with_results(self, examples_uri: str) -> "DataConfig":
        """The same section with the files that `bigquery.extract` wrote in place of queries.

        Args:
            examples_uri: Of the examples, beside which the rows of the queries lie.
        """
        base = examples_uri if is_remote(examples_uri) else glob.escape(examples_uri)
        changed = {
            name: getattr(self, name).model_copy(
                update={"query": "", "files": (os.path.join(result_directory(base, name), "*.parquet"),)}
            )
            for name in self.queries
        }
        return self.model_copy(update=changed | {"as_of": None, "bigquery": None})

    @property
    def has_spans(self) -> bool:
        """Whether there is a window of spans to choose."""
        return any(map(has_span, self.described().tables.interactions.files))

    @property
    def by_date(self) -> bool:
        """Whether spans are named by date."""
        return any(map(is_dated, self.described().tables.interactions.files))

    @property
    def last_span_number(self) -> int | None:
        """`last_span` as a number."""
        return None if self.last_span is None else number_of(self.last_span)

    @property
    def left_out_numbers(self) -> tuple[int, ...]:
        """`leave_out` as numbers."""
        return tuple(map(number_of, self.leave_out))

    @property
    def split_column(self) -> str | None:
        """Column of the interactions' files that only the split reads."""
        return self.split.own_column(self.described().tables.interactions)

    def split_protocol(self) -> SplitProtocol:
        """The split protocol of the section."""
        return self.split.protocol(self.described().tables.interactions)

    def _tables(self, tables: Tables) -> Tables:
        if self.dataset == CRITEO.name and (self.window is not None or self.last_span is not None or self.leave_out):
            interactions = tables.interactions.model_copy(update={"files": FILES_BY_DAY})
            return tables.model_copy(update={"interactions": interactions})
        return tables

    def _history(self, interactions: InteractionsTable, task: str) -> int:
        if self.history is not None:
            return self.history
        known = interactions.user and interactions.item and interactions.time
        return DEFAULT_HISTORY if task == "retrieval" and self.split.respects_time and known else 0

    def _check_queries(self) -> None:
        queries, pinned = self.queries, self.queries.keys() - self.unpinned_queries.keys()
        if queries and self.bigquery is None:
            raise ValueError(
                f"{next(iter(queries))}.query: data.bigquery.project is missing; name the project that pays for the "
                "query, as in bigquery: {project: my-project}"
            )
        if not queries and self.bigquery is not None:
            raise ValueError("bigquery: no table is a query; leave the section out, or give a table a query")
        if pinned and self.as_of is None:
            raise ValueError(
                f"{sorted(pinned)[0]}.query names @{AS_OF}, and data.{AS_OF} is missing; give it a time, as in "
                f"{AS_OF}: 2026-11-01T00:00:00Z"
            )
        if self.as_of is not None:
            if not pinned:
                raise ValueError(
                    f"{AS_OF}: no query names @{AS_OF}, so that the time would change nothing; write it in a query, as "
                    f"in FROM shop.events FOR SYSTEM_TIME AS OF @{AS_OF}, or leave the key out"
                )
            if self.as_of > datetime.now(UTC):
                raise ValueError(
                    f"{AS_OF}: {self.as_of.isoformat()} is in the future, so that rows may still arrive before it; "
                    "take an earlier time"
                )

    def _check_spans(self, tables: Tables) -> None:
        for _, table in tables.named():
            for pattern in table.files:
                check_pattern(pattern)
        attributes = [(name, table) for name, table in tables.named() if name != "interactions"]
        for name, table in attributes:
            if any(map(has_span, table.files)):
                raise ValueError(f"{name}.files: only interactions arrive in spans; name the files without a marker")
        files = tables.interactions.files
        spans = [has_span(pattern) for pattern in files]
        if any(spans) and not all(spans):
            raise ValueError(f"interactions.files: all patterns have a marker of spans, or none has; got {list(files)}")
        given = [name for name in ("window", "last_span") if getattr(self, name) is not None]
        given += ["leave_out"] if self.leave_out else []
        given += ["missing_spans"] if self.missing_spans != "warning" else []
        if given and tables.interactions.query:
            raise ValueError(
                f"{', '.join(given)}: interactions.query has no spans; restrict the query instead, as in WHERE "
                f"bought_at >= TIMESTAMP_SUB(@{AS_OF}, INTERVAL 7 DAY)"
            )
        if given and not all(spans):
            raise ValueError(
                f"{', '.join(given)}: the files, {', '.join(files)}, have no marker of spans; name one, as in "
                "'day-{SPAN}/*.csv', or leave the key out"
            )
        for key, spans in (("last_span", (self.last_span,)), ("leave_out", self.leave_out)):
            dates = [span for span in spans if isinstance(span, date)]
            if dates and not any(map(is_dated, files)):
                raise ValueError(
                    f"{key}: {dates[0]} is a date, and the files name spans by number; give the number, or name the "
                    "files by {YYYY}, {MM} and {DD}"
                )


def _number_or_date(value: Any) -> int | date:
    if type(value) is date or (type(value) is int and value >= 0):
        return value
    with contextlib.suppress(TypeError, ValueError):
        return date.fromisoformat(value)
    raise ValueError("expected the number of a span, or a date such as 2024-05-01")


@lru_cache
def _described(config: DataConfig) -> Dataset:
    return config._describe()


def _from_flat_table(value: Mapping[str, Any]) -> dict[str, Any]:
    """The section of one table as it was spelt before tables had names: `dataset: csv` and its keys side by side."""
    known = [
        *_IN_INTERACTIONS,
        *(name for name in DataConfig.model_fields if name not in ("interactions", "items", "users")),
    ]
    if unknown := [key for key in value if key not in known]:
        raise ValueError(f"{unknown[0]}: unknown key. {did_you_mean(str(unknown[0]), known)}Known: {', '.join(known)}")
    if "label" not in value:
        raise ValueError("label: name the column that is predicted, as in label: clicked")
    section = {key: entry for key, entry in value.items() if key not in (*_IN_INTERACTIONS, "dataset")}
    interactions = {key: value[key] for key in _IN_INTERACTIONS if key in value}
    interactions["format"] = value["dataset"]
    split = dict(section.get("split", {}) or {})
    if split.get("by") == "time":
        interactions["time"] = split.pop("column", None)
        split.pop("type", None)
    named = {_name_of(entry) for key in ("categorical", "numeric") for entry in interactions.get(key, ()) or ()}
    slices = section.get("slices", ()) or ()
    interactions["context"] = [name for name in slices if name not in named | {_name_of(interactions.get("label"))}]
    section |= {
        "interactions": interactions,
        "split": _with_share_of_clicks(split),
        "task": section.get("task", "click"),
        "slices": slices,
    }
    return section


def _name_of(entry: Any) -> Any:
    return entry.get("name") if isinstance(entry, Mapping) else entry


def _with_share_of_clicks(split: Any) -> Any:
    """A split with the share of clicks unless it names its own."""
    if isinstance(split, Mapping) and split.get("by", "random") in ("random", "time"):
        return {"test_fraction": CLICK_SPLIT.test_fraction} | dict(split)
    return split


def _slices_for(known: Dataset, task: str) -> tuple[str, ...] | None:
    """The known dataset's slices, for retrieval those that describe the user alone."""
    if known.slices is None or task != "retrieval" or known.tables.items is None:
        return known.slices
    of_items = {entry.name for entry in known.tables.items.entries()}
    return tuple(name for name in known.slices if name not in of_items)


def _defaults(model: type[Dataset]) -> dict[str, Any]:
    return {name: field.default for name, field in model.model_fields.items() if not field.is_required()}


def _fixed_directory(pattern: str) -> str:
    """The directory of a path up to its first wildcard."""
    parts = wildcards(pattern).split("/")
    fixed = list(_until_magic(parts[:-1]))
    return "/".join(fixed) if fixed != [""] else "/"


def _until_magic(parts: list[str]) -> list[str]:
    magic = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return parts[:magic]


def _common_directory(directories: list[str]) -> str:
    """The longest path that all directories lie below."""
    normal = [_normal(directory) for directory in directories]
    remote = {match[0] if (match := re.match(r"[a-z0-9]+://[^/]*", each)) else "" for each in normal}
    if len(remote) > 1:
        raise ConfigError(f"data: the tables lie in different places, {' and '.join(sorted(normal))}; put them in one")
    if remote == {""}:
        return os.path.commonpath([os.path.abspath(each) for each in normal])
    parts = [each.split("/") for each in normal]
    shared = [names[0] for names in zip(*parts, strict=False) if len(set(names)) == 1]
    return "/".join(shared)


def _normal(directory: str) -> str:
    return directory if "://" in directory else os.path.normpath(directory or ".")


def _below(directory: str, file: str) -> str:
    """A pattern relative to a directory above it."""
    if "://" in file:
        return file.removeprefix(f"{directory}/")
    # The directory and the current one are names, not patterns.
    below = os.path.relpath(os.path.join(glob.escape(os.getcwd()), file), glob.escape(os.path.abspath(directory)))
    # A first ~ would be taken for a user's home when the section is read again.
    return f"./{below}" if below.startswith("~") else below
