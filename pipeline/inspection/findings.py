"""What an inspection finds: plain data, for the report, the experiment file and JSON."""

from dataclasses import dataclass, field

import polars as pl

from pipeline.inspection.columns import Column
from pipeline.inspection.roles import Guess
from pipeline.inspection.sample import TextFormat
from trainer_module.data.tables import Format


@dataclass(frozen=True)
class FoundTable:
    """Files of one layout and what their columns are.

    Attributes:
        files: Paths or patterns as given, for the experiment file.
        format: Of the files.
        text: How CSV files are written; None for other formats.
        missing_words: Texts of CSV files that stand for a missing value, beside the empty one.
        columns: In the order of the file.
        sampled_rows: Number of rows that were read.
        rows: Number of rows of all files, estimated where not all were read; None if unknown.
        is_whole: Whether all rows were read.
        frame: The rows that were read, cast to the columns' types.
    """

    files: tuple[str, ...]
    format: Format
    text: TextFormat | None
    missing_words: tuple[str, ...]
    columns: tuple[Column, ...]
    sampled_rows: int
    rows: int | None
    is_whole: bool
    frame: pl.DataFrame = field(repr=False)

    @property
    def label(self) -> str:
        """The files in words."""
        return self.files[0] if len(self.files) == 1 else f"{self.files[0]} and {len(self.files) - 1} more"

    def column(self, name: str) -> Column:
        """A column by name."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Link:
    """A table of users or items, and how it meets the interactions.

    Attributes:
        table: The files.
        role: `user` or `item`.
        key: Column of the table with one row per value.
        column: Column of the interactions that holds its values.
        evidence: Why, in words.
        rows_without: Interactions whose value has no row in the table, in the sample.
        unused: Rows of the table whose key no interaction has, in the sample.
    """

    table: FoundTable
    role: str
    key: str
    column: str
    evidence: tuple[str, ...]
    rows_without: int
    unused: int


@dataclass(frozen=True)
class Spread:
    """How rows spread over users or items.

    Attributes:
        entities: Number of distinct ones.
        minimum: Least number of rows of one.
        median: Median number.
        maximum: Largest number.
        top_share: Share of the rows that the most frequent 1% have.
        below_three: Share of those with fewer than three rows.
    """

    entities: int
    minimum: int
    median: float
    maximum: int
    top_share: float
    below_three: float


@dataclass(frozen=True)
class Facts:
    """What holds of the interactions as a whole.

    Attributes:
        users: Rows per user; None without a user column.
        items: Rows per item; None without an item column.
        repeated_rows: Rows that equal an earlier row in all columns.
        repeated_pairs: Rows whose user and item an earlier row has; None without both columns.
        first_time: First date; None without a time column that holds dates.
        last_time: Last date.
    """

    users: Spread | None
    items: Spread | None
    repeated_rows: int
    repeated_pairs: int | None
    first_time: str | None
    last_time: str | None


@dataclass(frozen=True)
class Findings:
    """Everything that an inspection finds.

    Attributes:
        interactions: The table of interactions.
        links: Tables of users and items.
        unused: Tables that match nothing, with the reason.
        roles: Of the columns of the interactions, by role.
        facts: Of the interactions.
        warnings: What may go wrong, in words.
        leaks: By column of the interactions that must not be an input: the reason.
    """

    interactions: FoundTable
    links: tuple[Link, ...]
    unused: tuple[tuple[FoundTable, str], ...]
    roles: dict[str, Guess]
    facts: Facts
    warnings: tuple[str, ...]
    leaks: dict[str, str]

    def link(self, role: str) -> Link | None:
        """The table of a role."""
        return next((link for link in self.links if link.role == role), None)

    def name(self, role: str) -> str | None:
        """The column of a role."""
        return self.roles[role].column if role in self.roles else None
