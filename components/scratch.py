"""Directories for files that are not finished yet, beside the place that they are for."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ATTEMPTS = 3
_open: set[Path] = set()


@contextmanager
def scratch_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """Makes a directory that is removed at the end, and removes those that killed processes left there.

    Args:
        parent: Where it is made, so that finished files can be moved from it by renaming.
        prefix: Begins its name.
    """
    for left in parent.glob(f"{prefix}*"):
        with _locked(left) as is_free:
            if is_free:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as name, _locked(directory := Path(name)):
        _open.add(directory)
        try:
            yield directory
        finally:
            _open.remove(directory)


def remove_open() -> None:
    """Removes all such directories of this process, which is about to end while other threads still work."""
    for directory in list(_open):
        # Under another name, threads find no place for further files, however fast they write.
        gone = directory.with_name(f"{directory.name}.gone")
        try:
            directory.rename(gone)
        except FileNotFoundError:
            continue
        # Again, as a thread may just have been making one.
        for _ in range(_ATTEMPTS):
            shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Locks a directory as long as this process lives, and yields whether no other process or user holds it."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
