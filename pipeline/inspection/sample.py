"""Reads a sample of a file with Polars, without knowing its format beforehand.

Large files are read in part: uncompressed text in blocks that are spread evenly over the file, compressed text from its
beginning, and Parquet in slices of rows that are spread evenly over the file.
"""

import bz2
import codecs
import csv
import glob
import gzip
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa

from trainer_module.data.paths import is_remote, literal, normal_pattern
from trainer_module.data.tables import Format, TableFiles
from trainer_module.errors import DataError

MAX_ROWS = 1_200_000
MAX_BYTES = 64 << 20
_BLOCKS = 16
_HEAD_LINES = 200
# Preferred in this order where several fit equally well.
_DELIMITERS = ("::", ",", "\t", ";", "|", "\x01", " ")
# A character that no text file uses; stands for delimiters of several characters.
_SEPARATOR = "\x1f"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What decompressors raise for damaged input.
_UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile, pa.ArrowException, pl.exceptions.PolarsError)


@dataclass(frozen=True)
class TextFormat:
    """How a text file is written.

    Attributes:
        delimiter: Between fields.
        has_header: Whether the first line names the columns.
        encoding: As Python calls it.
        quoted: Whether fields may stand in double quotes.
    """

    delimiter: str
    has_header: bool
    encoding: str
    quoted: bool


@dataclass(frozen=True)
class Sample:
    """Rows of one file.

    Attributes:
        file: As given.
        format: Of the file.
        text: How a CSV file is written; None for other formats.
        frame: The rows. Columns of CSV files are strings without surrounding spaces; null stands for a missing value.
        is_whole: Whether `frame` holds all rows of the file.
        rows: Number of rows of the file; estimated from the bytes read if not all were; None if that is impossible.
    """

    file: str
    format: Format
    text: TextFormat | None
    frame: pl.DataFrame
    is_whole: bool
    rows: int | None


