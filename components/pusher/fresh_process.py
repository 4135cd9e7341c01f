"""A new process that holds nothing but TensorFlow, in which a model is verified before it is pushed.

TensorFlow's import takes longer than the verification. The process can therefore be started while the run imports it,
too, and told what to verify once the model is there, while another component judges it. It ends with the process that
started it.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Not imported, because it imports TensorFlow, which this process may not have done yet.
_SCRIPT = Path(__file__).with_name("verify.py")


@dataclass(frozen=True)
class Outcome:
    """How a verification ended.

    Attributes:
        returncode: 0 where the model serves.
        errors: What the process wrote to its standard error.
        report: What was found; None where the model does not serve.
    """

    returncode: int
    errors: str
    report: dict[str, Any] | None


def prepare() -> None:
    """Starts the process that the next verification will use."""
    if not _waiting:
        _waiting.append(_Verification())


def begin(model_dir: str, parity_dir: str) -> None:
    """Begins a verification whose outcome the next call of `run_verification` for this model returns.

    Args:
        model_dir: Local directory of a SavedModel that will not change any more.
        parity_dir: Local directory of the sample and the expected answers.
    """
    _begun.clear()
    _begun[model_dir, parity_dir] = _told(model_dir, parity_dir)


def run_verification(model_dir: str, parity_dir: str) -> Outcome:
    """Runs `verify.py` in a process that has loaded no model yet, unless that was begun already.

    Args:
        model_dir: Local directory of a SavedModel.
        parity_dir: Local directory of the sample and the expected answers.
    """
    begun = _begun.pop((model_dir, parity_dir), None)
    outcome = (begun or _told(model_dir, parity_dir)).outcome()
    # A signal may have come from somebody who wanted memory, and says nothing of the model until it comes again.
    return _told(model_dir, parity_dir).outcome() if begun and outcome.returncode < 0 else outcome


class _Verification:
    """A process that runs `verify.py`."""

    def __init__(self):
        # Removed with this object.
        self._scratch = tempfile.TemporaryDirectory(prefix="verification-")
        self._report = Path(self._scratch.name, "report.json")
        self.process = subprocess.Popen(
            # -I hides the product's packages and the user's site directory from the process.
            [sys.executable, "-I", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        )
        # A run that pushes nothing asks for no outcome. After the directory, so that this comes before its own removal.
        atexit.register(self.end)

    def tell(self, model_dir: str, parity_dir: str) -> None:
        """Says what is to be verified; the process begins.

        Raises:
            BrokenPipeError: The process has ended.
        """
        assert self.process.stdin
        self.process.stdin.write(json.dumps([model_dir, parity_dir, str(self._report)]))
        self.process.stdin.close()

    def outcome(self) -> Outcome:
        """Waits for the end."""
        atexit.unregister(self.end)
        assert self.process.stderr
        with self.process.stderr as stderr:
            errors = stderr.read()
        returncode = self.process.wait()
        report = None if returncode else json.loads(self._report.read_text())
        self._scratch.cleanup()
        return Outcome(returncode, errors, report)

    def end(self) -> None:
        """Gives the process up."""
        atexit.unregister(self.end)
        assert self.process.stdin
        assert self.process.stderr
        self.process.kill()
        # What it was told and has not read is lost with it.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stderr.close()
        self.process.wait()
        self._scratch.cleanup()


def _told(model_dir: str, parity_dir: str) -> _Verification:
    """A process that has been told to verify a model: the one that waits, or a new one if somebody has ended it."""
    waiting = _waiting.pop() if _waiting else _Verification()
    try:
        waiting.tell(model_dir, parity_dir)
    except BrokenPipeError:
        waiting.end()
        waiting = _Verification()
        waiting.tell(model_dir, parity_dir)
    return waiting


_waiting: list[_Verification] = []
_begun: dict[tuple[str, str], _Verification] = {}
