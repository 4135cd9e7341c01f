"""Describes the columns of a sample: type, distinct values, missing values, range."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import polars as pl

Kind = Literal["integer", "float", "boolean", "time", "text", "list", "empty", "other"]

# Separators of lists within a cell, and the largest share of distinct tokens among all: a comma also occurs in titles.
_SEPARATORS = (("|", 0.6), (";", 0.5), (",", 0.2))
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_INTEGER = r"^[+-]?\d+$"
# Words that programs write for a missing number or time.
_MISSING_WORDS = ("NA", "N/A", "NULL", "null", "None", "none", "nan", "NaN", "\\N", "?", "-")
_EXAMPLES = 3
# Magnitudes of Unix times from 1990 to 2060, in seconds.
_FIRST_TIME, _LAST_TIME = 631_152_000, 2_840_140_800
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Column:
    """A column of a sample.

    Attributes:
        name: In the file.
        kind: Of the values; text that holds numbers only is `integer` or `float`.
        rows: Of the sample.
        missing: Rows without a value.
        distinct: Number of distinct values.
        examples: The first distinct values.
        minimum: Of numbers.
        maximum: Of numbers.
        separator: Between the tokens of a cell, of text that looks like lists.
        tokens: Number of distinct tokens of lists.
        words: Mean number of words per value, of text.
        time_unit: Of numbers in the range of Unix times from 1990 to 2060; None elsewhere.
        is_lexical_float: Whether whole numbers are written with a decimal point, as in `17.0`.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int
    examples: tuple[str, ...]
    minimum: float | None = None
    maximum: float | None = None
    separator: str | None = None
    tokens: int | None = None
    words: float | None = None
    time_unit: str | None = None
    is_lexical_float: bool = False

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def is_numeric(self) -> bool:
        return self.kind in ("integer", "float")

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same value, or none has one."""
        return self.distinct <= 1 and (self.missing == 0 or self.distinct == 0)

    @property
    def uniqueness(self) -> float:
        """Distinct values per row with a value: 1 for a key."""
        return self.distinct / self.present if self.present else 0.0


def typed(values: pl.Series) -> tuple[pl.Series, Kind]:
    """Casts text to the narrowest type that holds all its values, and names the kind."""
    present = values.drop_nulls()
    if present.is_empty():
        return values, "empty"
    dtype = values.dtype
    if dtype == pl.String:
        if present.str.contains(_INTEGER).all():
            numbers = values.cast(pl.Int64, strict=False)
            # Codes with leading zeros and numbers beyond 64 bits are tokens.
            padded = present.str.contains(r"^[+-]?0\d").any()
            return (values, "text") if padded or numbers.null_count() > values.null_count() else (numbers, "integer")
        if present.str.contains(_NUMBER).all():
            return values.cast(pl.Float64, strict=False), "float"
        if present.str.contains(_ISO_TIME).all():
            times = _iso_times(values)
            if times.null_count() == values.null_count():
                return times, "time"
        return values, "text"
    if dtype == pl.Boolean:
        return values.cast(pl.Int8), "boolean"
    if dtype.is_integer():
        return values, "integer"
    if dtype.is_float() or dtype.is_decimal():
        return values.cast(pl.Float64).fill_nan(None), "float"
    if dtype in (pl.Datetime, pl.Date):
        return values.cast(pl.Datetime("us")), "time"
    if isinstance(dtype, pl.List | pl.Array):
        return values, "list"
    return values, "other"


def _iso_times(values: pl.Series) -> pl.Series:
    # The zone does not matter for ranges and orders within a sample.
    text = values.str.replace("T", " ").str.replace(r"(Z|[+-]\d{2}:?\d{2})$", "")
    padded = text.str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1} 00:00").str.replace(r" (\d{2}:\d{2})$", " ${1}:00")
    return padded.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False)


def find_missing_words(frame: pl.DataFrame) -> tuple[str, ...]:
    """Words such as `NULL` that stand for a missing value, in columns of numbers or times."""
    found = []
    for values in frame.select(pl.col(pl.String)):
        distinct = values.drop_nulls().unique()
        words = distinct.filter(distinct.is_in(_MISSING_WORDS))
        others = distinct.filter(~distinct.is_in(_MISSING_WORDS))
        if len(words) and len(others) and any(others.str.contains(pattern).all() for pattern in (_NUMBER, _ISO_TIME)):
            found += words.to_list()
    return tuple(sorted(set(found)))


def without_words(frame: pl.DataFrame, words: tuple[str, ...]) -> pl.DataFrame:
    """The frame with null in place of the given texts."""
    texts = pl.col(pl.String)
    return frame.with_columns(pl.when(~texts.is_in(words)).then(texts)) if words else frame


def describe(frame: pl.DataFrame) -> tuple[tuple[Column, ...], pl.DataFrame]:
    """Describes all columns.

    Returns:
        The descriptions, and the frame with the columns that `typed` has cast.
    """
    described, cast = [], []
    for series in frame:
        column, values = _describe_one(series)
        described.append(column)
        cast.append(values)
    return tuple(described), pl.DataFrame(cast)


def _describe_one(raw: pl.Series) -> tuple[Column, pl.Series]:
    values, kind = typed(raw)
    present = raw.drop_nulls()
    rows, missing = len(values), values.null_count()
    if kind in ("other", "list"):
        examples = tuple(str(v.to_list() if isinstance(v, pl.Series) else v) for v in present.head(_EXAMPLES))
        tokens = None
        if kind == "list" and not isinstance(values.dtype.inner, pl.List | pl.Struct):  # type: ignore[attr-defined]
            tokens = values.explode().n_unique()
        else:
            kind = "other"
        return Column(raw.name, kind, rows, missing, len(present), examples, tokens=tokens), values
    distinct = int(values.drop_nulls().n_unique())
    examples = tuple(map(str, present.head(1000).unique(maintain_order=True).head(_EXAMPLES).to_list()))
    column = {"name": raw.name, "kind": kind, "rows": rows, "missing": missing, "distinct": distinct}
    column["examples"] = examples
    if kind in ("integer", "float", "boolean") and distinct:
        low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
        column |= {"minimum": low, "maximum": high, "time_unit": _time_unit(low, high)}
        if kind == "float":
            column["is_lexical_float"] = bool((values.drop_nulls() % 1 == 0).all())
    if kind == "text":
        column["words"] = float(present.head(10_000).str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
        column["separator"], column["tokens"] = _separator(present)
    return Column(**column), values


def _time_unit(low: float, high: float) -> str | None:
    return next((u for u, scale in _UNITS.items() if low / scale >= _FIRST_TIME and high / scale <= _LAST_TIME), None)


def _separator(present: pl.Series) -> tuple[str | None, int | None]:
    sample = present.head(50_000)
    for separator, most in _SEPARATORS:
        # An empty list has no token, and a list of one no separator.
        if sample.str.contains(separator, literal=True).mean() < 0.02:  # type: ignore[operator]
            continue
        tokens = sample.str.split(separator).explode().str.strip_chars()
        if tokens.n_unique() <= most * len(tokens) and tokens.str.len_chars().max() <= 60:  # type: ignore[operator]
            return separator, int(tokens.n_unique())
    return None, None


def as_date(value: float, unit: str) -> str:
    """A Unix time as a date in UTC."""
    return datetime.fromtimestamp(value / _UNITS[unit], UTC).strftime("%Y-%m-%d")


def words_of(name: str) -> tuple[str, ...]:
    """The words of a column's name in lower case: `userId`, `user_id` and `user_id:token` are `user`, `id`."""
    name = name.split(":")[0]
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+", name)
    return tuple(part.lower() for part in parts)
