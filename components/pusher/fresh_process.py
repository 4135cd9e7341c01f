"""A new process that holds nothing but TensorFlow, in which a model is verified before it is pushed.

TensorFlow's import takes longer than the verification. The process can therefore be started while an earlier component
works; it waits until it is told what to verify, and ends with the process that started it.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from components.pusher import verify

_waiting: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Outcome:
    """How a verification ended.

    Attributes:
        returncode: 0 where the model serves.
        errors: What the process wrote to its standard error.
    """

    returncode: int
    errors: str


def prepare() -> None:
    """Starts the process that the next call of `run_verification` will use."""
    if not _waiting:
        _waiting.append(_start())


def run_verification(model_dir: str, parity_dir: str, report: str) -> Outcome:
    """Runs `verify.py` in a process that has loaded no model yet; its report goes to a file.

    Args:
        model_dir: Local directory of a SavedModel.
        parity_dir: Local directory of the sample and the expected answers.
        report: Path of the report.
    """
    process = _waiting.pop() if _waiting else _start()
    if process.poll() is not None:
        # Somebody has ended it while it waited.
        process.communicate()
        process = _start()
    _, errors = process.communicate(json.dumps([model_dir, parity_dir, report]))
    return Outcome(process.returncode, errors)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        # -I hides the product's packages and the user's site directory from the process.
        [sys.executable, "-I", verify.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