def expand(patterns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The files of each pattern, in the order given; see `glob.glob`.

    Raises:
        DataError: A pattern matches nothing, is of a scheme that is not supported, or names no regular file.
    """
    expanded = []
    for pattern in patterns:
        if os.path.isdir(pattern):
            raise DataError(f"{pattern} is a directory; name its files, as in {pattern.rstrip('/')}/*.csv")
        files = _files(pattern)
        if not files:
            raise DataError(f"{pattern}: no such file, and no file matches it as a pattern")
        expanded.append((pattern, files))
    return expanded


def _files(pattern: str) -> list[str]:
    try:
        path = normal_pattern(pattern)
    except ValueError as error:
        raise DataError(str(error)) from None
    if is_remote(path):
        raise DataError(f"{pattern}: inspect reads files of this machine; copy some of the files here, and name those")
    if not os.path.exists(name := literal(path)):
        return sorted(file for file in glob.glob(path) if os.path.isfile(file))
    if not os.path.isfile(name):
        raise DataError(f"{pattern}: a pipe, device or socket; write the data to a file, and name that")
    return [name]


def read_sample(file: str, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Sample:
    """Reads a sample of a file.

    Args:
        file: Path of a CSV, JSON lines or Parquet file. Text may be compressed by gzip, bzip2, zstd or zip.
        max_rows: Largest number of rows.
        max_bytes: Largest number of bytes of text, after decompression.

    Raises:
        DataError: The file cannot be read, has no rows, or is not of the format that its name says.
    """
    kind = TableFiles(files=(file,)).format_of(file)
    try:
        if kind == "parquet":
            sample = _read_parquet(file, max_rows)
        else:
            blocks, is_whole, size = _read_blocks(Path(file), max_bytes)
            read = _read_lines if kind == "jsonl" else _read_text
            sample = read(file, blocks, is_whole, size, max_rows)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: cannot be read as {_NAMES[kind]}: {reason}") from error
    if not sample.frame.height:
        raise DataError(f"{file} has no rows")
    return sample


_NAMES = {"csv": "text with delimiters", "jsonl": "JSON lines", "parquet": "Parquet"}


def find_format(head: str, encoding: str, file: str = "") -> TextFormat:
    """Guesses how a text file is written from its first lines.

    Args:
        head: Whole lines.
        encoding: That `head` was decoded from.
        file: A name that ends with `.tsv` settles the delimiter.
    """
    lines = [line for line in head.splitlines() if line.strip()][:_HEAD_LINES]
    is_tsv = TableFiles(files=(file or "table.csv",)).delimiter_of(file or "table.csv") == "\t"
    delimiter = "\t" if is_tsv else _find_delimiter(lines)
    quoted = len(delimiter) == 1 and _has_quotes(lines, delimiter)
    rows = _split(lines, delimiter, quoted)
    return TextFormat(delimiter, _has_header(rows), encoding, quoted)


def _find_delimiter(lines: Sequence[str]) -> str:
    scores = []
    for preference, delimiter in enumerate(_DELIMITERS):
        counts = [len(row) for row in _split(lines, delimiter, quoted=len(delimiter) == 1)]
        if not counts or counts[0] < 2:
            continue
        share = counts.count(counts[0]) / len(counts)
        # Words of a text are separated by spaces as well.
        if share < (1.0 if delimiter == " " else 0.9):
            continue
        scores.append((delimiter != " ", round(share, 2), counts[0], -preference, delimiter))
    return max(scores)[-1] if scores else ","


def _has_quotes(lines: Sequence[str], delimiter: str) -> bool:
    """Whether quotes enclose fields; quotes that never do are part of the text."""
    if not any('"' in line for line in lines):
        return True
    plain = _split(lines, delimiter, quoted=False)
    if len({len(row) for row in plain}) > 1:
        return True
    fields = [field for row in plain for field in row if field.startswith('"')]
    return all(len(field) > 1 and field.endswith('"') for field in fields)


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    if not rows:
        return False
    first, rest = [name.strip() for name in rows[0]], rows[1:]
    if any(not name or _is_number(name) for name in first):
        return False
    for index, name in enumerate(first):
        values = [row[index].strip() for row in rest if len(row) == len(first)]
        if name in values or _is_shaped_like(name, values):
            return False
        if values and all(_is_number(value) for value in values if value):
            return True
    return len(set(first)) == len(first) and all(re.fullmatch(r"[^\W\d][\w .:/()-]{0,60}", name) for name in first)


def _is_shaped_like(name: str, values: Sequence[str]) -> bool:
    """Whether a name with digits differs from most values in the digits alone, as `u1` does from `u27`."""
    shapes = [re.sub(r"\d+", "0", value) for value in values]
    return any(map(str.isdigit, name)) and 2 * shapes.count(re.sub(r"\d+", "0", name)) > len(shapes)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in ("nan", "inf", "infinity")


def _split(lines: Iterable[str], delimiter: str, quoted: bool) -> list[list[str]]:
    if not quoted or len(delimiter) > 1:
        return [line.split(delimiter) for line in lines]
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return [line.split(delimiter) for line in lines]


def _read_text(file: str, blocks: list[bytes], is_whole: bool, size: int, max_rows: int) -> Sample:
    encoding = _find_encoding(blocks)
    texts = [text for text in (_decode(block, encoding) for block in blocks) if text.strip()]
    if not texts:
        raise ValueError("the file is empty")
    found = find_format("\n".join(texts[0].splitlines()[: _HEAD_LINES + 1]), encoding, file)
    names = _split([texts[0].splitlines()[0]], found.delimiter, found.quoted)[0]
    names = [name.strip() for name in names] if found.has_header else [f"column_{n + 1}" for n in range(len(names))]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"the header names the column {twice[0]!r} twice; give every column its own name")
    frames = []
    rows = 0
    for number, text in enumerate(texts):
        frame = _parse(_without_first_line(text) if found.has_header and number == 0 else text, found, names)
        frames.append(frame)
        rows += frame.height
    frame = pl.concat(frames)
    read = sum(map(len, blocks))
    return Sample(
        file,
        "csv",
        found,
        _spread(frame, max_rows),
        is_whole and frame.height <= max_rows,
        frame.height if is_whole else round(rows * size / read) if size else None,
    )


def _without_first_line(text: str) -> str:
    return text.partition("\n")[2]


def _parse(text: str, found: TextFormat, names: Sequence[str]) -> pl.DataFrame:
    if not text.strip():
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    delimiter = found.delimiter
    if len(delimiter) > 1:
        text, delimiter = text.replace(_SEPARATOR, " ").replace(delimiter, _SEPARATOR), _SEPARATOR
    frame = pl.read_csv(
        io.BytesIO(text.encode("utf-8", "replace")),
        separator=delimiter,
        has_header=False,
        new_columns=list(names),
        schema_overrides=[pl.String] * len(names),
        infer_schema=False,
        quote_char='"' if found.quoted else None,
        truncate_ragged_lines=True,
        ignore_errors=True,
        raise_if_empty=False,
    )
    absent = [pl.lit(None, pl.String).alias(name) for name in names if name not in frame.columns]
    trimmed = frame.with_columns(pl.all().str.strip_chars(), *absent).select(names)
    return trimmed.with_columns(pl.when(pl.all() != "").then(pl.all()))


def _read_lines(file: str, blocks: list[bytes], is_whole: bool, size: int, max_rows: int) -> Sample:
    frames = [pl.read_ndjson(io.BytesIO(b), infer_schema_length=None) for b in blocks if b.strip()]
    if not frames:
        raise ValueError("the file is empty")
    frame = pl.concat(frames, how="diagonal_relaxed")
    rows = frame.height if is_whole else round(frame.height * size / sum(map(len, blocks))) if size else None
    is_whole = is_whole and frame.height <= max_rows
    return Sample(file, "jsonl", None, _empty_as_null(_spread(frame, max_rows)), is_whole, rows)


def _read_parquet(file: str, max_rows: int) -> Sample:
    scan = pl.scan_parquet(file, glob=False)
    rows = int(scan.select(pl.len()).collect().item())
    if rows <= max_rows:
        frame = scan.collect()
    else:
        length = max_rows // _BLOCKS
        starts = [round(number * (rows - length) / (_BLOCKS - 1)) for number in range(_BLOCKS)]
        frame = pl.concat([scan.slice(start, length).collect() for start in starts])
    return Sample(file, "parquet", None, _empty_as_null(frame), rows <= max_rows, rows)


def _empty_as_null(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.Categorical or isinstance(dtype, pl.Enum)]
    frame = frame.with_columns(pl.col(texts).cast(pl.String)).with_columns(pl.col(pl.String).str.strip_chars())
    return frame.with_columns(pl.when(pl.col(pl.String) != "").then(pl.col(pl.String)))


def _spread(frame: pl.DataFrame, max_rows: int) -> pl.DataFrame:
    """At most `max_rows` rows, in runs that are spread evenly: neighbouring rows stay neighbours."""
    if frame.height <= max_rows:
        return frame
    length = max(1, max_rows // _BLOCKS)
    starts = [round(number * (frame.height - length) / (_BLOCKS - 1)) for number in range(_BLOCKS)]
    return pl.concat([frame.slice(start, length) for start in starts])


def _read_blocks(path: Path, max_bytes: int) -> tuple[list[bytes], bool, int]:
    """Blocks of whole lines, whether they are the whole file, and the file's size in bytes (0 where it is unknown)."""
    if path.suffix.lower() in (".gz", ".bz2", ".zst", ".zstd", ".zip"):
        with _decompressed(path) as stream:
            data = _read_up_to(stream, max_bytes + 1)
        is_whole = len(data) <= max_bytes
        return [data if is_whole else data[: data.rfind(b"\n") + 1] or data], is_whole, 0
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(4)
        file.seek(0)
        # Characters of two bytes have line ends of two bytes, which a search for one byte tears apart.
        if size <= max_bytes or first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            data = file.read(max_bytes)
            return [data], size <= max_bytes, size
        length = max_bytes // _BLOCKS
        blocks = []
        for number in range(_BLOCKS):
            start = round(number * (size - length) / (_BLOCKS - 1))
            file.seek(start)
            data = file.read(length)
            begin = data.find(b"\n") + 1 if start else 0
            blocks.append(data[begin : data.rfind(b"\n") + 1])
    return blocks, False, size


def _decompressed(path: Path) -> IO[bytes] | Any:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path)
    if suffix == ".bz2":
        return bz2.open(path)
    if suffix in (".zst", ".zstd"):
        return pa.input_stream(str(path), compression="zstd")
    archive = zipfile.ZipFile(path)
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise ValueError(f"the archive holds {len(members)} files; expected one")
    return archive.open(members[0])


def _read_up_to(stream: Any, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _find_encoding(blocks: Sequence[bytes]) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if blocks[0].startswith(mark):
            return encoding
    try:
        for block in blocks:
            codecs.getincrementaldecoder("utf-8")().decode(block, final=False)
    except UnicodeDecodeError:
        # Bytes 0x80 to 0x9f are control characters in Latin-1, and letters or quotes in Windows' code page.
        return "cp1252" if any(re.search(rb"[\x80-\x9f]", block) for block in blocks) else "iso-8859-1"
    return "utf-8"


def _decode(block: bytes, encoding: str) -> str:
    if encoding == "utf-8":
        block = block.removeprefix(codecs.BOM_UTF8)
    return block.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")
