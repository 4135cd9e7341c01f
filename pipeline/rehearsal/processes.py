"""Containers as processes."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer_module import KERAS_SWITCH
from trainer_module.errors import RecspanError

_PRODUCT = Path(__file__).parents[2]
_LAST_LINES = 12
# Linux takes no longer argument, here or in a container (MAX_ARG_STRLEN).
_LONGEST_ARGUMENT = 131_071


def image_environment(home: Path) -> dict[str, str]:
    """What the product's images set: this Python, this product, and nothing of the user's.

    Args:
        home: Directory of the container's user.
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
    """Runs a command to its end.

    Args:
        command: The container's.
        environment: All that it sees of this one.
        directory: Where it runs.
        log: Gets what it prints, after what is there.

    Raises:
        RecspanError: It failed, or it cannot be started; the message ends with its last lines and the log's path.
    """
    if (longest := max(len(word.encode()) for word in command)) > _LONGEST_ARGUMENT:
        raise RecspanError(
            f"an argument of its command has {longest:,} bytes, and Linux takes {_LONGEST_ARGUMENT:,}: the component's "
            "parameters are too long to be handed to any container"
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
        raise RecspanError(f"its command ended with {ended}:\n{last_lines(log)}\n(log: {log})")


def last_lines(log: Path) -> str:
    """The end of a log, without empty lines."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])
