"""How tables of examples are read and split."""

import contextlib
import glob
import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.example_gen.spans import MissingSpans, check_pattern, has_span, is_dated, number_of, wildcards
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.datasets.criteo import CATEGORIES, LABEL, NUMBERS
from trainer_module.data.datasets.flat import FlatDataset
from trainer_module.data.spec import DatasetSpec
from trainer_module.frozen import Frozen


class _Fractions(Frozen):
    """How much is held out.

    Attributes:
        test_fraction: Share of the rows (or of the keys) that become `test`.
        eval_fraction: Share of the others that become `eval`.
    """

    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)


class RandomSplit(_Fractions):
    """A hash of the row's place, that is file name and row number, or of a column's value decides.

    Attributes:
        key: Column whose rows of equal value stay together, such as the user; None parts single rows.
        seed: Another seed hashes rows into other splits.
    """

    by: Literal["random"] = "random"
    key: str | None = None
    seed: int = Field(default=0, ge=0)


class TimeSplit(_Fractions):
    """The last rows are `test`, the last ones before them `eval`; equal times stay together.

    Attributes:
        column: Holds the time; every row must have one.
        type: `number` orders by value; `text` as text, which fits times in the manner of ISO 8601.
    """

    by: Literal["time"] = "time"
    column: str
    type: Literal["number", "text"] = "number"


class ColumnSplit(Frozen):
    """A column says which split a row belongs to; rows of any other value are bad.

    Attributes:
        column: Its name.
        train: What it says of rows in `train`.
        eval: The same for `eval`.
        test: The same for `test`.
    """

    by: Literal["column"] = "column"
    column: str
    train: str = "train"
    eval: str = "eval"
    test: str = "test"


def _random_unless_named(value: Any) -> Any:
    return {"by": "random"} | value if isinstance(value, dict) else value


SplitConfig = Annotated[
    Annotated[RandomSplit | TimeSplit | ColumnSplit, Field(discriminator="by")], BeforeValidator(_random_unless_named)
]


class TextFormat(Frozen):
    """How rows stand in a text file: one a line, in UTF-8 or any other encoding that keeps ASCII.

    Attributes:
        delimiter: Between fields.
        column_names: Of files without a header; empty if the first line of each file is one.
        quoted: Whether a field may stand in double quotes. Line ends within quotes are not read.
        missing_values: Texts that stand for a missing value.
    """

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    column_names: tuple[str, ...] = ()
    quoted: bool = True
    missing_values: tuple[str, ...] = ("",)


def _changed(config: Frozen, *names: str) -> list[str]:
    """Which of some fields differ from their defaults; configurations travel with all fields, given or not."""
    return [name for name in names if getattr(config, name) != type(config).model_fields[name].default]


class FlatSource(Frozen):
    """Everything that reading needs to know.

    Attributes:
        files: Patterns below the dataset's directory; all or none with a marker of spans.
        text: None reads Parquet.
        separators: Between the tokens of a cell, by column.
        split: How rows are split.
        max_bad_rows: So many malformed rows are set aside in a quarantine file; one more fails the run.
        missing_spans: What happens if a window of spans is not whole.
    """

    files: tuple[str, ...]
    text: TextFormat | None
    separators: dict[str, str] = {}
    split: SplitConfig = RandomSplit()
    max_bad_rows: int = Field(default=0, ge=0)
    missing_spans: MissingSpans = "warning"

    @property
    def has_spans(self) -> bool:
        """Whether there is a window to choose."""
        return any(map(has_span, self.files))

    @property
    def by_date(self) -> bool:
        """Whether spans are named by date."""
        return any(map(is_dated, self.files))

    @property
    def split_column(self) -> str | None:
        """The column that the split looks at."""
        return self.split.key if isinstance(self.split, RandomSplit) else self.split.column


class SpanConfig(Frozen):
    """Which spans are read, where the path of a file says to which span it belongs.

    Attributes:
        window: So many spans, the latest; None takes all.
        last_span: Ends the window, for a rerun or a backfill: a number, or a date if files are named by date. None
            takes the newest.
        missing_spans: Whether a window that is not whole is a warning or an error.
    """

    window: int | None = Field(default=None, ge=1)
    last_span: int | date | None = None
    missing_spans: MissingSpans = "warning"

    @field_validator("last_span", mode="plain")
    @classmethod
    def _number_or_date(cls, value: Any) -> int | date | None:
        # A union would report the failure of each of its members.
        if value is None or type(value) is date or (type(value) is int and value >= 0):
            return value
        with contextlib.suppress(TypeError, ValueError):
            return date.fromisoformat(value)
        raise ValueError("expected the number of a span, or a date such as 2024-05-01")

    @property
    def last_span_number(self) -> int | None:
        """`last_span` as a number."""
        return None if self.last_span is None else number_of(self.last_span)

    def _spans_given(self) -> list[str]:
        return _changed(self, *SpanConfig.model_fields)


