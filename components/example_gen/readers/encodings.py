"""Recognises the encoding of a text file and turns its bytes into UTF-8."""

import codecs
import itertools
from collections.abc import Iterable, Iterator

from components.example_gen.readers.opening import check_signature
from trainer_module.errors import DataError

_BYTE_ORDER_MARKS = {
    # UTF-32's mark begins with UTF-16's.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LOOKED_AT = 1 << 16
_ESCAPE = "recspan_escape"


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Turns undecodable bytes into characters that `surrogateescape` encodes as bytes that are not UTF-8."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + (byte | 0x80)) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPE, _escape)


def is_utf8(encoding: str) -> bool:
    """Whether an encoding is UTF-8 or a subset of it."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def detect(file: str, start: bytes, encoding: str) -> tuple[str, int]:
    """The encoding of a text file.

    Args:
        file: For messages.
        start: Its first bytes, unpacked.
        encoding: The one that the table names.

    Returns:
        The encoding that the file's byte order mark says, or the one that is named; and the length of the mark.

    Raises:
        DataError: The file is binary, or in UTF-16 and neither has a mark nor is named so.
    """
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return marked, len(mark)
    check_signature(file, start)
    start = start[:_LOOKED_AT]
    if is_utf8(encoding) and b"\0" in start:
        even, odd = start[::2].count(0), start[1::2].count(0)
        likely = "utf-16-le" if odd > even else "utf-16-be"
        if max(even, odd) > len(start) // 8 and min(even, odd) < max(even, odd) // 8:
            raise DataError(f"{file}: looks like UTF-16; set encoding: {likely} for the table")
        line = start[: start.index(b"\0")].count(b"\n") + 1
        raise DataError(f"{file}, line {line}: a NUL byte, so the file is binary or damaged; expected text")
    return encoding, 0


def utf8_chunks(file: str, chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Turns a file's bytes into UTF-8.

    Bytes that are not text in the encoding become bytes that are not UTF-8, so that the parser of rows finds them.

    Args:
        file: For messages.
        chunks: The file's bytes, unpacked.
        encoding: The one that the table names.

    Raises:
        DataError: See `detect`.
    """
    chunks = iter(chunks)
    start = next(chunks, b"")
    found, mark = detect(file, start, encoding)
    chunks = itertools.chain([start[mark:]], chunks)
    if is_utf8(found):
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(found)(_ESCAPE)
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogateescape")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
