"""What a parser found wrong with a line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = 5
_QUOTED = re.compile(r"'[^']*'")


@dataclass(frozen=True)
class BadRow:
    """A line that is set aside.

    Attributes:
        file: Its file's name, such as `u.data`.
        line: Its number, from 1.
        problem: Which column is wrong, and what was expected.
        raw: The line, without its end; bytes that are not UTF-8 are written as `\\xNN`.
    """

    file: str
    line: int
    problem: str
    raw: str


def bad_row(file: str, line: int, problem: str, raw: bytes) -> BadRow:
    """Builds a `BadRow` from the line's bytes."""
    return BadRow(file, line, problem, raw.decode("utf-8", "backslashreplace"))


def kind_of(problem: str) -> str:
    """A problem without what differs from row to row: the value that was found, and names after the column's."""
    what, _, rest = problem.partition(", found ")
    # The way out follows the value, which may hold a semicolon itself.
    _, semicolon, way_out = _QUOTED.sub("", rest).partition("; ")
    first, *others = _QUOTED.findall(what) or [""]
    for other in others:
        what = what.replace(other, "...") if other != first else what
    return what + semicolon + way_out


def describe(bad: Sequence[BadRow], count: int) -> str:
    """The first few bad rows, one a line, and how many more there are.

    Args:
        bad: Bad rows in the order in which they are shown.
        count: How many there are in all, `bad` included.
    """
    lines = [f"  {row.file}, line {row.line}: {row.problem}" for row in bad[:_SHOWN]]
    if count > len(lines):
        lines.append(f"  ... and {count - len(lines)} more")
    return "\n".join(lines)
