"""Starts Python programs by forking a process that has TensorFlow, TFX and Beam imported already.

A fresh process spends some fifteen seconds of CPU time on these imports, and the tests start more than a hundred.
`binaries()` is a directory with `python`, `recspan` and `tfx` which behave as those of this environment do, from the
command line to the exit code and signals, but start at once. A started program sees the same directory as that of its
`sys.executable`, so the processes that it starts in turn are forks as well.

Only packages of others are imported before the fork, so a program runs the product's sources that its own PYTHONPATH
names. With `-I` a program is forked from a process that has imported TensorFlow and nothing else.

The servers start at the first call, once per test run, and end with it. Tests of imports, of the environment, and at
least one test of each entry point start a true process with `sys.executable` instead.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_ENVIRONMENT = Path(sys.executable).parent
_SOCKETS = ("isolated", "full")
_BACKLOG = 64


def python() -> str:
    """Path of a `python` that starts programs at once."""
    return str(binaries() / "python")


def recspan(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs the `recspan` command and keeps what it prints.

    Args:
        arguments: Of the command.
        options: Of `subprocess.run`.
    """
    return subprocess.run(recspan_command(python(), *arguments), capture_output=True, text=True, **options)


def recspan_command(interpreter: str, *arguments: str) -> list[str]:
    """The `recspan` command for environments in which the product is not installed."""
    return [interpreter, "-c", "from pipeline.cli import main; main()", *arguments]


@cache
def binaries() -> Path:
    """Directory with `python`, `recspan` and `tfx` that start at once; starts the servers if none of this run do."""
    run, owner = _test_run()
    directory = Path(tempfile.gettempdir(), f"recspan-launcher-{run}")
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "bin").exists():
            _start(directory, owner)
    return directory / "bin"


def _test_run() -> tuple[str, int]:
    """Identifies the test run among all processes of pytest-xdist, and the process that lives as long as it."""
    if run := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        return run, os.getppid()
    return str(os.getpid()), os.getpid()


def _start(directory: Path, owner: int) -> None:
    """Binds the sockets, so that programs can be asked for while the server still imports, and starts the server."""
    sockets = [socket.socket(socket.AF_UNIX) for _ in _SOCKETS]
    for name, listening in zip(_SOCKETS, sockets, strict=True):
        listening.bind(str(directory / name))
        listening.listen(_BACKLOG)
    made = directory / "making"
    made.mkdir()
    client = f"#!{sys.executable} -IS\n" + (_HERE / "client.py").read_text()
    for name in ("python", "recspan", "tfx"):
        (made / name).write_text(client)
        (made / name).chmod(0o755)
    if uv := shutil.which("uv", path=str(_ENVIRONMENT)):
        (made / "uv").symlink_to(uv)
    # Its imports must not find the product, and its libraries must not make threads before the fork.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"TF_USE_LEGACY_KERAS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    descriptors = [listening.fileno() for listening in sockets]
    with (directory / "log.txt").open("w") as log:
        subprocess.Popen(
            [sys.executable, str(_HERE / "server.py"), str(directory), str(owner), *map(str, descriptors)],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=descriptors,
            start_new_session=True,
        )
    for listening in sockets:
        listening.close()
    made.rename(directory / "bin")
