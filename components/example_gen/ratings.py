"""Parses `u.data`: bytes of whole lines in, an Arrow batch and the lines that are wrong out.

A block whose bytes are all digits, dots, tabs and line ends is read by Arrow's CSV reader and checked column by
column. Any doubt sends the whole block through `parse_exactly`, which looks at every line by itself and is the
authority on what a good row is. The narrow choice of bytes is what makes the two agree: signs, exponents, blanks,
quotes, `nan` or a lone carriage return, on which parsers differ, never reach Arrow.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from components.example_gen.bad_rows import BadRow, bad_row
from components.example_gen.layout import RATINGS_FILE

RATINGS_SCHEMA = pa.schema(
    [("user", pa.string()), ("item", pa.string()), ("rating", pa.float64()), ("timestamp", pa.int64()),
     ("line", pa.int64())]
)  # fmt: skip

_COLUMNS = ("user", "item", "rating", "timestamp")
_PLAIN_BYTES = b"0123456789.\t\n"
_NUMBER = re.compile(rb"[0-9]+\.?[0-9]*|\.[0-9]+")
_INTEGER = re.compile(rb"[0-9]+")
_LARGEST_INT64 = 2**63 - 1
_SHOWN_CHARACTERS = 40


def parse_ratings(
    data: bytes, first_line: int, rating_range: tuple[float, float]
) -> tuple[pa.RecordBatch, list[BadRow]]:
    """Parses a block of `u.data`.

    Args:
        data: Whole lines; the last one may lack its line end. Lines end in LF or CR LF.
        first_line: Number of the first line, from 1.
        rating_range: Smallest and largest rating allowed.

    Returns:
        The good rows under `RATINGS_SCHEMA`, and the others; both in the order of the lines.
    """
    batch = _parse_plain(data, first_line, rating_range)
    return (batch, []) if batch is not None else parse_exactly(data, first_line, rating_range)


def parse_exactly(
    data: bytes, first_line: int, rating_range: tuple[float, float]
) -> tuple[pa.RecordBatch, list[BadRow]]:
    """Does what `parse_ratings` does, line by line."""
    good: list[tuple[str, str, float, int, int]] = []
    bad = []
    for number, line in enumerate(split_lines(data), start=first_line):
        row = _parse_line(line, rating_range)
        if isinstance(row, str):
            bad.append(bad_row(RATINGS_FILE, number, row, line))
        else:
            good.append((*row, number))
    columns = list(zip(*good, strict=True)) or [()] * len(RATINGS_SCHEMA)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, RATINGS_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=RATINGS_SCHEMA), bad


def split_lines(data: bytes) -> list[bytes]:
    """Lines without their ends (LF, or CR LF)."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _parse_line(line: bytes, rating_range: tuple[float, float]) -> tuple[str, str, float, int] | str:
    """Returns a row, or in words what is wrong with it."""
    fields = line.split(b"\t")
    if len(fields) != len(_COLUMNS):
        return f"{len(fields)} column(s); expected {len(_COLUMNS)}, separated by tabs: {', '.join(_COLUMNS)}"
    try:
        user, item = fields[0].decode(), fields[1].decode()
    except UnicodeDecodeError as error:
        return f"user or item is not UTF-8 ({error.reason})"
    for name, token in (("user", user), ("item", item)):
        if not token.strip():
            return f"{name} is empty; expected an identifier"
    low, high = rating_range
    if not _NUMBER.fullmatch(fields[2]):
        return f"rating {_shown(fields[2])} is not a plain decimal number; expected {low:g} to {high:g}"
    if not low <= (rating := float(fields[2])) <= high:
        return f"rating {_shown(fields[2])} is out of range; expected {low:g} to {high:g}"
    if not _INTEGER.fullmatch(fields[3]):
        return f"timestamp {_shown(fields[3])} is not a whole number; expected seconds since 1970"
    # Leading zeros go first: Python refuses to convert absurdly long digit strings.
    digits = fields[3].lstrip(b"0") or b"0"
    if len(digits) > len(str(_LARGEST_INT64)) or int(digits) > _LARGEST_INT64:
        return f"timestamp {_shown(fields[3])} does not fit 64 bits; expected seconds since 1970"
    return user, item, rating, int(digits)


def _parse_plain(data: bytes, first_line: int, rating_range: tuple[float, float]) -> pa.RecordBatch | None:
    """Returns the batch, or None when `parse_exactly` must have a look."""
    data = data.replace(b"\r\n", b"\n")
    if not data or data.translate(None, _PLAIN_BYTES):
        return None
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(use_threads=False, column_names=_COLUMNS, block_size=len(data) + 1),
            pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(
                column_types={name: RATINGS_SCHEMA.field(name).type for name in _COLUMNS},
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    num_lines = data.count(b"\n") + (not data.endswith(b"\n"))
    low, high = rating_range
    rating = table["rating"]
    flawless = (
        not pc.any(pc.or_(pc.equal(table["user"], ""), pc.equal(table["item"], ""))).as_py()
        and pc.all(pc.and_(pc.greater_equal(rating, low), pc.less_equal(rating, high))).as_py()
    )
    if not flawless:
        return None
    lines = pa.array(np.arange(first_line, first_line + num_lines))
    columns = [table[name].combine_chunks() for name in _COLUMNS]
    return pa.RecordBatch.from_arrays([*columns, lines], schema=RATINGS_SCHEMA)


def _shown(field: bytes) -> str:
    text = field.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
