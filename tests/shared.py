"""What takes long to make is made once per test run, although pytest-xdist runs several processes."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def shared_directory(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory that the first process to ask for it fills, while the others wait.

    Args:
        factory: Of the session.
        name: Of the directory, unique among all tests.
        make: Fills the directory; what it leaves there is all that the others get.
    """
    base = factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent
    directory, finished = base / name, base / f"{name}.finished"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            directory.mkdir()
            make(directory)
            finished.touch()
    return directory
