"""Opens files, local or remote, and unpacks them."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import tensorflow as tf
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from trainer_module.data.tables import MAX_UNPACK_RATIO, UNPACKED_FREELY
from trainer_module.errors import DataError

_ARROW_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".zstd": "zstd"}
# First bytes of files that are not the text that their names promise.
_SIGNATURES = {
    b"\x1f\x8b": "gzip; end its name with .gz",
    b"PK\x03\x04": "a zip archive; end its name with .zip",
    b"\x28\xb5\x2f\xfd": "zstd; end its name with .zst",
    b"BZh": "bzip2; end its name with .bz2",
    b"PAR1": "Parquet; end its name with .parquet, or set format: parquet",
}


@contextlib.contextmanager
def open_file(file: str) -> Iterator[Any]:
    """Opens a local or remote file for binary reading, as its bytes are.

    Raises:
        DataError: It cannot be opened.
    """
    try:
        content = FileSystems.open(file, compression_type=CompressionTypes.UNCOMPRESSED)
    except OSError as error:
        raise DataError(f"{file}: cannot be opened ({error}); check that it is there and may be read") from error
    with content:
        yield content


def size_of(file: str) -> int:
    """Bytes of a local or remote file."""
    return tf.io.gfile.stat(file).length


def is_compressed(file: str) -> bool:
    """Whether a file's name says that it is compressed."""
    return file.lower().endswith((*_ARROW_CODECS, ".zip"))


def unpacked_chunks(file: str, chunk_bytes: int, offset: int = 0, max_ratio: int = MAX_UNPACK_RATIO) -> Iterator[bytes]:
    """Reads a file's bytes, unpacked if its name says that it is compressed.

    Args:
        file: Ends in `.gz`, `.bz2`, `.zst`, `.zstd` or `.zip` if it is compressed.
        chunk_bytes: Size of a chunk, at most.
        offset: Where to begin in a file that is not compressed.
        max_ratio: Largest size of the unpacked file in multiples of the packed one's; the first 256 MB do not count.

    Raises:
        DataError: An archive is damaged, cut short, encrypted, or does not hold exactly one file; or it unpacks to
            more than `max_ratio` allows.
    """
    limit = max(UNPACKED_FREELY, max_ratio * size_of(file)) if is_compressed(file) else None
    with open_file(file) as content:
        suffix = "." + file.lower().rsplit(".", 1)[-1]
        try:
            if codec := _ARROW_CODECS.get(suffix):
                stream = pa.CompressedInputStream(pa.PythonFile(content, "r"), codec)
                yield from _limited(_chunks(stream, chunk_bytes), limit, file, max_ratio)
            elif suffix == ".zip":
                with zipfile.ZipFile(content) as archive, archive.open(_only_member(file, archive)) as member:
                    yield from _limited(_chunks(member, chunk_bytes), limit, file, max_ratio)
            else:
                content.seek(offset)
                yield from _chunks(content, chunk_bytes)
        except (OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, pa.ArrowInvalid) as error:
            damaged = "is damaged or cut short; fetch or pack it again" if is_compressed(file) else "cannot be read"
            raise DataError(f"{file}: {damaged} ({error})") from error


def check_signature(file: str, start: bytes) -> None:
    """Checks that a text file is none of the common binary formats.

    Args:
        file: For the message.
        start: Its first bytes, unpacked.

    Raises:
        DataError: It is one.
    """
    for signature, form in _SIGNATURES.items():
        # Text may begin with BZh.
        if start.startswith(signature) and not (form.startswith("bzip2") and start[4:10] != b"1AY&SY"):
            raise DataError(f"{file}: expected text, and its first bytes are those of {form}")


def _chunks(content: Any, chunk_bytes: int) -> Iterator[bytes]:
    while chunk := content.read(chunk_bytes):
        yield chunk


def _limited(chunks: Iterator[bytes], limit: int | None, file: str, max_ratio: int) -> Iterator[bytes]:
    """Stops at a file that unpacks to more than `limit` bytes, as one that was made to fill memory and disk does."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if limit is not None and size > limit:
            raise DataError(
                f"{file}: unpacks to more than {limit >> 20:,} MB, {max_ratio} times its size. If that is right, set "
                "max_unpack_ratio for the table to a larger number"
            )
        yield chunk


def _only_member(file: str, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The single file of a zip archive; folders and the notes that macOS adds do not count.

    An archive is updated by adding members, so that of several with one name the last one counts.
    """
    by_name = {member.filename: member for member in archive.infolist()}
    members = [member for name, member in by_name.items() if not member.is_dir() and not name.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5])
        raise DataError(
            f"{file}: the archive holds {len(members)} files{f' ({names})' if names else ''}; expected one. Unpack "
            "it and name its files"
        )
    if members[0].flag_bits & 1:
        raise DataError(f"{file}: the archive is encrypted; unpack it with its password, and name the unpacked file")
    return members[0]
