"""Parses blocks of JSON lines: one JSON object a line, whose keys are the columns."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from components.example_gen.output.bad_rows import BadRow, bad_row
from components.example_gen.readers.problems import shown
from components.example_gen.readers.raw_rows import RawRows
from components.example_gen.readers.records import Dialect, Records, TextBlock, find_records
from trainer_module.errors import DataError

DIALECT = Dialect(delimiter=None, quoted=False)
# Every integer up to this is exact as a float.
_LARGEST_EXACT = 2**53
_NAMES = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


def column_names(block: TextBlock, file: str) -> list[str]:
    """The keys of a block's objects, in the order in which they appear.

    Raises:
        DataError: The block holds no JSON object on a line of its own.
    """
    records = find_records(block.data, DIALECT)
    names: dict[str, None] = {}
    first_problem = ""
    for record in _filled(block.data, records):
        row = _parse(block.data[records.starts[record] : records.ends[record]])
        if isinstance(row, dict):
            names |= dict.fromkeys(row)
        elif not first_problem:
            first_problem = f"line {block.first_line + int(records.lines[record])}: {row}"
    if not names:
        found = f" ({first_problem})" if first_problem else ""
        raise DataError(
            f"{file}: no line holds a JSON object{found}; expected JSON lines. Write one object on each line, and "
            "no list around them"
        )
    return list(names)


def parse(block: TextBlock, wanted: Sequence[str], file: str, file_number: int) -> tuple[RawRows, list[BadRow]]:
    """Parses a block of lines; empty ones are skipped.

    A column becomes an Arrow array of its values' type. Integers are exact, also beyond 64 bits. A column whose values
    differ in type becomes text. A key that a line lacks is null.

    Args:
        block: In UTF-8.
        wanted: Keys to keep.
        file: Path of the file.
        file_number: Its number among the files of the table.

    Returns:
        The good rows, and the bad ones with their lines.

    Raises:
        DataError: A wanted key holds an object, or a list of lists or objects.
    """
    records = find_records(block.data, DIALECT)
    values: dict[str, list[Any]] = {name: [] for name in wanted}
    good, bad = [], []

    def raw(record: int) -> bytes:
        return block.data[records.starts[record] : records.ends[record]]

    for record in _filled(block.data, records):
        line = raw(record)
        row = _parse(line)
        if isinstance(row, str):
            bad.append(bad_row(file, block.first_line + int(records.lines[record]), row, line))
            continue
        good.append(record)
        for name, column in values.items():
            value = row.get(name)
            if type(value) is dict or (type(value) is list and any(type(each) in (dict, list) for each in value)):
                raise DataError(
                    f"{file}, line {block.first_line + int(records.lines[record])}: column {name!r} holds an object or "
                    "nested lists; expected a text, a number, a boolean or a list of them. Write its parts as keys of "
                    "their own"
                )
            column.append(value)
    columns = {name: _array(column) for name, column in values.items()}
    numbers = block.first_line + records.lines[np.array(good, np.int64)]
    return RawRows(file, file_number, columns, numbers, lambda row: raw(good[row])), bad


def _filled(data: bytes, records: Records) -> list[int]:
    """Indices of the records that hold more than spaces."""
    bounds = zip(records.starts.tolist(), records.ends.tolist(), strict=True)
    return [record for record, (start, end) in enumerate(bounds) if data[start:end].strip()]


def _parse(line: bytes) -> dict[str, Any] | str:
    """The object of a line, or what is wrong with it."""
    try:
        text = line.decode()
        row = json.loads(text)
        # Every key brings a colon. Where there are no more colons than keys, no key stands twice.
        if isinstance(row, dict) and line.count(b":") > len(row):
            json.loads(text, object_pairs_hook=_distinct)
        if b"\\u" in line:
            # Half of a surrogate pair is valid JSON, but no text.
            json.dumps(row, ensure_ascii=False).encode()
    except _TwiceError as error:
        return f"the key {shown(error.key)} stands twice; expected each key of an object once"
    except UnicodeDecodeError:
        return "bytes that are not UTF-8; expected a JSON object in that encoding"
    except UnicodeEncodeError:
        return "half of a surrogate pair (\\ud800 to \\udfff); expected text in Unicode"
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at character {error.pos + 1}; expected one JSON object per line"
    except (ValueError, RecursionError) as error:
        return f"not JSON that can be read ({error}); expected one JSON object per line"
    if not isinstance(row, dict):
        return f"found {_NAMES[type(row)]}; expected a JSON object per line, with the columns as its keys"
    return row


class _TwiceError(Exception):
    """An object has a key twice."""

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    """Refuses an object in which a key stands twice."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _TwiceError(key)
        seen.add(key)


def _array(values: list[Any]) -> pa.Array:
    """A column whose values are lists, if any value is one."""
    if not any(type(value) is list for value in values):
        return _scalars(values)
    lists = [[] if value is None else value if type(value) is list else [value] for value in values]
    offsets = np.cumsum([0, *map(len, lists)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), _scalars([each for of in lists for each in of]))


def _scalars(values: list[Any]) -> pa.Array:
    types = {type(value) for value in values} - {type(None)}
    integers = [value for value in values if type(value) is int]
    if len(types) > 1 and not (types == {int, float} and all(abs(value) <= _LARGEST_EXACT for value in integers)):
        return pa.array([_text(value) for value in values], pa.large_string())
    if types == {int}:
        low, high = min(integers), max(integers)
        if low < -(2**63) or high >= 2**64 or (low < 0 and high >= 2**63):
            return pa.array([_text(value) for value in values], pa.large_string())
        return pa.array(values, pa.uint64() if high >= 2**63 else pa.int64())
    if types == {int, float}:
        return pa.array(values, pa.float64())
    return pa.array(values, pa.large_string() if types == {str} else None)


def _text(value: Any) -> str | None:
    """A value of a column of several types, written as it would be if all were of its type."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and abs(value) < _LARGEST_EXACT and value.is_integer():
        return str(int(value))
    return None if value != value else repr(value)
