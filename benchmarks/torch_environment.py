"""The benchmarks' own environment for what the product does not depend on: PyTorch and Polars."""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-benchmark" / "bin" / "python"
TORCH = "2.13.0"
_PACKAGES = (f"torch=={TORCH}", "numpy", "polars==2.1.0")
_CHECK = f"import numpy, polars, torch; assert torch.__version__.startswith({TORCH!r})"


class ContenderFailed(Exception):
    """The process of a contender failed."""


def make_environment() -> None:
    """Makes the environment, if it is missing or incomplete."""
    if PYTHON.exists() and not subprocess.run([PYTHON, "-c", _CHECK], stderr=subprocess.DEVNULL).returncode:
        return
    venv.create(PYTHON.parent.parent, with_pip=True, clear=True)
    run([str(PYTHON), "-m", "pip", "install", "--quiet", *_PACKAGES])


def run(command: Sequence[str]) -> str:
    """Runs a process in the project's directory and returns its standard output.

    Raises:
        ContenderFailed: The process failed; the message contains the end of its standard error.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ContenderFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout
