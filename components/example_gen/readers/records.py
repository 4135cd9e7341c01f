"""Finds records (rows) in the bytes of a text file, with quotes in mind.

A record ends with LF, CR LF or a lone CR that lies outside double quotes. A quote opens a quoted field only as the
field's first byte; elsewhere in an unquoted field it is literal text. Arrow's CSV parser and Python's csv module follow
the same rules. All functions expect data that starts with a record.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from trainer_module.data.tables import MAX_ROW_MB
from trainer_module.errors import DataError

_QUOTE, _LF, _CR = b'"\n\r'
_CONTROL_BYTES = bytes([0x1F, 0x1E, 0x1D, 0x1C, *range(0x01, 0x09), *range(0x0E, 0x1C), 0x7F])
# What follows an opening quote, up to the closing one; possessive, so that a doubled quote never counts as closing.
_REST_OF_QUOTED = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


@dataclass(frozen=True)
class Dialect:
    """How the fields of a text file are written.

    Attributes:
        delimiter: Between two fields, one byte or more; None if a record is one field.
        quoted: Whether a field may stand in double quotes.
        max_row_mb: A longer record is taken for a quote that is never closed, or for a file that is no text.
    """

    delimiter: bytes | None
    quoted: bool
    max_row_mb: int = MAX_ROW_MB


@dataclass(frozen=True)
class Records:
    """The records of a block of text.

    Attributes:
        starts: First byte of each record, `[records]` int64.
        ends: Byte behind each record's last one, its line end not included, `[records]` int64.
        lines: Line on which each record starts, counted from 0 at the start of the block, `[records]` int64.
        num_lines: Lines of the block.
        delimiters: Positions of the delimiters outside quotes, ascending int64.
        malformed: Indices of records in which text follows a closing quote, ascending int64.
        is_open: Whether the last record ends inside quotes.
    """

    starts: np.ndarray
    ends: np.ndarray
    lines: np.ndarray
    num_lines: int
    delimiters: np.ndarray
    malformed: np.ndarray
    is_open: bool

    def __len__(self) -> int:
        return len(self.starts)

    def num_fields(self) -> np.ndarray:
        """Fields of each record, `[records]` int64."""
        each, rest = divmod(len(self.delimiters), max(len(self), 1))
        if each and not rest:
            # Mostly all records have as many fields, which is seen without a search.
            of_record = self.delimiters.reshape(-1, each)
            if np.all(of_record[:, 0] >= self.starts) and np.all(of_record[:, -1] < self.ends):
                return np.full(len(self), each + 1)
        first, last = np.searchsorted(self.delimiters, self.starts), np.searchsorted(self.delimiters, self.ends)
        return last - first + 1


@dataclass(frozen=True)
class TextBlock:
    """Whole records of a text file.

    Attributes:
        data: Their bytes.
        offset: Of the first byte, from where the reading of the file began.
        first_line: Line of the first record, from 1.
        num_lines: Lines of the block.
    """

    data: bytes
    offset: int
    first_line: int
    num_lines: int


def one_byte_delimiter(data: bytes, delimiter: bytes | None) -> tuple[bytes, bytes | None]:
    """Replaces a delimiter of several bytes by a control byte that the data does not hold.

    Returns:
        The data and its delimiter; unchanged if that is one byte already.

    Raises:
        ValueError: The data holds every control byte, so it is no text.
    """
    if delimiter is None or len(delimiter) == 1:
        return data, delimiter
    for byte in _CONTROL_BYTES:
        if byte not in data:
            return data.replace(delimiter, bytes([byte])), bytes([byte])
    raise ValueError("the data holds every control byte; expected text")


def find_records(data: bytes, dialect: Dialect) -> Records:
    """Finds the records of a block.

    Args:
        data: Whole records; the last one may lack its line end.
        dialect: Its delimiter is one byte.
    """
    array = np.frombuffer(data, np.uint8)
    toggles, malformed = _toggles(data, array, dialect)
    all_starts, all_ends = _lines(data, array)
    outside = np.flatnonzero(~_is_inside(all_ends, toggles)) if len(toggles) else np.arange(len(all_ends))
    is_open = len(toggles) % 2 == 1
    if is_open:
        # The record that is still open extends to the end of the data.
        outside = np.append(outside, len(all_ends) - 1)
        all_ends[-1] = len(data)
    first_lines = np.concatenate([[0], outside[:-1] + 1])[: len(outside)]
    starts, ends = all_starts[first_lines], all_ends[outside]
    delimiters = np.zeros(0, np.int64)
    if dialect.delimiter is not None:
        delimiters = np.flatnonzero(array == dialect.delimiter[0])
        if len(toggles):
            delimiters = delimiters[~_is_inside(delimiters, toggles)]
    return Records(
        starts,
        ends,
        first_lines,
        len(all_ends),
        delimiters,
        np.unique(np.searchsorted(starts, malformed, side="right") - 1),
        is_open,
    )


def record_blocks(
    chunks: Iterable[bytes], dialect: Dialect, file: str, block_bytes: int, first_line: int = 1
) -> Iterator[TextBlock]:
    """Cuts a stream of bytes into blocks of whole records.

    Args:
        chunks: The bytes of a file, in UTF-8.
        dialect: Its delimiter may have any length.
        file: For messages.
        block_bytes: Least size of a block but the last.
        first_line: Number of the first line.

    Raises:
        DataError: A record is longer than the dialect allows, or a quote is never closed.
    """
    offset, pending, size = 0, [], 0
    for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if size < block_bytes:
            continue
        data = b"".join(pending)
        if cut := _last_record_end(data, dialect):
            num_lines = _count_lines(data[:cut])
            yield TextBlock(data[:cut], offset, first_line, num_lines)
            offset, first_line = offset + cut, first_line + num_lines
        pending, size = [data[cut:]], len(data) - cut
        if size > dialect.max_row_mb << 20:
            raise DataError(
                f"{file}, line {first_line}: a row of more than {dialect.max_row_mb} MB. {_mend_quotes(dialect)}. If "
                "rows are that long, set max_row_mb for the table to a larger number"
            )
    if data := b"".join(pending):
        if dialect.quoted and b'"' in data:
            translated, delimiter = one_byte_delimiter(data, dialect.delimiter)
            records = find_records(translated, Dialect(delimiter, dialect.quoted))
            if records.is_open:
                raise DataError(
                    f"{file}, line {first_line + int(records.lines[-1])}: a double quote opens a field and is never "
                    f"closed. {_mend_quotes(dialect)}"
                )
        yield TextBlock(data, offset, first_line, _count_lines(data))


def _mend_quotes(dialect: Dialect) -> str:
    if dialect.quoted:
        return "Close the field's quote, or set quoted: false for the table if double quotes are plain text in it"
    return "Check that the file is text with one row per line"


def _count_lines(data: bytes) -> int:
    """Lines of whole records, the last of which may lack its line end."""
    ends = data.count(b"\n")
    if b"\r" in data:
        ends += data.count(b"\r") - data.count(b"\r\n")
    return ends + (bool(data) and data[-1] not in (_LF, _CR))


def _last_record_end(data: bytes, dialect: Dialect) -> int:
    """Offset behind the last record that is known to be whole; 0 if none is."""
    # The last byte may be half a CR LF.
    limit = len(data) - 1 if data.endswith(b"\r") else len(data)
    if not dialect.quoted or b'"' not in data:
        return max(data.rfind(b"\n", 0, limit), data.rfind(b"\r", 0, limit)) + 1
    translated, delimiter = one_byte_delimiter(data[:limit], dialect.delimiter)
    records = find_records(translated, Dialect(delimiter, dialect.quoted))
    # The last record has a line end only if the data has one; it is cut off with what follows if it is open.
    ends_with_line = not records.is_open and translated[-1] in (_LF, _CR)
    cut = len(translated) if ends_with_line else int(records.starts[-1])
    shrunk = len(dialect.delimiter) - 1 if dialect.delimiter and delimiter else 0
    return cut + shrunk * translated.count(delimiter, 0, cut) if shrunk else cut


def _lines(data: bytes, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of all lines, also of those inside quotes; ends exclude line ends."""
    if b"\r" not in data:
        ends = np.flatnonzero(array == _LF)
        behind = ends + 1
    else:
        is_lf, is_cr = array == _LF, array == _CR
        after_cr = np.zeros(len(array), bool)
        after_cr[1:] = is_cr[:-1]
        # A CR LF counts once, at its LF.
        is_cr[:-1] &= ~is_lf[1:]
        last = np.flatnonzero(is_lf | is_cr)
        ends, behind = last - (is_lf & after_cr)[last], last + 1
    starts = np.concatenate([[0], behind]).astype(np.int64)
    if starts[-1] == len(data):
        return starts[:-1], ends
    return starts, np.append(ends, len(data))


