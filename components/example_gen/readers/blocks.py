"""Cuts the files of a table into pieces that workers read independently, and reads them.

A plain text file in UTF-8 is cut into ranges of bytes, a Parquet file into its row groups. Compressed files and files
in other encodings cannot be entered in their middle, so that each is one piece.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from components.example_gen.output.bad_rows import BadRow
from components.example_gen.readers import jsonl, parquet, text
from components.example_gen.readers.encodings import detect, is_utf8, utf8_chunks
from components.example_gen.readers.files import find_files
from components.example_gen.readers.opening import is_compressed, open_file, size_of, unpacked_chunks
from components.example_gen.readers.parquet import RowGroup
from components.example_gen.readers.raw_rows import RawRows
from components.example_gen.readers.records import Dialect, TextBlock, record_blocks
from trainer_module.data.cells import trim
from trainer_module.data.tables import TableFiles
from trainer_module.errors import DataError
from trainer_module.suggestions import did_you_mean

__all__ = ["Piece", "RawRows", "check_columns", "column_names", "find_files", "find_pieces", "read"]

# Some 100,000 rows of 40 columns.
_BLOCK_BYTES = 16 << 20
_HEADER_BYTES = 1 << 16
# Rows of a few short fields pack to some 5 bytes.
_LEAST_BYTES_PER_PACKED_ROW = 5


@dataclass(frozen=True)
class ByteRange:
    """A part of a plain text file in UTF-8 that holds whole records.

    Attributes:
        offset: First byte.
        size: Bytes.
        first_line: Number of the first line, from 1.
        num_lines: Lines.
    """

    offset: int
    size: int
    first_line: int
    num_lines: int


@dataclass(frozen=True)
class Piece:
    """A part of a file that is read by itself.

    Attributes:
        index: From 0, over all files.
        file_number: Number of the file, from 0, in the order of the files.
        file: Path.
        part: A range of bytes or a row group; None is the whole file.
        columns: Names of all columns of a CSV file; empty for other formats.
    """

    index: int
    file_number: int
    file: str
    part: ByteRange | RowGroup | None = None
    columns: tuple[str, ...] = ()

    def approximate_rows(self) -> int:
        """Number of rows: exact for Parquet, the number of lines for text, an estimate for a whole file."""
        if isinstance(self.part, ByteRange):
            return self.part.num_lines
        if isinstance(self.part, RowGroup):
            return self.part.num_rows
        return size_of(self.file) // _LEAST_BYTES_PER_PACKED_ROW


def find_pieces(files: Sequence[str], table: TableFiles) -> list[Piece]:
    """Cuts files into pieces.

    Reads plain text once, to find its records, and of other files only their start or what describes them.

    Raises:
        DataError: A file is damaged, or does not fit the table's format; a quote is never closed; a row is too long.
    """
    pieces: list[Piece] = []
    for number, file in enumerate(files):
        columns = tuple(column_names(file, table)) if table.format_of(file) == "csv" else ()
        for part in _parts(file, table):
            pieces.append(Piece(len(pieces), number, file, part, columns))
    return pieces


def column_names(file: str, table: TableFiles) -> list[str]:
    """The columns of a file, in their order, without the spaces around their names; of JSON, the first block's keys.

    Raises:
        DataError: Two columns have the same name, or the file has no header.
    """
    if table.format_of(file) == "parquet":
        names = parquet.schema(file).names
    elif table.format_of(file) == "jsonl":
        return _keys(file, table)
    elif table.column_names:
        return list(table.column_names)
    else:
        names = _header(file, table)
    for position, name in enumerate(names):
        if name and name in names[:position]:
            raise DataError(
                f"{file}: columns {names.index(name) + 1} and {position + 1} are both called {name!r}; rename one"
            )
    return names


def check_columns(files: Sequence[str], table: TableFiles, wanted: Sequence[str], where: str) -> None:
    """Checks that every file has the columns that are read, in types that can be converted.

    Args:
        files: Paths.
        table: Their format.
        wanted: Names of the columns.
        where: Key of the experiment file that names the columns, such as `data.items`.

    Raises:
        DataError: A column is missing or of a wrong type; names the file, its columns and the nearest name.
    """
    for file in files:
        found = column_names(file, table)
        for name in wanted:
            if name not in found:
                hint = did_you_mean(name, found, always=False)
                raise DataError(
                    f"{file}: no column {name!r}. {hint}It has {', '.join(map(repr, found))}. Mend {where}, or the "
                    "file's header"
                )
        if table.format_of(file) == "parquet":
            parquet.check_types(file, parquet.schema(file), wanted)


def read(piece: Piece, table: TableFiles, wanted: Sequence[str]) -> Iterator[tuple[RawRows, list[BadRow]]]:
    """Reads a piece, one block of rows at a time.

    Args:
        piece: From `find_pieces`.
        table: Format of its file.
        wanted: Names of the columns to keep.

    Yields:
        Rows that could be parsed, with their `wanted` columns, and the rows that could not.

    Raises:
        DataError: The file is damaged.
    """
    if isinstance(piece.part, RowGroup):
        for rows in parquet.read_row_group(piece.file, piece.file_number, piece.part, wanted):
            yield rows, []
        return
    for block in _text_blocks(piece, table):
        if table.format_of(piece.file) == "jsonl":
            yield jsonl.parse(block, wanted, piece.file, piece.file_number)
        else:
            yield text.parse(block, piece.columns, wanted, table, piece.file, piece.file_number)


def _parts(file: str, table: TableFiles) -> Iterator[ByteRange | RowGroup | None]:
    if table.format_of(file) == "parquet":
        yield from parquet.row_groups(file)
        return
    if is_compressed(file):
        yield None
        return
    with open_file(file) as content:
        encoding, mark = detect(file, content.read(_HEADER_BYTES), table.encoding)
    if not is_utf8(encoding):
        yield None
        return
    chunks = unpacked_chunks(file, _BLOCK_BYTES, mark)
    dialect = _dialect(file, table)
    for block in _without_header(record_blocks(chunks, dialect, file, _BLOCK_BYTES), dialect, table, file):
        yield ByteRange(mark + block.offset, len(block.data), block.first_line, block.num_lines)


def _text_blocks(piece: Piece, table: TableFiles) -> Iterator[TextBlock]:
    if isinstance(piece.part, ByteRange):
        with open_file(piece.file) as content:
            content.seek(piece.part.offset)
            data = content.read(piece.part.size)
        yield TextBlock(data, piece.part.offset, piece.part.first_line, piece.part.num_lines)
        return
    chunks = utf8_chunks(piece.file, _unpacked(piece.file, table), table.encoding)
    dialect = _dialect(piece.file, table)
    blocks = record_blocks(chunks, dialect, piece.file, _BLOCK_BYTES)
    yield from _without_header(blocks, dialect, table, piece.file)


def _unpacked(file: str, table: TableFiles, chunk_bytes: int = _BLOCK_BYTES) -> Iterator[bytes]:
    return unpacked_chunks(file, chunk_bytes, max_ratio=table.max_unpack_ratio)


def _dialect(file: str, table: TableFiles) -> Dialect:
    if table.format_of(file) == "jsonl":
        return replace(jsonl.DIALECT, max_row_mb=table.max_row_mb)
    return text.dialect_of(file, table)


def _without_header(blocks: Iterator[TextBlock], dialect: Dialect, table: TableFiles, file: str) -> Iterator[TextBlock]:
    """Takes the header, if there is one, and empty lines before it away."""
    has_header = table.format_of(file) == "csv" and not table.column_names
    for block in blocks:
        if not has_header:
            yield block
            continue
        header = text.find_header(block.data, dialect)
        if header is None:
            continue
        has_header = False
        if rest := block.data[header.size :]:
            num_lines = block.num_lines - header.num_lines
            yield TextBlock(rest, block.offset + header.size, block.first_line + header.num_lines, num_lines)


def _keys(file: str, table: TableFiles) -> list[str]:
    """The keys of a JSON file's first block; keys that only later lines have are not known."""
    chunks = utf8_chunks(file, _unpacked(file, table), table.encoding)
    for block in record_blocks(chunks, _dialect(file, table), file, _BLOCK_BYTES):
        return jsonl.column_names(block, file)
    raise DataError(f"{file}: holds no line; expected JSON lines")


def _header(file: str, table: TableFiles) -> list[str]:
    dialect = _dialect(file, table)
    chunks = utf8_chunks(file, _unpacked(file, table, _HEADER_BYTES), table.encoding)
    # The header may follow empty lines.
    for block in record_blocks(chunks, dialect, file, 1):
        if header := text.find_header(block.data, dialect):
            try:
                return [trim(field.decode()) for field in header.fields]
            except UnicodeDecodeError:
                raise DataError(
                    f"{file}, line {block.first_line}: the header is not {table.encoding}; name the file's encoding "
                    "for the table, such as encoding: latin-1 or cp1252"
                ) from None
    raise DataError(f"{file}: no header, the file holds empty lines alone; expected the names of the columns")
