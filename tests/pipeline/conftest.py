"""Runs the `recspan` command within the process of a test, which saves the imports of a new process.

Tests of entry points start a process of their own instead (`tests.launcher`).
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main


@pytest.fixture
def command_line(capfd, monkeypatch) -> Callable[..., subprocess.CompletedProcess]:
    """Returns a function that runs `recspan ARGUMENTS` in a directory and captures the exit code and the output."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["recspan", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return subprocess.CompletedProcess(arguments, end.value.code, *capfd.readouterr())

    return run
