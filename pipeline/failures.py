"""Turns whatever ended a command into one message; the traceback goes to a log.

A `RecspanError` carries its own message. Any other exception gets a sentence that begins with the cause, names the path
and says how to go on.
"""

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.roots import state_directory
from trainer_module.errors import RecspanError

_LONGEST_REASON = 300

# What to do about an error of the operating system.
_WAYS_OUT = {
    errno.ENOSPC: "free some space, or name a directory on another disk; the same command goes on",
    errno.EDQUOT: "free some space, or name a directory on another disk; the same command goes on",
    errno.EROFS: "name a directory that may be written to",
    errno.EACCES: "change its permissions, or name another path",
    errno.EPERM: "change its permissions, or name another path",
    errno.ENOTDIR: "a file lies where a directory is expected; name another path",
    errno.EISDIR: "it is a directory, and a file is expected; name a file",
    errno.EEXIST: "a file lies where a directory is to be made; move it, or name another path",
    errno.ENOENT: "check its spelling, and that it is still there",
    errno.ENAMETOOLONG: "take a shorter name",
    errno.ELOOP: "links lead in a circle; mend them, or name the file itself",
    errno.EMFILE: "raise the limit with `ulimit -n`",
    errno.ENFILE: "raise the limit with `ulimit -n`",
    errno.EIO: "the disk or the connection to it fails; copy the file elsewhere, and try again",
    errno.ESTALE: "the disk was unmounted; mount it again",
    errno.ENOMEM: "free memory, or choose smaller batches",
    errno.EBUSY: "another process uses it; try again when that has ended",
    errno.ETXTBSY: "another process uses it; try again when that has ended",
}
_PATH = re.compile(r"(?<![\w.])(?:[a-z0-9]+:/)?/[^\s:;,'\"\])]+")
# What SQLite and ML Metadata say, and what it means.
_METADATA = {
    "file is not a database": "it is no metadata store",
    "disk image is malformed": "it is damaged",
    "unable to open database": "it cannot be opened",
    "readonly database": "it may not be written to",
    "database is locked": "another run is using it",
}


def describe(error: BaseException) -> str:
    """One sentence for an exception: the cause, the path, the way out.

    Args:
        error: Of any kind. Of the exceptions that led to it, the first `RecspanError` counts.
    """
    causes = list(chain(error))
    if own := [each for each in causes if isinstance(each, RecspanError)]:
        return str(own[-1])
    for each in reversed(causes):
        for explain in _EXPLANATIONS:
            if sentence := explain(each):
                return sentence
    return (
        f"{_reason(error)} ({type(error).__name__}). This is a fault of recspan, not of your input; please report it "
        "with the log"
    )


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that led to it, the last one raised first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def write_traceback(error: BaseException, directories: Iterable[Path] | None = None) -> Path | None:
    """Writes an exception with its traceback to a new log.

    Args:
        error: The exception.
        directories: Where the log may lie, the preferred one first; None tries the user's state directory
            (`$XDG_STATE_HOME/recspan`, by default `~/.local/state/recspan`) and the one for temporary files.

    Returns:
        The log; None if no directory can be written to.
    """
    name = f"error-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    text = f"{' '.join(sys.argv)}\n{''.join(traceback.format_exception(error))}"
    for directory in directories or _log_directories():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except (OSError, ValueError):
            continue
        return directory / name
    return None


def _log_directories() -> Iterator[Path]:
    if state := state_directory():
        yield state
    try:
        yield Path(tempfile.gettempdir())
    except OSError:
        return


def _reason(error: BaseException) -> str:
    """The first line of an exception's text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else "no further message"
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."


def _of_metadata(error: BaseException) -> str | None:
    found = next((meaning for text, meaning in _METADATA.items() if text in str(error).lower()), None)
    if found is None:
        return None
    return (
        f"metadata.sqlite below --root: {found}. Wait for the other run if there is one; else move the file away, and "
        "the next run makes a new one and answers nothing from the cache"
    )


def _of_system(error: BaseException) -> str | None:
    """For errors of the operating system, also as TensorFlow and Beam hand them on: as text."""
    if isinstance(error, OSError) and error.errno in _WAYS_OUT:
        code = error.errno
    else:
        text = str(error)
        code = next((each for each in _WAYS_OUT if os.strerror(each) in text), None)
        if code is None or not isinstance(error, OSError | RuntimeError | _tensorflow_errors()):
            return None
    path = _path_of(error)
    return f"{path + ': ' if path else ''}{os.strerror(code).lower()}; {_WAYS_OUT[code]}"


def _path_of(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if isinstance(name, str) and name:
        # The directory to which a path that is too long, or a file inside a file, was to be added.
        return name if len(name) <= _LONGEST_REASON else f"{name[:60]}..."
    found = _PATH.search(str(error))
    return found[0] if found else ""


def _tensorflow_errors() -> type[Exception]:
    """The base of TensorFlow's errors, if TensorFlow has been imported."""
    module = sys.modules.get("tensorflow.python.framework.errors_impl")
    return module.OpError if module else OSError


def _of_memory(error: BaseException) -> str | None:
    if not isinstance(error, MemoryError):
        return None
    return "out of memory; choose smaller batches or tables, or a machine with more memory"


def _of_depth(error: BaseException) -> str | None:
    if not isinstance(error, RecursionError):
        return None
    return "the input is nested too deeply to be read; expected a few levels of keys and lists"


def _of_names(error: BaseException) -> str | None:
    if isinstance(error, ValueError) and "null byte" in str(error):
        return "a path holds a NUL byte, which no file name can have; take it out"
    if isinstance(error, UnicodeEncodeError) and any("\ud800" <= each <= "\udfff" for each in str(error.object)):
        shown = str(error.object)[:60].encode("utf-8", "backslashreplace").decode()
        return f"{shown!r} is not text in UTF-8; write the argument in that encoding"
    return None


_EXPLANATIONS: tuple[Callable[[BaseException], str | None], ...] = (
    _of_memory,
    _of_depth,
    _of_metadata,
    _of_names,
    _of_system,
)