def _is_inside(positions: np.ndarray, toggles: np.ndarray) -> np.ndarray:
    """Whether each position lies inside quotes, `[positions]` bool."""
    return np.searchsorted(toggles, positions) % 2 == 1


def _toggles(data: bytes, array: np.ndarray, dialect: Dialect) -> tuple[np.ndarray, np.ndarray]:
    """Positions of quotes that alternately open and close fields, and of text behind a closing quote.

    A doubled quote may count as closing and opening again, which changes nothing for other positions.
    """
    none = np.zeros(0, np.int64)
    if not dialect.quoted or b'"' not in data:
        return none, none
    quotes = np.flatnonzero(array == _QUOTE)
    is_boundary = np.zeros(256, bool)
    is_boundary[[_LF, _CR, _QUOTE, *(dialect.delimiter or b"")]] = True
    # If every first, third, ... quote follows a boundary and every second, fourth, ... precedes one, each quote is what
    # its number says. A quote counts as a boundary because a doubled one closes and opens again.
    opening, closing = quotes[::2], quotes[1::2]
    opens = is_boundary[array[opening - 1]] | (opening == 0)
    closes = is_boundary[array[np.minimum(closing + 1, len(array) - 1)]] | (closing == len(array) - 1)
    # An opening quote may follow a quote only if that one closed a field.
    if opens.all() and closes.all():
        return quotes, none
    return _scan_quotes(data, dialect)


def _scan_quotes(data: bytes, dialect: Dialect) -> tuple[np.ndarray, np.ndarray]:
    """Finds quoted fields one by one, for data with bare quotes or with text behind closing quotes."""
    boundaries = b"\r\n" + (dialect.delimiter or b"")
    opening = re.compile(rb"(?:\A|(?<=[" + re.escape(boundaries) + rb']))"')
    toggles, malformed = [], []
    position = 0
    while match := opening.search(data, position):
        toggles.append(match.start())
        rest = _REST_OF_QUOTED.match(data, match.end())
        if rest is None:
            break
        position = rest.end()
        toggles.append(position - 1)
        if position < len(data) and data[position] not in boundaries:
            malformed.append(position)
    return np.array(toggles, np.int64), np.array(malformed, np.int64)
