"""How tables of examples are read and split."""

import glob
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainer_module.datasets import dataset_spec
from trainer_module.datasets.criteo import CATEGORIES, LABEL, NUMBERS
from trainer_module.datasets.flat import FlatDataset
from trainer_module.datasets.spec import DatasetSpec
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
        files: Patterns below the dataset's directory.
        text: None reads Parquet.
        separators: Between the tokens of a cell, by column.
        split: How rows are split.
        max_bad_rows: So many malformed rows are set aside in a quarantine file; one more fails the run.
    """

    files: tuple[str, ...]
    text: TextFormat | None
    separators: dict[str, str] = {}
    split: SplitConfig = RandomSplit()
    max_bad_rows: int = Field(default=0, ge=0)

    @property
    def split_column(self) -> str | None:
        """The column that the split looks at."""
        return self.split.key if isinstance(self.split, RandomSplit) else self.split.column


class FlatIngestConfig(FlatDataset):
    """A user's own table: its files, and what its columns mean.

    Attributes:
        dataset: Format of the files. A name that ends in `.gz` is compressed text.
        files: Path with wildcards; all that it matches belong to the table.
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

    @model_validator(mode="after")
    def _check_format(self) -> "FlatIngestConfig":
        text_only = _changed(self, "delimiter", "column_names", "missing_values")
        if self.dataset == "parquet" and text_only:
            raise ValueError(f"{', '.join(text_only)}: Parquet has none; it is for dataset csv")
        if self.dataset == "csv" and (lists := [e.name for e in self.categorical if e.multivalent and not e.separator]):
            raise ValueError(f"categorical: text holds no lists; name the separator of {', '.join(lists)}")
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
        fixed = Path(self.files)
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
        )


class CriteoIngestConfig(Frozen):
    """Criteo's files, or generated ones of the same format.

    Attributes:
        dataset: `criteo` reads `train.txt` or `day_0` and so on, plain or with `.gz`, from the dataset's directory;
            `synthetic-criteo` reads what was generated, and generates it where there is nothing yet.
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
        return FlatSource(
            files=("train.txt", "train.txt.gz", "day_*"),
            text=TextFormat(delimiter="\t", column_names=(LABEL, *NUMBERS, *CATEGORIES), quoted=False),
            split=self.split,
            max_bad_rows=self.max_bad_rows,
        )


TableIngestConfig = Annotated[FlatIngestConfig | CriteoIngestConfig, Field(discriminator="dataset")]
DESCRIBED_DATASETS = ("csv", "parquet")
NAMED_DATASETS = ("criteo", "synthetic-criteo")


def spec_of(config: FlatIngestConfig | CriteoIngestConfig) -> DatasetSpec:
    """The dataset that a configuration describes or names."""
    return dataset_spec(config.dataset_key)
