"""Collects what is wrong with the rows of a block while their columns are converted."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from components.example_gen.output.bad_rows import BadRow, bad_row
from components.example_gen.readers.raw_rows import RawRows

_SHOWN_CHARACTERS = 60


class Problems:
    """The first problem of each row.

    Attributes:
        file: Path of the rows' file, for errors that concern a whole column.
        of_row: Problem of each bad row, by index into the block.
    """

    def __init__(self, file: str, num_rows: int):
        self.file = file
        self.of_row: dict[int, str] = {}
        self._num_rows = num_rows

    def add(self, wrong: np.ndarray, describe: Callable[[int], str]) -> None:
        """Notes a problem of rows that have none yet.

        Args:
            wrong: Whether a row has the problem, bool `[rows]`.
            describe: Maps the row's index to the message, which names the column, what was expected and what was found.
        """
        for row in np.flatnonzero(wrong).tolist():
            if row not in self.of_row:
                self.of_row[row] = describe(row)

    def good(self) -> np.ndarray:
        """Indices of the rows without a problem, ascending int64."""
        is_good = np.ones(self._num_rows, bool)
        is_good[list(self.of_row)] = False
        return np.flatnonzero(is_good)

    def bad_rows(self, raw: RawRows) -> list[BadRow]:
        """The rows with a problem, in their order."""
        return [
            bad_row(raw.file, int(raw.numbers[row]), problem, raw.raw(row))
            for row, problem in sorted(self.of_row.items())
        ]


def shown(value: pa.Scalar | object) -> str:
    """A value as messages show it."""
    plain = value.as_py() if isinstance(value, pa.Scalar) else value
    if isinstance(plain, bytes):
        plain = plain.decode("utf-8", "backslashreplace")
    if isinstance(plain, str) and len(plain) > _SHOWN_CHARACTERS:
        plain = plain[:_SHOWN_CHARACTERS] + "..."
    return repr(plain) if isinstance(plain, str) else str(plain)
