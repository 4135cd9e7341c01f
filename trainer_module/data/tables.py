"""The three tables that make up a dataset: interactions, items and users, as an experiment file describes them.

A table names its files, their format and the meaning of its columns. An entry for a column is a name, or a mapping that
says more. This module is plain data (pydantic) and needs neither TensorFlow nor Arrow.
"""

import keyword
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from trainer_module.data.cells import trim
from trainer_module.data.features import Categorical, Numeric, Table, TokenRows, Vocabulary
from trainer_module.data.paths import normal_pattern
from trainer_module.data.sql import check_query, is_path
from trainer_module.frozen import Frozen

Format = Literal["csv", "jsonl", "parquet"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns", "iso"]

# The token that stands for a missing value in vocabularies.
MISSING_TOKEN = "<missing>"

# Tokens that occur once carry no evidence of their own; they share the row that unknown tokens use in service.
_DEFAULT_VOCABULARY = Vocabulary(min_frequency=2)

_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_COMPRESSIONS = (".gz", ".bz2", ".zst", ".zstd", ".zip")
# TensorFlow names a signature's arguments after features and refuses some names that Python's functions use.
# File systems take 255 bytes, of which TFX and the product need some for themselves.
_LONGEST_FEATURE = 120
_RESERVED = {"self", "cls"}


def feature_name(column: str) -> str:
    """The name of a column inside TensorFlow: an ASCII identifier, as signatures and file names need it.

    Characters that no identifier has become underscores: `Price (EUR)` becomes `Price_EUR`. A name without any letter
    or digit of ASCII gets one from its checksum, and a reserved word a trailing underscore. A name that is too long for
    a file ends with its checksum.
    """
    name = (
        re.sub(r"_+", "_", re.sub(r"[^0-9A-Za-z_]", "_", column)).strip("_") if not _is_identifier(column) else column
    )
    if not name:
        return f"column_{zlib.crc32(column.encode()):08x}"
    if name[0].isdigit():
        name = f"column_{name}"
    if len(name) > _LONGEST_FEATURE:
        name = f"{name[: _LONGEST_FEATURE - 9]}_{zlib.crc32(column.encode()):08x}"
    return f"{name}_" if keyword.iskeyword(name) or name in _RESERVED else name


def _is_identifier(name: str) -> bool:
    return name.isidentifier() and name.isascii() and not name.startswith("_")


def _named(value: Any) -> Any:
    """An entry that is a name alone takes the defaults."""
    if isinstance(value, bool):
        # YAML 1.1 reads these words as booleans.
        words = "yes, on or true" if value else "no, off or false"
        raise ValueError(
            f"YAML reads the word as the boolean {str(value).lower()}; put {words} in quotes to name a column"
        )
    if isinstance(value, int | float):
        raise ValueError(f"YAML reads {value} as a number; put it in quotes to name a column")
    return {"name": value} if isinstance(value, str) else value


class _Entry(Frozen):
    """A column of a table.

    Attributes:
        name: In the file.
        feature: Name of the column inside the pipeline and in the model's signatures; None derives one from `name`.
    """

    name: str = Field(min_length=1)
    feature: str | None = None

    @field_validator("name", mode="before")
    @classmethod
    def _is_text(cls, name: Any) -> Any:
        return _named(name)["name"] if isinstance(name, bool | int | float) else name

    @field_validator("feature")
    @classmethod
    def _can_be_a_feature(cls, feature: str | None) -> str | None:
        if feature is not None and feature_name(feature) != feature:
            raise ValueError(
                f"{feature!r} cannot name a feature; take letters, digits and underscores, as in "
                f"{feature_name(feature)}"
            )
        return feature

    # Key of the experiment file under which such entries stand.
    section: ClassVar[str] = ""

    @property
    def feature_name(self) -> str:
        """Name of the column inside the pipeline."""
        return self.feature or feature_name(self.name)


class _Tokens(_Entry):
    """A column of tokens and the embedding table that they are looked up in.

    Attributes:
        table: Where the tokens are looked up; None is a table of the column's own.
        vocabulary: Which tokens get a row of the table: a `Vocabulary`, or `HashBuckets`. By default those that the
            training split holds twice or more; all others train the row for unknown tokens.
        dim: Width of a row; None takes `embeddings.dim`.
        combiner: How the rows of several tokens become one.
    """

    table: str | None = None
    vocabulary: TokenRows | None = _DEFAULT_VOCABULARY
    dim: int | None = Field(default=None, ge=1)
    combiner: Literal["mean", "sum", "sqrtn"] = "mean"

    @field_validator("table")
    @classmethod
    def _stays_in_its_directory(cls, table: str | None) -> str | None:
        # The table's vocabulary is a file of that name.
        if table is not None and feature_name(table) != table:
            raise ValueError(
                f"{table!r} cannot name a table; take letters, digits and underscores, as in {feature_name(table)}"
            )
        return table

    @property
    def table_name(self) -> str:
        """Name of the embedding table."""
        return self.table or self.feature_name

    def embedding_table(self) -> Table:
        """The table that the column declares."""
        vocabulary = self.vocabulary or _DEFAULT_VOCABULARY
        return Table(name=self.table_name, dim=self.dim, combiner=self.combiner, vocabulary=vocabulary)


class KeyEntry(_Tokens):
    """The column that identifies a user or an item; one token per row, never missing.

    Attributes:
        vocabulary: None gives every item of a retrieval dataset and every user and item of ratings a row of its own;
            elsewhere it takes those tokens that the training split holds twice or more.
    """

    vocabulary: TokenRows | None = None

    def column(self) -> Categorical:
        """The column of the feature spec."""
        return Categorical(name=self.feature_name, table=self.table_name)


class CategoricalEntry(_Tokens):
    """A column of tokens.

    Attributes:
        separator: Between the tokens of a cell that may hold several; None is one token per cell.
        multivalent: Whether a cell is a list, as Parquet and JSON have them; a separator implies it.
    """

    section: ClassVar[str] = "categorical"

    separator: str | None = Field(default=None, min_length=1)
    multivalent: bool = False

    @property
    def several(self) -> bool:
        """Whether a cell may hold several tokens."""
        return self.multivalent or self.separator is not None

    def column(self, required: bool) -> Categorical:
        """The column of the feature spec; `MISSING_TOKEN` stands for a missing token.

        Args:
            required: Whether every row must have a value.
        """
        return Categorical(
            name=self.feature_name,
            table=self.table_name,
            multivalent=self.several,
            required=required,
            missing_token=None if self.several or required else MISSING_TOKEN,
        )


class TextEntry(_Tokens):
    """A column of text, read as the set of its words in lower case.

    The feature is called `<name>_words` unless `feature` says otherwise.
    """

    section: ClassVar[str] = "text"

    @property
    def feature_name(self) -> str:
        return self.feature or f"{feature_name(self.name)}_words"

    def column(self) -> Categorical:
        """The column of the feature spec."""
        return Categorical(name=self.feature_name, table=self.table_name, multivalent=True)


class NumericEntry(_Entry):
    """A column of numbers; see `features.Numeric`."""

    section: ClassVar[str] = "numeric"

    transform: Literal["z_score", "log1p_z_score"] = "z_score"
    clip: float = Field(default=3.0, gt=0)
    missing: float = 0.0

    @model_validator(mode="after")
    def _within_clip(self) -> "NumericEntry":
        if abs(self.missing) > self.clip:
            raise ValueError(
                f"missing {self.missing:g} lies beyond clip {self.clip:g}, which every number is clipped to; lower the "
                "one or raise the other"
            )
        return self

    def column(self) -> Numeric:
        """The column of the feature spec."""
        settings = {"transform": self.transform, "clip": self.clip, "missing": self.missing}
        return Numeric(name=self.feature_name, required=False, **settings)


class ContextEntry(_Entry):
    """A column of single tokens that evaluation may slice by and the model does not read."""

    section: ClassVar[str] = "context"


class LabelEntry(_Entry):
    """The column that is predicted.

    Attributes:
        positive_from: Under the task `click`, a row whose value is at least this counts as 1 and every other as 0;
            under `retrieval`, only such rows are interactions and the others are dropped. None takes values as they
            are.
    """

    positive_from: float | None = Field(default=None, allow_inf_nan=False)


class FurtherLabelEntry(LabelEntry):
    """A further column that a model of several goals predicts; a row may lack its value.

    Attributes:
        task: What the label means: `rating` is a number, `click` is 1 or 0, or made from a number by `positive_from`.
        label_range: Smallest and largest number of a `rating`; None accepts any.
    """

    section: ClassVar[str] = "labels"

    task: Literal["rating", "click"]
    label_range: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _fits_its_task(self) -> "FurtherLabelEntry":
        if self.task == "rating" and self.positive_from is not None:
            raise ValueError(
                f"labels {self.name!r}: positive_from makes clicks of numbers, and this is task rating; leave it out, "
                "or take task: click"
            )
        if self.task == "click" and self.label_range is not None:
            raise ValueError(
                f"labels {self.name!r}: label_range is for task rating, and this is task click; leave it out"
            )
        if self.label_range and self.label_range[0] >= self.label_range[1]:
            raise ValueError(
                f"labels {self.name!r}: label_range {list(self.label_range)} is empty; the smaller number comes first"
            )
        return self


class WeightEntry(_Entry):
    """The column that weighs a row in the training loss, such as a number of plays or purchases.

    Attributes:
        transform: `none` takes the number itself, `log1p` log(1 + x). Weights are divided by their mean.
    """

    transform: Literal["none", "log1p"] = "none"


class PropensityEntry(_Entry):
    """The probability with which the logging policy showed the row's item, above 0 and at most 1.

    The model does not read it. Evaluation estimates the clicks of the policies that follow from the model with it; see
    docs/off_policy.md.
    """


class TimeEntry(_Entry):
    """The column that says when a row happened.

    Attributes:
        unit: Of Unix times, or `iso` for ISO 8601 texts. `auto` takes what most of the column's first thousand values
            suggest, numbers by their magnitude (below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds,
            else nanoseconds); rows of another form or magnitude are malformed. Columns of a timestamp type need no
            unit.
    """

    unit: TimeUnit = "auto"


Key = Annotated[KeyEntry, BeforeValidator(_named)]
Category = Annotated[CategoricalEntry, BeforeValidator(_named)]
Number = Annotated[NumericEntry, BeforeValidator(_named)]
Text = Annotated[TextEntry, BeforeValidator(_named)]
Context = Annotated[ContextEntry, BeforeValidator(_named)]


MAX_ROW_MB = 64
# Files of many similar rows unpack to some twenty times their size, files that hold one byte alone to a thousand times.
MAX_UNPACK_RATIO = 100
UNPACKED_FREELY = 256 << 20


class TableFiles(Frozen):
    """Where the rows of one table come from: files and their format, or a query.

    Attributes:
        files: A path with wildcards, or several; all files that match belong to the table. `{SPAN}`, or `{YYYY}`,
            `{MM}` and `{DD}`, stands for the span of a file, `{VERSION}` for its version.
        query: In place of files: a query to BigQuery in GoogleSQL, or the path of a file that ends in `.sql` and holds
            one. Its columns are those of the table. `@as_of` stands for `data.as_of`.
        format: None goes by the file's name: `.parquet`, `.jsonl`, and CSV for all others.
        delimiter: Between the fields of text, of any length; None is a tab for `.tsv` and a comma for all others.
        column_names: Of text without a header; empty if the first line of each file is one.
        encoding: Of text; a byte order mark overrides it.
        quoted: Whether a field of text may stand in double quotes.
        missing_values: Texts that stand for a missing value; surrounding spaces do not count.
        max_row_mb: Largest size of a row of text in MB; a longer one is an error.
        max_unpack_ratio: Largest size of a compressed file when it is unpacked, in multiples of its own; the first
            256 MB do not count.
        alternatives: Whether a pattern may match nothing as long as another one matches something.
    """

    files: tuple[str, ...] = ()
    query: str = ""
    format: Format | None = None
    delimiter: str | None = Field(default=None, min_length=1)
    column_names: tuple[str, ...] = ()
    encoding: str = "utf-8"
    quoted: bool = True
    missing_values: tuple[str, ...] = ("",)
    max_row_mb: int = Field(default=MAX_ROW_MB, ge=1)
    max_unpack_ratio: int = Field(default=MAX_UNPACK_RATIO, ge=1)
    alternatives: bool = False

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_several(cls, files: Any) -> Any:
        return (files,) if isinstance(files, str) else files

    @field_validator("files")
    @classmethod
    def _in_one_spelling(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(normal_pattern, files))

    @field_validator("query")
    @classmethod
    def _is_one_query(cls, query: str) -> str:
        query = query.strip()
        if not query:
            return ""
        if is_path(query):
            query = _read_query(query)
        check_query(query)
        return query

    @field_validator("column_names")
    @classmethod
    def _are_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # As the names of a header are.
        names = tuple(map(trim, names))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            places = [number for number, name in enumerate(names, start=1) if name == twice[0]]
            raise ValueError(
                f"{twice[0]!r} names columns {' and '.join(map(str, places))}; every column needs its own name"
            )
        return names

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError(
                "not an encoding that Python knows; utf-8, utf-16, latin-1 and cp1252 are common ones"
            ) from None
        return encoding

    @model_validator(mode="after")
    def _has_one_source(self) -> "TableFiles":
        if self.query and self.files:
            raise ValueError("files and query: a table has one of the two; leave the other out")
        if not self.query and not self.files:
            raise ValueError(
                "files: this key is missing; name files, as in files: events/*.csv, or a query to BigQuery, as in "
                "query: SELECT * FROM shop.events"
            )
        if self.query:
            fields = TableFiles.model_fields
            of_files = [name for name in fields if name not in ("files", "query")]
            if given := [name for name in of_files if getattr(self, name) != fields[name].default]:
                raise ValueError(f"{', '.join(given)}: only files have such keys, and this table is a query")
        return self

    @model_validator(mode="after")
    def _check_format(self) -> "TableFiles":
        formats = {self.format_of(file) for file in self.files}
        if len(formats) > 1:
            raise ValueError(f"files: one table has one format, but these look like {' and '.join(sorted(formats))}")
        if self.delimiter and ("\n" in self.delimiter or "\r" in self.delimiter):
            raise ValueError(f"delimiter: {self.delimiter!r} holds the end of a line, which ends a row")
        if self.delimiter and self.quoted and '"' in self.delimiter:
            raise ValueError(
                "delimiter: a double quote opens a quoted field; set quoted: false to take it as delimiter"
            )
        if self.files and formats != {"csv"}:
            defaults = TableFiles.model_fields
            text_only = ("delimiter", "column_names", "quoted", "missing_values", "encoding")
            if given := [name for name in text_only if getattr(self, name) != defaults[name].default]:
                raise ValueError(f"{', '.join(given)}: only CSV has such keys, and these files are {formats.pop()}")
        return self

    def format_of(self, file: str) -> Format:
        """The format of a file or pattern."""
        return self.format or _FORMATS.get(_suffix(file), "csv")

    def delimiter_of(self, file: str) -> str:
        """The delimiter of a text file or pattern."""
        return self.delimiter or ("\t" if _suffix(file) == ".tsv" else ",")


def _read_query(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(
            f"{path}: cannot be read ({reason}); expected a file with a query, or the query itself"
        ) from None
    except ValueError:
        raise ValueError(f"{path}: not text in UTF-8; save the query in that encoding") from None


def _suffix(file: str) -> str:
    """The last suffix of a file's name, without that of its compression, in lower case."""
    name = file.rsplit("/", 1)[-1].lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return f".{name.rsplit('.', 1)[1]}" if "." in name else ""


class InteractionsTable(TableFiles):
    """What happened: a user, an item, and what is known of the event.

    Attributes:
        user: Column of the user.
        item: Column of the item.
        label: What is predicted: stars, or 1 for a click and 0 for none. Retrieval needs none.
        labels: What models of several goals predict beside it; all other models leave these columns unread.
        weight: How much a row counts in training.
        propensity: Probability with which this item was shown to this user, under task `click`.
        time: When it happened.
        categorical: Tokens that describe the event, such as the device; inputs of the model.
        numeric: Numbers that do.
        context: Columns that evaluation may slice by and the model does not read.
    """

    user: Key | None = None
    item: Key | None = None
    label: Annotated[LabelEntry, BeforeValidator(_named)] | None = None
    labels: tuple[Annotated[FurtherLabelEntry, BeforeValidator(_named)], ...] = ()
    weight: Annotated[WeightEntry, BeforeValidator(_named)] | None = None
    propensity: Annotated[PropensityEntry, BeforeValidator(_named)] | None = None
    time: Annotated[TimeEntry, BeforeValidator(_named)] | None = None
    categorical: tuple[Category, ...] = ()
    numeric: tuple[Number, ...] = ()
    context: tuple[Context, ...] = ()

    def inputs(self) -> tuple[CategoricalEntry | NumericEntry, ...]:
        """Columns beside user and item that the model reads."""
        return (*self.categorical, *self.numeric)

    def entries(self) -> Iterator[_Entry]:
        """All columns that are read."""
        roles = (self.user, self.item, self.label, *self.labels, self.weight, self.propensity, self.time)
        yield from (entry for entry in (*roles, *self.inputs(), *self.context) if entry)


class EntityTable(TableFiles):
    """Users or items with their attributes.

    Attributes:
        key: Column that identifies the entity; the values are those of the interactions' column.
        title: Column by which people know the entity; not an input of the model.
        categorical: Tokens that describe it.
        numeric: Numbers that do.
        text: Texts that do, read as words.
        context: Columns that evaluation may slice by and the model does not read.
        unmatched: What happens to an interaction whose entity has no row here: `keep` treats all its attributes as
            missing, `bad_row` counts it as malformed.
    """

    key: str = Field(min_length=1)
    title: str | None = None
    categorical: tuple[Category, ...] = ()
    numeric: tuple[Number, ...] = ()
    text: tuple[Text, ...] = ()
    context: tuple[Context, ...] = ()
    unmatched: Literal["keep", "bad_row"] = "keep"

    def inputs(self) -> tuple[CategoricalEntry | TextEntry | NumericEntry, ...]:
        """Columns that the model reads."""
        return (*self.categorical, *self.text, *self.numeric)

    def entries(self) -> Iterator[_Entry]:
        """All columns that are read, without key and title."""
        yield from (*self.inputs(), *self.context)

    @property
    def own_title_feature(self) -> str:
        """Name of a feature that holds the title alone; empty without a title."""
        return feature_name(self.title) if self.title else ""

    @property
    def title_feature(self) -> str:
        """The feature that holds the title: another entry's of that column, if it holds one value per row."""
        single = [*self.context, *(entry for entry in self.categorical if not entry.several)]
        return next((e.feature_name for e in single if e.name == self.title), self.own_title_feature)


class Tables(Frozen):
    """A dataset as its tables.

    Attributes:
        interactions: Always there.
        items: None where items have no attributes.
        users: None where users have none.
    """

    interactions: InteractionsTable
    items: EntityTable | None = None
    users: EntityTable | None = None

    @model_validator(mode="after")
    def _check(self) -> "Tables":
        for role, of in (("items", "item"), ("users", "user")):
            if getattr(self, role) and not getattr(self.interactions, of):
                raise ValueError(
                    f"{role}: interactions.{of} is missing; name the column that points to this table's key"
                )
        return self

    def named(self) -> Iterator[tuple[str, TableFiles]]:
        """The tables that there are, with their names."""
        for name in ("interactions", "items", "users"):
            if table := getattr(self, name):
                yield name, table
