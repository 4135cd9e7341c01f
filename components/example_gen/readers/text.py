"""Parses blocks of delimited text (CSV, TSV and their relatives) into columns."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from components.example_gen.output.bad_rows import BadRow, bad_row
from components.example_gen.readers.plain_arrays import null_where
from components.example_gen.readers.raw_rows import RawRows
from components.example_gen.readers.records import Dialect, Records, TextBlock, find_records, one_byte_delimiter
from trainer_module.data.cells import trim, trimmed
from trainer_module.data.tables import TableFiles
from trainer_module.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def dialect_of(file: str, table: TableFiles) -> Dialect:
    """How a text file's fields are written."""
    return Dialect(table.delimiter_of(file).encode(), table.quoted, table.max_row_mb)


@dataclass(frozen=True)
class Header:
    """The header of a text file.

    Attributes:
        fields: Names of the columns as they are written.
        size: Bytes from the start of the file to the first row, empty lines before the header included.
        num_lines: Lines of these bytes.
    """

    fields: tuple[bytes, ...]
    size: int
    num_lines: int


def find_header(data: bytes, dialect: Dialect) -> Header | None:
    """The first record that is no empty line; None if all are."""
    translated, delimiter = one_byte_delimiter(data, dialect.delimiter)
    one_byte = Dialect(delimiter, dialect.quoted)
    records = find_records(translated, one_byte)
    filled = np.flatnonzero(records.starts != records.ends)
    if not len(filled):
        return None
    record = int(filled[0])
    start, end = int(records.starts[record]), int(records.ends[record])
    num_fields = int(records.num_fields()[record])
    (row,) = _parse([translated[start:end]], num_fields, range(num_fields), one_byte, dialect.delimiter).to_pylist()
    is_last = record + 1 == len(records)
    first_row = len(translated) if is_last else int(records.starts[record + 1])
    size = len(translated[:first_row].replace(delimiter, dialect.delimiter)) if delimiter else first_row
    return Header(tuple(row.values()), size, records.num_lines if is_last else int(records.lines[record + 1]))


def parse(
    block: TextBlock,
    names: Sequence[str],
    wanted: Sequence[str],
    table: TableFiles,
    file: str,
    file_number: int,
) -> tuple[RawRows, list[BadRow]]:
    """Parses a block of records.

    A record is bad if it has more or fewer fields than there are columns, if text follows a closing quote, if its
    bytes are not text in the file's encoding, or if it holds a NUL byte. An empty line is skipped, because it holds no
    field and ends many files; in a file of one column it is a row with a missing value.

    Args:
        block: In UTF-8, without a header.
        names: Of all columns.
        wanted: Names of the columns to keep.
        table: Tells the dialect and the texts that stand for a missing value.
        file: Path of the file.
        file_number: Its number among the files of the table.

    Returns:
        The good rows, and the bad ones with their lines.
    """
    dialect = dialect_of(file, table)
    data, delimiter = one_byte_delimiter(block.data, dialect.delimiter)
    one_byte = Dialect(delimiter, dialect.quoted)
    records = find_records(data, one_byte)

    def raw(record: int) -> bytes:
        text = data[records.starts[record] : records.ends[record]]
        return text if delimiter == dialect.delimiter else text.replace(delimiter, dialect.delimiter)

    problems = _problems(data, records, names, table)
    kept = np.ones(len(records), bool)
    kept[list(problems)] = False
    if len(names) > 1:
        kept &= records.starts != records.ends
    rows = np.flatnonzero(kept)
    parsed = _parse(
        _slices(data, records, kept), len(names), [names.index(name) for name in wanted], one_byte, dialect.delimiter
    )
    if parsed.num_rows != len(rows):
        raise DataError(
            f"{file}, lines {block.first_line:,} to {block.first_line + block.num_lines - 1:,}: found {len(rows):,} "
            f"rows, and {parsed.num_rows:,} when parsing them. Set quoted: false if double quotes are plain text"
        )
    columns = {name: _with_nulls(parsed.column(i), table) for i, name in enumerate(wanted)}
    bad = [
        bad_row(file, block.first_line + int(records.lines[record]), problem, raw(record))
        for record, problem in sorted(problems.items())
    ]
    numbers = block.first_line + records.lines[rows]
    return RawRows(file, file_number, columns, numbers, lambda row: raw(int(rows[row]))), bad


