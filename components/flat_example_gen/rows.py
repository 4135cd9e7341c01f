"""From rows of a table to columns of examples; what does not fit is set aside with its reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.bad_rows import BadRow, bad_row
from components.example_gen.examples import as_lists
from components.flat_example_gen.config import ColumnSplit, FlatSource, TimeSplit
from components.flat_example_gen.splits import names_of
from trainer_module.data.features import Column
from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import DataError

_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"


@dataclass(frozen=True)
class RawRows:
    """A block of rows as they stand in a file.

    Attributes:
        file: Path of the file.
        columns: `[rows]` each; of text, `large_binary`; null is missing.
        numbers: Of the rows in their file: for text the line, from 1; `[rows]` int64.
        raw: From an index into the block to the row as it stands in the file, for messages.
    """

    file: str
    columns: dict[str, pa.Array]
    numbers: np.ndarray
    raw: Callable[[int], bytes]


@dataclass(frozen=True)
class Rows:
    """A block of good rows.

    Attributes:
        examples: One `large_list` column for each column of the feature spec.
        numbers: `[rows]` int64; see `RawRows`.
        split_values: See `splits.assign`.
    """

    examples: pa.RecordBatch
    numbers: np.ndarray
    split_values: pa.Array | None


class _Problems:
    """The first problem of each row."""

    def __init__(self, num_rows: int):
        self.of_row: dict[int, str] = {}
        self._num_rows = num_rows

    def add(self, wrong: np.ndarray, describe: Callable[[int], str]) -> None:
        """Notes a problem of the rows where `wrong`, bool `[rows]`, holds."""
        for row in np.flatnonzero(wrong).tolist():
            self.of_row.setdefault(row, describe(row))

    def good(self) -> np.ndarray:
        """Indices of the rows without one."""
        return np.setdiff1d(np.arange(self._num_rows), np.fromiter(self.of_row, np.int64, len(self.of_row)))


def wanted_columns(dataset: DatasetSpec, source: FlatSource) -> list[str]:
    """Names of the columns that are read."""
    names = [column.name for column in dataset.features.columns]
    return [*names, source.split_column] if source.split_column not in (None, *names) else names


def convert(raw: RawRows, dataset: DatasetSpec, source: FlatSource) -> tuple[Rows, list[BadRow]]:
    """Gives columns the types of the feature spec.

    Args:
        raw: Holds all `wanted_columns`.
        dataset: Types, the label's range.
        source: Separators, and the column of the split.

    Returns:
        The good rows, and why the others are not.
    """
    problems = _Problems(len(raw.numbers))
    columns = {column.name: _column(column, raw, source, problems) for column in dataset.features.columns}
    _check_label(dataset, columns[dataset.features.label.name], problems)
    split_values = _split_values(raw, source, problems)
    good = problems.good()
    schema = dataset.features.arrow_schema()
    lists = as_lists({name: values.take(pa.array(good)) for name, values in columns.items()}, schema)
    examples = pa.RecordBatch.from_arrays([lists[name] for name in schema.names], schema=schema)
    if split_values is not None:
        split_values = split_values.take(pa.array(good))
    rows = Rows(examples, raw.numbers[good], split_values)
    bad = [
        bad_row(raw.file, int(raw.numbers[row]), problem, raw.raw(row))
        for row, problem in sorted(problems.of_row.items())
    ]
    return rows, bad


def _column(column: Column, raw: RawRows, source: FlatSource, problems: _Problems) -> pa.Array:
    """One value (or list) per row; null is missing."""
    values = raw.columns[column.name]
    if column.multivalent:
        return _token_lists(values, source.separators.get(column.name))
    if _is_list(values):
        raise DataError(
            f"{raw.file}: column {column.name!r} holds lists, {values.type}, and one value per row is expected; if the "
            "lists are tokens, say multivalent: true of the column in data.categorical"
        )
    converted = _text(values) if column.dtype == "string" else _numbers(column.name, values, problems)
    if column.required:
        problems.add(
            converted.is_null().to_numpy(zero_copy_only=False),
            lambda row: f"column {column.name!r}: expected a value, found none",
        )
    return converted


def _is_list(values: pa.Array) -> bool:
    return pa.types.is_list(values.type) or pa.types.is_large_list(values.type)


def _text(values: pa.Array) -> pa.Array:
    """Tokens as `large_binary`; numbers as they are written, NaN (pandas' missing value) as null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    if not (pa.types.is_large_binary(values.type) or pa.types.is_binary(values.type)):
        values = values.cast(pa.large_string())
    return values.cast(pa.large_binary())


def _token_lists(values: pa.Array, separator: str | None) -> pa.Array:
    """`large_list` of `large_binary`, without empty tokens; a missing list is empty."""
    if separator is not None:
        values = pc.split_pattern(_text(values), separator.encode())
    if not _is_list(values):
        # One token per row is a list of one.
        values = pa.LargeListArray.from_arrays(pa.array(np.arange(len(values) + 1)), values)
    tokens, parents = _text(values.flatten()), pc.list_parent_indices(values).to_numpy()
    kept = pc.fill_null(pc.not_equal(pc.binary_length(tokens), 0), False).to_numpy(zero_copy_only=False)
    counts = np.bincount(parents[kept], minlength=len(values))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, tokens.filter(pa.array(kept)))


