"""What a malformed input is and how it must end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Refused:
    """The input is refused with one message.

    Attributes:
        words: The message holds each of them: the file, line, column or key, and the cause. In a tuple of words, one
            of them is enough.
    """

    words: tuple[str | tuple[str, ...], ...]


@dataclass(frozen=True)
class BadRow:
    """A row is set aside, with its line and column; the others are read.

    Attributes:
        line: Of the row, or its number in a Parquet file, from 1.
        words: The problem holds each of them.
        good_rows: Rows that are read.
    """

    line: int
    words: tuple[str, ...]
    good_rows: int


@dataclass(frozen=True)
class Read:
    """The input is read right.

    Attributes:
        rows: Number of rows.
        users: Tokens of the users, in their order; None does not compare them.
    """

    rows: int
    users: tuple[str, ...] | None = None


@dataclass(frozen=True)
class AnyOf:
    """One of several outcomes, where the damaged bytes may or may not matter.

    Attributes:
        outcomes: The outcomes.
    """

    outcomes: tuple[Refused | BadRow | Read, ...]


Expected = Refused | BadRow | Read | AnyOf


@dataclass(frozen=True)
class DataCase:
    """Files of interactions.

    Attributes:
        kind: Class of the fault.
        files: Content by name, None for a directory.
        expected: How reading must end.
        pattern: The experiment's `files`, below the directory of the files.
        table: Other keys of `data.interactions`.
        links: Targets by names of symbolic links.
    """

    kind: str
    files: Mapping[str, bytes | None]
    expected: Expected
    pattern: str = ""
    table: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the file, or the pattern, that the experiment names."""
        return self.pattern or next(iter(self.files))


@dataclass(frozen=True)
class ExperimentCase:
    """An experiment file, or a command line.

    Attributes:
        kind: Class of the fault.
        text: Content of the experiment file, or the arguments of `recspan`.
        words: See `Refused`; None if the input must be accepted.
    """

    kind: str
    text: bytes | tuple[str, ...]
    words: tuple[str | tuple[str, ...], ...] | None