def _problems(data: bytes, records: Records, names: Sequence[str], table: TableFiles) -> dict[int, str]:
    """The first problem of each bad record, by index."""
    problems = _not_text(data, records, names, table)
    for record in records.malformed.tolist():
        problems.setdefault(
            record,
            'text follows the double quote that closes a field; expected "" for a quote inside a quoted field. If '
            "double quotes are plain text, set quoted: false",
        )
    num_fields = records.num_fields()
    is_empty = records.starts == records.ends
    for record in np.flatnonzero((num_fields != len(names)) & ~is_empty).tolist():
        problems.setdefault(record, f"expected {len(names)} fields, found {num_fields[record]}")
    return problems


def _not_text(data: bytes, records: Records, names: Sequence[str], table: TableFiles) -> dict[int, str]:
    """Records with bytes that are not UTF-8, and with NUL bytes."""
    problems: dict[int, str] = {}
    if not _is_utf8(data):
        array = np.frombuffer(data, np.uint8)
        for record in _records_with(np.flatnonzero(array >= 0x80), records):
            start = int(records.starts[record])
            try:
                data[start : records.ends[record]].decode()
            except UnicodeDecodeError as error:
                column = _column_at(start + error.start, start, records, names)
                problems[record] = (
                    f"{column}: bytes that are not {table.encoding}; expected text in that encoding. Name the file's "
                    "encoding for the table, such as encoding: latin-1 or cp1252"
                )
    if b"\0" in data:
        nul = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
        for record in _records_with(nul, records):
            start = int(records.starts[record])
            column = _column_at(int(nul[np.searchsorted(nul, start)]), start, records, names)
            problems.setdefault(record, f"{column}: a NUL byte; expected text")
    return problems


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _records_with(positions: np.ndarray, records: Records) -> list[int]:
    return np.unique(np.searchsorted(records.starts, positions, side="right") - 1).tolist()


def _column_at(position: int, start: int, records: Records, names: Sequence[str]) -> str:
    """Names the field of a record in which a position lies."""
    first, last = np.searchsorted(records.delimiters, [start, position])
    field = int(last - first)
    return f"column {names[field]!r}" if field < len(names) else f"field {field + 1}"


def _slices(data: bytes, records: Records, kept: np.ndarray) -> list[bytes]:
    """Stretches of consecutive records that are kept, with their line ends."""
    if kept.all():
        return [data]
    starts = np.append(records.starts, len(data))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]])))
    return [data[starts[first] : starts[behind]] for first, behind in edges.reshape(-1, 2)]


def _parse(
    data: Sequence[bytes], num_fields: int, wanted: Sequence[int], dialect: Dialect, delimiter: bytes | None
) -> pa.RecordBatch:
    """Parses records that all have `num_fields` fields, and gives delimiters inside quotes their own bytes back."""
    text = b"".join(data)
    columns = [str(field) for field in wanted]
    if not text:
        return pa.RecordBatch.from_arrays([pa.array([], pa.large_binary()) for _ in columns], columns)
    # Arrow takes a byte order mark away, also from a field that starts with that character; a row before it helps.
    extra_rows = 0
    if text.startswith(_BYTE_ORDER_MARK):
        text, extra_rows = (dialect.delimiter or b"") * (num_fields - 1) + b"\n" + text, 1
    table = pacsv.read_csv(
        io.BytesIO(text),
        # One thread and one block, so that a column is one array.
        pacsv.ReadOptions(
            column_names=[str(field) for field in range(num_fields)], use_threads=False, block_size=len(text) + 1
        ),
        pacsv.ParseOptions(
            delimiter=(dialect.delimiter or b",").decode(),
            quote_char='"' if dialect.quoted else False,
            newlines_in_values=dialect.quoted,
            ignore_empty_lines=False,
        ),
        pacsv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.large_binary()), include_columns=columns, null_values=[]
        ),
    )
    arrays = [table[name].combine_chunks().slice(extra_rows) for name in columns]
    if dialect.delimiter != delimiter:
        arrays = [pc.replace_substring(values, dialect.delimiter, delimiter) for values in arrays]
    return pa.RecordBatch.from_arrays(arrays, columns)


def _with_nulls(values: pa.Array, table: TableFiles) -> pa.Array:
    """Makes texts that stand for a missing value null."""
    missing = pa.array([trim(text) for text in table.missing_values], pa.large_string())
    text = trimmed(values.cast(pa.large_string()))
    return null_where(pc.is_in(text, missing), values)
