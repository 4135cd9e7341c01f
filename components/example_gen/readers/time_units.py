"""Decides what a column of times holds, once for all files of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.example_gen.readers import parquet
from components.example_gen.readers.blocks import Piece, read
from components.example_gen.readers.parquet import RowGroup
from components.example_gen.readers.plain_arrays import is_number, is_text
from components.example_gen.readers.times import GUESSES, suggested_units
from trainer_module.data.tables import InteractionsTable, TimeUnit

# The first values that say something decide; however files are cut into blocks, these are the same.
_SAMPLE = 1000


@dataclass(frozen=True)
class ColumnUnit:
    """The unit of a table's times.

    Attributes:
        unit: Never `auto`.
        is_guess: Whether the values suggest it and the experiment does not name it.
    """

    unit: TimeUnit = "s"
    is_guess: bool = False


def unit_of(table: InteractionsTable, pieces: Sequence[Piece]) -> ColumnUnit:
    """The unit that the experiment names, or else the one that most of the column's first values suggest.

    Args:
        table: The description.
        pieces: Of all its files, in their order; read up to where enough values are found.

    Raises:
        DataError: A file is damaged.
    """
    if table.time is None:
        return ColumnUnit()
    if table.time.unit != "auto":
        return ColumnUnit(table.time.unit)
    counts = np.zeros(len(GUESSES), np.int64)
    for piece in pieces:
        if counts.sum() == _SAMPLE:
            break
        if _has_type_of_time(piece, table.time.name):
            continue
        for raw, _ in read(piece, table, [table.time.name]):
            units = suggested_units(raw.columns[table.time.name])[: _SAMPLE - counts.sum()]
            counts += np.bincount(units, minlength=len(GUESSES))
            if counts.sum() == _SAMPLE:
                break
    # 0 and missing values alone are seconds as well as anything else.
    return ColumnUnit(GUESSES[int(counts.argmax())], is_guess=True)


def _has_type_of_time(piece: Piece, column: str) -> bool:
    """Whether a Parquet file says by its type what the column is."""
    if not isinstance(piece.part, RowGroup):
        return False
    kind = parquet.schema(piece.file).field(column).type
    return not (is_number(kind) or is_text(kind))
