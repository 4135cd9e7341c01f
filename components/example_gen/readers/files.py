"""Finds the files of a table."""

import glob
import logging
import os
import stat
from collections.abc import Iterator

from apache_beam.io.filesystems import FileSystems

from components.example_gen.bigquery.layout import name_of_part
from components.example_gen.spans import wildcards
from trainer_module.data.paths import literal
from trainer_module.data.tables import TableFiles
from trainer_module.errors import DataError

_log = logging.getLogger(__name__)

_NAMED_AT_MOST = 10
_LONGEST_SHOWN = 300
# What Spark, Hive and Databricks leave beside the files of a table.
_MARKERS = ("_SUCCESS", "_metadata", "_common_metadata", "_temporary", "_delta_log")
_MARKER_PREFIXES = ("_started_", "_committed_")


def find_files(directory: str, table: TableFiles, what: str) -> list[str]:
    """All files of a table, in alphabetical order and each once, even if links or several patterns lead to it.

    Hidden and empty files, checksums and the markers of Spark are skipped if a wildcard matches them; the log says so.

    Args:
        directory: Where relative patterns begin; local or remote.
        table: Its `files` are paths or patterns with wildcards; markers of spans count as wildcards.
        what: Names the table in messages, such as `data.items`.

    Raises:
        DataError: A pattern matches no file that can be read (or none does, where the table's patterns are
            alternatives); the message names what lies there. A file that is named
            without wildcards would be skipped. A path is a directory, or no regular file.
    """
    found: dict[object, str] = {}
    for pattern in table.files:
        pattern = wildcards(pattern)
        path = pattern if _is_remote(pattern) else os.path.join(directory, literal(pattern))
        files = _match_remote(path) if _is_remote(path) else _match_local(directory, pattern)
        kept = [file for file, size in files.items() if _is_kept(file, size, path, what)]
        if not kept and not table.alternatives:
            raise DataError(_nothing(path, what, sorted(files)))
        for file in kept:
            identity = _identity(file)
            found[identity] = min(file, found.get(identity, file))
    if not found:
        raise DataError(_nothing(os.path.join(directory, table.files[0]), what, []))
    return sorted(found.values())


def relative(file: str, directory: str) -> str:
    """The path of a file below a local or remote directory; a file of a query's rows is named after the query."""
    if name := name_of_part(file):
        return name
    return file.removeprefix(f"{directory.rstrip('/')}/") if _is_remote(file) else os.path.relpath(file, directory)


def _is_remote(path: str) -> bool:
    return "://" in path


def _match_local(directory: str, pattern: str) -> dict[str, int | None]:
    """Paths that match; their sizes are not known yet."""
    if os.path.lexists(path := os.path.join(directory, literal(pattern))):
        return {path: None}
    names = glob.glob(pattern, root_dir=directory, include_hidden=True)
    return {os.path.join(directory, name): None for name in names}


def _match_remote(path: str) -> dict[str, int | None]:
    """Paths that match, with their sizes in bytes."""
    (matched,) = FileSystems.match([path])
    return {metadata.path: metadata.size_in_bytes for metadata in matched.metadata_list}


def _is_kept(file: str, size: int | None, pattern: str, what: str) -> bool:
    """Whether a file is read; one that was matched by a wildcard may be skipped."""
    reason = _why_skipped(file, size)
    if reason is None:
        return True
    if file == pattern:
        raise DataError(f"{file} ({what}): {reason}; name a file with data, or rename it")
    _log.warning("%s: %s skipped: %s", what, file, reason)
    return False


def _why_skipped(file: str, size: int | None) -> str | None:
    """Why a file is skipped; None if it is read."""
    name = file.rstrip("/").rsplit("/", 1)[-1]
    if name.startswith("."):
        return "a hidden file"
    if name in _MARKERS or name.startswith(_MARKER_PREFIXES):
        return "a marker that Spark leaves beside data"
    if name.endswith(".crc"):
        return "a checksum"
    return None if (_local_size(file) if size is None else size) else "an empty file"


def _local_size(file: str) -> int:
    """Bytes of a local file.

    Raises:
        DataError: It is no regular file, or not there.
    """
    try:
        found = os.stat(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); mend the link, or take the file out") from error
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{file}: a directory, and a file is expected; to read what it holds, name {file}/*")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{file}: a pipe, device or socket, and a regular file is expected; write the data to a file")
    return found.st_size


def _identity(file: str) -> object:
    """Equal for two paths of one file."""
    if _is_remote(file):
        return file
    found = os.stat(file)
    return found.st_dev, found.st_ino


def _nothing(path: str, what: str, skipped: list[str]) -> str:
    if skipped:
        return (
            f"{what}: {path} matches only hidden or empty files, checksums or markers ({_some(skipped)}); put the data "
            "there, or name where it is"
        )
    folder = path.rsplit("/", 1)[0] if "/" in path else "."
    while glob.has_magic(folder) and "/" in folder and not os.path.isdir(folder):
        folder = folder.rsplit("/", 1)[0]
    names = sorted(_listed(folder))
    holds = f"holds {_some(names)}" if names else "is empty or not there"
    return f"{what}: no file matches {_shown(path)}; put the data there, or name where it is. {_shown(folder)} {holds}"


def _listed(folder: str) -> Iterator[str]:
    if _is_remote(folder):
        yield from (file.rsplit("/", 1)[-1] for file in _match_remote(f"{folder}/*"))
    elif os.path.isdir(folder):
        yield from os.listdir(folder)


def _shown(path: str) -> str:
    """A path that a person can read, also where no file can have the name."""
    path = path if path.isprintable() else repr(path)
    return path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}..."


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED_AT_MOST]) + (", ..." if len(names) > _NAMED_AT_MOST else "")
