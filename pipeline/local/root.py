"""The directory of a local run: used by one run at a time, and cleared of what killed runs left there."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer_module.errors import ConfigError

TEMPORARY = "tmp"

_LOCK = "lock"
_TEMPORARY_VARIABLE = "TMPDIR"
# What a killed run may leave beside its results, each under a name that no result has: temporary files, copies of
# models that were not published yet, summaries that were not renamed yet, TFX's directories of executions.
_LEFTOVERS = (
    TEMPORARY,
    "serving/*/.incoming-*",
    "serving/*/*/*.tmp",
    "runs/*/*.tmp",
    "artifacts/*/*/.system",
    "artifacts/*/.files/*.tmp",
)


@contextmanager
def occupied(root: Path, run_id: str) -> Iterator[None]:
    """Keeps other runs out of a root, and this run's temporary files in it.

    Runs of one root share its metadata store and the states of trainings, which two runs at once would spoil. What
    earlier runs left is removed at the beginning; temporary files of this run are removed at its end.

    Args:
        root: Made if it is missing.
        run_id: Name of the run.

    Raises:
        ConfigError: Another run is using the root, or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / _LOCK).open("a+")
    except OSError as error:
        raise ConfigError(f"--root {root}: cannot be written ({error.strerror}); name another directory") from error
    with lock:
        _take(lock, root, run_id)
        clear(root)
        temporary = root / TEMPORARY / run_id
        temporary.mkdir(parents=True)
        before = os.environ.get(_TEMPORARY_VARIABLE)
        _set_temporary_directory(str(temporary))
        try:
            yield
        finally:
            _set_temporary_directory(before)
            clear(root)


def clear(root: Path) -> None:
    """Removes what runs leave below a root apart from their results; no run may be using it."""
    for pattern in _LEFTOVERS:
        for path in root.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _take(lock, root: Path, run_id: str) -> None:
    """Locks the file until this process ends, however it ends, and writes down which run it is."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise ConfigError(
            f"--root {root}: another run is using it ({lock.read().strip()}); wait for its end, or name another root"
        ) from None
    lock.truncate(0)
    lock.write(f"run {run_id}, process {os.getpid()}")
    lock.flush()


def _set_temporary_directory(path: str | None) -> None:
    if path is None:
        os.environ.pop(_TEMPORARY_VARIABLE, None)
    else:
        os.environ[_TEMPORARY_VARIABLE] = path
    # Python reads the variable once.
    tempfile.tempdir = None