class FlatIngestConfig(FlatDataset, SpanConfig):
    """A user's own table: its files, and what its columns mean.

    Attributes:
        dataset: Format of the files. A name that ends in `.gz` is compressed text.
        files: Path with wildcards; all that it matches belong to the table. `{SPAN}`, or `{YYYY}`, `{MM}` and `{DD}`,
            stands for the span of a file, `{VERSION}` for its version.
        delimiter: Of text; see `TextFormat`, as the next two.
        column_names: Of text.
        missing_values: Of text.
        split: How rows are split into `train`, `eval` and `test`.
        max_bad_rows: So many malformed rows are set aside in a quarantine file; one more fails the run.
    """

    dataset: Literal["csv", "parquet"]
    files: str
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    column_names: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ("",)
    split: SplitConfig = RandomSplit()
    max_bad_rows: int = Field(default=0, ge=0)

    @field_validator("files")
    @classmethod
    def _check_markers(cls, files: str) -> str:
        check_pattern(files)
        return files

    @model_validator(mode="after")
    def _check_format(self) -> "FlatIngestConfig":
        text_only = _changed(self, "delimiter", "column_names", "missing_values")
        if self.dataset == "parquet" and text_only:
            raise ValueError(f"{', '.join(text_only)}: Parquet has none; it is for dataset csv")
        if self.dataset == "csv" and (lists := [e.name for e in self.categorical if e.multivalent and not e.separator]):
            raise ValueError(f"categorical: text holds no lists; name the separator of {', '.join(lists)}")
        if not has_span(self.files) and (given := self._spans_given()):
            raise ValueError(
                f"{', '.join(given)}: files, {self.files!r}, has no marker of spans; name one, as in "
                "'day-{SPAN}/*.csv', or leave it out"
            )
        if isinstance(self.last_span, date) and not is_dated(self.files):
            raise ValueError(
                f"last_span is the date {self.last_span} and files names spans by number; give the number, or name the "
                "files by {YYYY}, {MM} and {DD}"
            )
        return self

    @property
    def dataset_key(self) -> FlatDataset:
        """What `dataset_spec` makes the dataset's spec from."""
        return FlatDataset.model_validate(self.model_dump(include=set(FlatDataset.model_fields)))

    @property
    def protocol(self) -> str:
        """How rows are split, in a word."""
        return self.split.by

    @property
    def directory(self) -> Path:
        """Below which all files lie: the path up to its first wildcard."""
        fixed = Path(wildcards(self.files))
        while glob.has_magic(str(fixed)) or str(fixed) == self.files:
            fixed = fixed.parent
        return fixed

    def source(self) -> FlatSource:
        """How the files are read."""
        text = TextFormat(delimiter=self.delimiter, column_names=self.column_names, missing_values=self.missing_values)
        return FlatSource(
            files=(os.path.relpath(self.files, self.directory),),
            text=text if self.dataset == "csv" else None,
            separators={entry.name: entry.separator for entry in self.categorical if entry.separator},
            split=self.split,
            max_bad_rows=self.max_bad_rows,
            missing_spans=self.missing_spans,
        )


class CriteoIngestConfig(SpanConfig):
    """Criteo's files, or generated ones of the same format.

    Attributes:
        dataset: `criteo` reads `train.txt` or `day_0` and so on, plain or with `.gz`, from the dataset's directory;
            `synthetic-criteo` reads what was generated, and generates it where there is nothing yet. With `window` or
            `last_span` the days are spans, and `train.txt` is not read.
        rows: Of `synthetic-criteo`; what is there already must have been generated with so many, and the same seed.
        seed: Of `synthetic-criteo`.
        split: How rows are split into `train`, `eval` and `test`.
        max_bad_rows: So many malformed rows are set aside in a quarantine file; one more fails the run.
    """

    dataset: Literal["criteo", "synthetic-criteo"]
    rows: int = Field(default=1_000_000, ge=1000)
    seed: int = Field(default=0, ge=0)
    split: SplitConfig = RandomSplit()
    max_bad_rows: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "CriteoIngestConfig":
        if self.dataset == "criteo" and (given := _changed(self, "rows", "seed")):
            raise ValueError(f"{', '.join(given)}: only synthetic-criteo is generated; leave it out")
        if self.dataset == "synthetic-criteo" and (given := self._spans_given()):
            raise ValueError(f"{', '.join(given)}: what is generated has no days; leave it out, or take dataset criteo")
        if isinstance(self.last_span, date):
            raise ValueError(
                f"last_span is {self.last_span} and Criteo's days have numbers; give one, as in last_span: 5"
            )
        return self

    @property
    def dataset_key(self) -> str:
        """What `dataset_spec` makes the dataset's spec from."""
        return self.dataset

    @property
    def protocol(self) -> str:
        """How rows are split, in a word."""
        return self.split.by

    @property
    def directory(self) -> Path:
        """Where the files lie."""
        return Path("data", self.dataset)

    def source(self) -> FlatSource:
        """How the files are read."""
        by_day = self.window is not None or self.last_span is not None
        return FlatSource(
            files=("day_{SPAN}", "day_{SPAN}.gz") if by_day else ("train.txt", "train.txt.gz", "day_*"),
            text=TextFormat(delimiter="\t", column_names=(LABEL, *NUMBERS, *CATEGORIES), quoted=False),
            split=self.split,
            max_bad_rows=self.max_bad_rows,
            missing_spans=self.missing_spans,
        )


TableIngestConfig = Annotated[FlatIngestConfig | CriteoIngestConfig, Field(discriminator="dataset")]
DESCRIBED_DATASETS = ("csv", "parquet")
NAMED_DATASETS = ("criteo", "synthetic-criteo")


def spec_of(config: FlatIngestConfig | CriteoIngestConfig) -> DatasetSpec:
    """The dataset that a configuration describes or names."""
    return dataset_spec(config.dataset_key)
