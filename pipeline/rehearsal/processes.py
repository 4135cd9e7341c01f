"""Runs the commands of containers as local processes."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer_module import KERAS_SWITCH
from trainer_module.errors import RecspanError

_PRODUCT = Path(__file__).parents[2]
_NUM_LAST_LINES = 12
# Limit of Linux for one argument (MAX_ARG_STRLEN), also in a container.
_MAX_ARGUMENT_BYTES = 131_071


def image_environment(home: Path) -> dict[str, str]:
    """Returns the environment variables of the product's images, with this Python and this product.

    Args:
        home: Home directory of the container's user.
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "PYTHONPATH": str(_PRODUCT),
        "PYTHONUNBUFFERED": "1",
        KERAS_SWITCH: "1",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
    }


def run(command: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path) -> None:
    """Runs a command and waits for its end.

    Args:
        command: Command of the container.
        environment: All environment variables of the process.
        directory: Working directory.
        log: File to which the output is appended.

    Raises:
        RecspanError: The command failed or cannot be started; the message ends with the last lines and the log's path.
    """
    if (longest := max(len(word.encode()) for word in command)) > _MAX_ARGUMENT_BYTES:
        raise RecspanError(
            f"an argument of the command has {longest:,} bytes, and Linux allows {_MAX_ARGUMENT_BYTES:,}, in a "
            "container too; shorten the component's parameters"
        )
    with log.open("ab") as output:
        process = subprocess.run(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if process.returncode:
        ended = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise RecspanError(f"the command ended with {ended}:\n{last_lines(log)}\n(log: {log})")


def last_lines(log: Path) -> str:
    """Returns the last lines of a log, without empty lines."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_NUM_LAST_LINES:])
