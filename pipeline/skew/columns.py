"""Counts what requests hold in a column, beside what the training split held. Takes no memory that grows with a log."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from components.drift.measures import MISSING, Aligned, Names, chance, jensen_shannon, l_infinity
from pipeline.skew.training import ColumnStatistics, NumberStatistics, TokenStatistics
from trainer_module.data.cells import MISSING_INTEGER, WHITESPACE
from trainer_module.data.features import Categorical, Numeric, Weights

_SPACE = WHITESPACE.encode()
_ALL_OTHERS = "(all others)"
_SHOWN = 40

RequestColumn = Categorical | Weights | Numeric


@dataclass(frozen=True)
class Distance:
    """How far requests are from the training split.

    Attributes:
        value: Of the measure.
        by_chance: What it may well be for so few rows of the same distribution.
        note: Which value differs most and how, for people.
    """

    value: float
    by_chance: float
    note: str


class ColumnCounts:
    """What requests held in one column.

    Attributes:
        column: Its description.
        rows: Rows that had the column.
        missing: Rows without a value in it.
        values: Values that had the column's type.
        wrong_type: Rows with a value of another type, which are in no other number.
        wrong_note: Place and value of the first of these.
        absent: Rows of requests that did not have the column.
        absent_note: Place of the first of these.
    """

    def __init__(self, column: RequestColumn, trained: ColumnStatistics, vocabulary: Collection[bytes] | None):
        """Starts with nothing.

        Args:
            column: Its description.
            trained: Of the training split.
            vocabulary: Tokens with a row of their own; None if the column has no vocabulary.
        """
        self.column = column
        self.rows = self.missing = self.values = self.wrong_type = self.absent = 0
        self.wrong_note = self.absent_note = ""
        self._trained = trained
        self._vocabulary = vocabulary
        self._unknown = self._outside = 0
        # Of numbers: below all edges, at each of them, above.
        length = len(trained.counts) + (2 if isinstance(trained, NumberStatistics) else 0)
        self._counts = np.zeros(length)

    def lacks(self, rows: int, place: str) -> None:
        """Counts rows of a request that does not have the column."""
        self.absent_note = self.absent_note or place
        self.absent += rows

    def add(self, cells: Sequence[Any], place: str) -> bool:
        """Counts the cells of a request.

        Args:
            cells: One per row: a value, or a list of them.
            place: Of the request.

        Returns:
            Whether all values had the column's type.
        """
        values, fits = [], True
        for cell in cells:
            of_row = cell if isinstance(cell, list) else [cell]
            if wrong := [value for value in of_row if not self._has_type(value)]:
                fits = False
                self.wrong_type += 1
                self.wrong_note = self.wrong_note or f"{_described(wrong[0])} instead of {self._expected} in {place}"
                continue
            self.rows += 1
            present = [token for value in of_row if (token := self._present(value)) is not None]
            self.missing += not present
            values += present
        self.values += len(values)
        if values:
            self._count(values)
        return fits

    @property
    def share_missing(self) -> float:
        """Of the requests' rows."""
        return self.missing / max(self.rows, 1)

    @property
    def trained_missing(self) -> float | None:
        """The same of the training split; None if its statistics do not say."""
        return None if self._trained.missing is None else self._trained.missing / max(self._trained.rows, 1)

    @property
    def out_of_vocabulary(self) -> float | None:
        """Share of tokens without a row of their own; None if the column has no vocabulary."""
        return None if self._vocabulary is None or not self.values else self._unknown / self.values

    @property
    def out_of_range(self) -> float | None:
        """Share of numbers below the smallest or above the largest of the training split; None for tokens."""
        if isinstance(self._trained, TokenStatistics) or not self.values or not self._trained.counts.any():
            return None
        return self._outside / self.values

    @property
    def l_infinity(self) -> Distance | None:
        """Largest difference of a token's share; None for numbers."""
        if not isinstance(self._trained, TokenStatistics) or not self.values:
            return None
        aligned = self._aligned()
        value, worst = l_infinity(aligned)
        earlier, newer = (share[worst] for share in aligned.shares)
        name = aligned.names[worst]
        name = name if name in (MISSING, _ALL_OTHERS) else f"'{name}'"
        return Distance(value, chance("l_infinity", aligned), f"{name}: {earlier:.3f} in training, {newer:.3f} here")

    @property
    def jensen_shannon(self) -> Distance | None:
        """Jensen-Shannon divergence over the training split's tenths, in bits; None for tokens."""
        if not isinstance(self._trained, NumberStatistics) or not self.values or not self._trained.counts.any():
            return None
        aligned = self._aligned()
        _, worst = l_infinity(aligned)
        earlier, newer = (share[worst] for share in aligned.shares)
        note = f"{aligned.names[worst]}: {earlier:.3f} in training, {newer:.3f} here"
        return Distance(jensen_shannon(aligned), chance("jensen_shannon", aligned), note)

    def _aligned(self) -> Aligned:
        trained = self._trained
        # How often lists are empty may not be known, and then does not count as a value.
        missing = (0.0, 0.0) if trained.missing is None else (trained.missing, float(self.missing))
        if isinstance(trained, TokenStatistics):
            names = [token.decode(errors="replace") for token in trained.listed] + [_ALL_OTHERS]
            earlier = trained.counts
        else:
            names = _ranges(trained)
            earlier = np.concatenate([[0.0], trained.counts, [0.0]])
        return Aligned(Names(names), np.append(earlier, missing[0]), np.append(self._counts, missing[1]))

    def _count(self, values: Sequence[Any]) -> None:
        trained = self._trained
        if self._vocabulary is not None:
            self._unknown += sum(_token(value) not in self._vocabulary for value in values)
        if isinstance(trained, TokenStatistics):
            others = len(trained.listed)
            for value in values:
                self._counts[trained.listed.get(value, others)] += 1
            return
        numbers = np.array(values, np.float64)
        if self.column.dtype == "float32":
            numbers = numbers.astype(np.float32).astype(np.float64)
        places = trained.places(numbers)
        self._outside += int(np.sum((places < 0) | (places == len(trained.edges))))
        self._counts += np.bincount(places + 1, minlength=len(self._counts))

    def _has_type(self, value: Any) -> bool:
        if self.column.dtype == "string":
            return isinstance(value, bytes)
        if isinstance(value, bool):
            return False
        if self.column.kind == "categorical":
            return isinstance(value, int)
        return isinstance(value, int | float)

    @property
    def _expected(self) -> str:
        return {"string": "a token", "int64": "a whole number"}.get(self.column.dtype, "a number")

    def _present(self, value: Any) -> Any:
        """A value as the model reads it; None if it stands for a missing one."""
        if isinstance(value, bytes):
            return _trimmed(value) or None
        if self.column.kind == "categorical":
            return None if value == MISSING_INTEGER else value
        return None if math.isnan(value) else value


def _trimmed(token: bytes) -> bytes:
    stripped = token.strip(b"\t\n\v\f\r ")
    if stripped.isascii():
        return stripped
    return stripped.decode("utf-8", "surrogateescape").strip(WHITESPACE).encode("utf-8", "surrogateescape")


def _token(value: bytes | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _ranges(trained: NumberStatistics) -> list[str]:
    edges = [f"{edge:.6g}" for edge in trained.edges]
    within = [f"above {low} to {high}" for low, high in pairwise(edges)]
    return [f"below {edges[0]}", edges[0], *within, f"above {edges[-1]}"]


def _described(value: Any) -> str:
    if value is None:
        return "null"
    kind = "the token " if isinstance(value, bytes) else "the number " if isinstance(value, int | float) else ""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return f"{kind}{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"
