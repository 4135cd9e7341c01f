"""Reads blocks of rows from text and Parquet files."""

import csv
import gzip
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import tensorflow as tf
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from components.example_gen.bad_rows import BadRow, bad_row
from components.example_gen.blocks import Block, find_blocks, read_block
from components.flat_example_gen.config import FlatSource, TextFormat
from components.flat_example_gen.rows import RawRows
from components.flat_example_gen.spans import wildcards
from trainer_module.errors import DataError

# Some 100,000 rows of 40 columns.
_BLOCK_BYTES = 16 << 20
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class Piece:
    """A part of a file that is read by itself.

    Attributes:
        index: From 0, over all files.
        file: Path.
        block: Of a plain text file; None for a compressed one, which cannot be entered in its middle.
        row_group: Of a Parquet file.
        first_row: Number of its first row, from 1, in a Parquet file.
    """

    index: int
    file: str
    block: Block | None = None
    row_group: int = 0
    first_row: int = 1


def find_files(directory: str, source: FlatSource) -> list[str]:
    """All files of a dataset, in alphabetical order.

    Raises:
        DataError: There are none.
    """
    patterns = [os.path.join(directory, pattern) for pattern in source.files]
    files = sorted({file for pattern in patterns for file in tf.io.gfile.glob(wildcards(pattern))})
    if not files:
        there = sorted(tf.io.gfile.listdir(directory)) if tf.io.gfile.isdir(directory) else []
        named = ", ".join(there[:_NAMED_AT_MOST]) + (", ..." if len(there) > _NAMED_AT_MOST else "")
        raise DataError(
            f"no file matches {' or '.join(patterns)}; put the data there, or name where it is. {directory} "
            f"{f'holds {named}' if there else 'is empty or not there'}"
        )
    return files


def find_pieces(files: Iterable[str], source: FlatSource) -> list[Piece]:
    """Cuts files into parts; reads plain text once to find its lines, and of Parquet only what describes it."""
    pieces: list[Piece] = []
    for file in files:
        if source.text is None:
            with _open(file) as content:
                metadata = pq.ParquetFile(content).metadata
            first_row = 1
            for group in range(metadata.num_row_groups):
                pieces.append(Piece(len(pieces), file, row_group=group, first_row=first_row))
                first_row += metadata.row_group(group).num_rows
        elif _is_compressed(file):
            pieces.append(Piece(len(pieces), file))
        else:
            with _open(file) as content:
                pieces += [
                    Piece(len(pieces) + number, file, block)
                    for number, block in enumerate(find_blocks(content, _BLOCK_BYTES))
                ]
    return pieces


def check_columns(files: Iterable[str], source: FlatSource, wanted: Sequence[str]) -> None:
    """Checks that every file has the columns that are read.

    Raises:
        DataError: One is missing; names the file and the columns that it has.
    """
    for file in files:
        found = column_names(file, source)
        if missing := [name for name in wanted if name not in found]:
            raise DataError(
                f"{file}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, found))}. Mend the "
                "section data of the experiment file, or the file's first line"
            )


def column_names(file: str, source: FlatSource) -> list[str]:
    """The columns of a file, in their order."""
    if source.text is None:
        with _open(file) as content:
            return pq.ParquetFile(content).schema_arrow.names
    if source.text.column_names:
        return list(source.text.column_names)
    with _open(file) as content:
        line = _uncompressed(file, content).readline()
    (names,) = csv.reader([line.decode("utf-8-sig").rstrip("\r\n")], delimiter=source.text.delimiter)
    return names


def read(piece: Piece, source: FlatSource, wanted: Sequence[str]) -> Iterator[tuple[RawRows, list[BadRow]]]:
    """Reads a part of a file, one block of rows at a time.

    Yields:
        Rows whose number of fields is right, with their `wanted` columns, and the rows whose number is not.
    """
    if source.text is None:
        yield _read_row_group(piece, wanted), []
        return
    names = column_names(piece.file, source)
    with _open(piece.file) as content:
        if piece.block is not None:
            yield parse_text(
                read_block(content, piece.block), piece.block.first_line, piece.file, names, source, wanted
            )
            return
        lines = _uncompressed(piece.file, content)
        first_line = 1
        while data := lines.read(_BLOCK_BYTES):
            data += lines.readline()
            yield parse_text(data, first_line, piece.file, names, source, wanted)
            first_line += data.count(b"\n")


def parse_text(
    data: bytes, first_line: int, file: str, names: Sequence[str], source: FlatSource, wanted: Sequence[str]
) -> tuple[RawRows, list[BadRow]]:
    """Parses whole lines.

    Args:
        data: The lines.
        first_line: Number of the first one, from 1; line 1 is skipped if it is a header.
        file: For messages.
        names: Of all columns.
        source: Its `text` is the format.
        wanted: Names of the columns to keep.
    """
    text = source.text or TextFormat()
    if first_line == 1 and not text.column_names:
        data, first_line = data[data.find(b"\n") + 1 :] if b"\n" in data else b"", 2
    invalid: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    num_lines = data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
    table = _parse(data, names, text, wanted, skip) if data else _no_rows(wanted)
    if table.num_rows + len(invalid) != num_lines:
        raise DataError(
            f"{file}, from line {first_line}: {num_lines:,} lines hold {table.num_rows + len(invalid):,} rows, so a "
            "field in double quotes holds a line end or its closing quote is missing. Rows must stand on one line each"
        )
    skipped = np.array([row.number - 1 for row in invalid], np.int64)
    kept = np.setdiff1d(np.arange(num_lines), skipped)

    def line(number: int) -> bytes:
        return data.split(b"\n")[number].rstrip(b"\r")

    bad = [
        bad_row(
            file,
            first_line + row.number - 1,
            f"expected {row.expected_columns} fields, found {row.actual_columns}",
            line(row.number - 1),
        )
        for row in invalid
    ]
    columns = {name: table[name].combine_chunks() for name in wanted}
    return RawRows(file, columns, first_line + kept, lambda row: line(int(kept[row]))), bad


def _no_rows(wanted: Sequence[str]) -> pa.Table:
    return pa.table({name: pa.array([], pa.large_binary()) for name in wanted})


def _parse(data: bytes, names: Sequence[str], text: TextFormat, wanted: Sequence[str], skip: Any) -> pa.Table:
    return pacsv.read_csv(
        io.BytesIO(data),
        # One thread, so that rows know their number; one block, so that a column is one array.
        pacsv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(data) + 1),
        pacsv.ParseOptions(
            delimiter=text.delimiter,
            quote_char='"' if text.quoted else False,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        ),
        pacsv.ConvertOptions(
            column_types={name: pa.large_binary() for name in wanted},
            include_columns=list(wanted),
            null_values=list(text.missing_values),
            strings_can_be_null=True,
        ),
    )


def _read_row_group(piece: Piece, wanted: Sequence[str]) -> RawRows:
    with _open(piece.file) as content:
        table = pq.ParquetFile(content).read_row_group(piece.row_group, columns=list(wanted))

    def raw(row: int) -> bytes:
        return repr(table.slice(row, 1).to_pylist()[0]).encode()

    columns = {name: table[name].combine_chunks() for name in wanted}
    return RawRows(piece.file, columns, piece.first_row + np.arange(table.num_rows), raw)


def _open(path: str) -> Any:
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _is_compressed(path: str) -> bool:
    return path.endswith(".gz")


def _uncompressed(path: str, content: Any) -> Any:
    return gzip.GzipFile(fileobj=content) if _is_compressed(path) else content
