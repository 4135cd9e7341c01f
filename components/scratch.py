"""Directories for files that are not finished yet, beside the place that they are for."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as name, _locked(Path(name)):
        yield Path(name)


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Locks a directory as long as this process lives, and yields whether no other process has locked it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