def _numbers(name: str, values: pa.Array, problems: _Problems) -> pa.Array:
    """float64; what is no finite number (of the 32 bits that models compute with) is a problem."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us")).cast(pa.int64())
    if any(is_text(values.type) for is_text in _TEXT):
        values = values.cast(pa.large_binary())
        matches = pc.fill_null(pc.match_substring_regex(values, _NUMBER), True)
        texts = pc.if_else(matches, values, None).cast(pa.large_string())
        numbers = pc.ascii_trim_whitespace(texts).cast(pa.float64())
        wrong = ~matches.to_numpy(zero_copy_only=False)
    else:
        numbers = values.cast(pa.float64())
        numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
        wrong = np.zeros(len(values), bool)
    found = numbers.to_numpy(zero_copy_only=False)
    wrong |= np.abs(np.nan_to_num(found, nan=0.0)) > np.finfo(np.float32).max
    problems.add(wrong, lambda row: f"column {name!r}: expected a number, found {_shown(values[row])}")
    return numbers


_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def _check_label(dataset: DatasetSpec, label: pa.Array, problems: _Problems) -> None:
    name, (low, high) = dataset.features.label.name, dataset.label_range
    values = label.to_numpy(zero_copy_only=False)
    if dataset.task == "click":
        wrong, expected = ~np.isin(values, (0.0, 1.0)), "0 or 1"
    else:
        wrong, expected = ~((values >= low) & (values <= high)), f"a number from {low:g} to {high:g}"
    problems.add(wrong, lambda row: f"column {name!r}: expected {expected}, found {values[row]:g}")


def _split_values(raw: RawRows, source: FlatSource, problems: _Problems) -> pa.Array | None:
    if source.split_column is None:
        return None
    name, values = source.split_column, raw.columns[source.split_column]
    numeric = isinstance(source.split, TimeSplit) and source.split.type == "number"
    converted = _numbers(name, values, problems) if numeric else _text(values)
    problems.add(
        converted.is_null().to_numpy(zero_copy_only=False),
        lambda row: f"column {name!r}: expected a value, which data.split looks at, found none",
    )
    if isinstance(source.split, ColumnSplit):
        known = names_of(source.split)
        problems.add(
            ~pc.is_in(converted, pa.array(known, pa.large_binary())).to_numpy(zero_copy_only=False),
            lambda row: f"column {name!r}: expected {_one_of(known)}, found {_shown(converted[row])}",
        )
    return converted


def _one_of(names: Sequence[bytes]) -> str:
    return " or ".join(repr(name.decode()) for name in names)


def _shown(value: pa.Scalar) -> str:
    plain = value.as_py()
    return repr(plain.decode("utf-8", "backslashreplace") if isinstance(plain, bytes) else plain)
