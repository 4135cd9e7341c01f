"""A small experiment, the command that runs it, and the comparison of what two runs pushed."""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests import launcher

PROJECT = Path(__file__).parents[3]
ROWS, USERS, ITEMS = 3000, 50, 20
EXPERIMENT = """
name: small
data:
  interactions: {files: clicks.csv, user: user, item: item, label: clicked, numeric: [price]}
  task: click
model: {type: dcn, mlp: [8], crosses: 1}
training: {epochs: 3, batch_size: 256}
evaluation: {beat_baseline: false}
"""
# What a summary says of the machine and the moment, not of the data and the model.
_VOLATILE = {
    *("push", "components", "log", "checkpoint", "examples", "transform_graph", "resumed_at", "seconds"),
    *("examples_per_second", "input_bound_percent", "resident_bytes", "forecast_bytes", "peak_bytes", "saved_bytes"),
}
_TIMEOUT = 900


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: Its exit code; negative if a signal ended it.
        output: What it printed.
        errors: What it printed on stderr.
    """

    code: int
    output: str
    errors: str


class Site:
    """A directory with the experiment, its data and a root.

    Attributes:
        directory: The directory.
        root: Where runs leave their results.
    """

    def __init__(self, directory: Path):
        """Writes the experiment and its data."""
        directory.mkdir(parents=True)
        self.directory, self.root = directory, directory / "runs"
        (directory / "small.yaml").write_text(EXPERIMENT)
        random = np.random.default_rng(0)
        users, items = random.integers(USERS, size=ROWS), random.integers(ITEMS, size=ROWS)
        clicked = random.random(ROWS) < np.where(items % 2 == 0, 0.8, 0.2)
        rows = zip(users, items, clicked.astype(int), random.random(ROWS), strict=True)
        lines = [f"u{user},i{item},{click},{price:.2f}" for user, item, click, price in rows]
        (directory / "clicks.csv").write_text("\n".join(["user,item,clicked,price", *lines]) + "\n")

    def run(
        self,
        *arguments: str,
        root: Path | None = None,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] = {},
        stop: Callable[["Running"], None] | None = None,
    ) -> Ended:
        """Runs the pipeline.

        Args:
            arguments: More of them for `recspan pipeline run`.
            root: Another root.
            prefix: Words before the command, which then imports everything itself, as a user's does.
            environment: Variables to set.
            stop: Called when it has started, in a thread; may kill it.
        """
        binaries = Path(sys.executable).parent if prefix else launcher.binaries()
        command = [*prefix, str(binaries / "recspan"), "pipeline", "run", "--config", "small.yaml"]
        process = subprocess.Popen(
            [*command, "--root", str(root or self.root), *arguments],
            cwd=self.directory,
            env=os.environ | {"PYTHONPATH": str(PROJECT)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Running(process, self)
        if stop:
            threading.Thread(target=stop, args=(running,), daemon=True).start()
        return running.wait()

    def pushed(self) -> list[str]:
        """The pushed versions."""
        serving = self.root / "serving" / "small"
        return sorted(path.name for path in serving.iterdir()) if serving.is_dir() else []

    def save(self, name: str) -> None:
        """Keeps a copy of the root."""
        shutil.rmtree(self.directory / name, ignore_errors=True)
        shutil.copytree(self.root, self.directory / name, symlinks=True)

    def restore(self, name: str | None) -> None:
        """Puts a copy in the root's place; None empties it."""
        shutil.rmtree(self.root, ignore_errors=True)
        if name:
            shutil.copytree(self.directory / name, self.root, symlinks=True)

    def result(self) -> "Result":
        """What the only pushed version predicts and says."""
        (version,) = self.pushed()
        directory = self.root / "serving" / "small" / version
        summary = json.loads((directory / "summary.json").read_text())
        if "components" not in summary:
            raise AssertionError("the summary beside the model is not that of the whole run")
        return Result(version, _lasting(summary), predictions(directory))

    def leftovers(self) -> list[str]:
        """What should not be there after a run."""
        patterns = ("tmp/*", "serving/*/.*", "serving/*/*/*.tmp", "runs/*/*.tmp", "artifacts/*/*/.system")
        return [str(path.relative_to(self.root)) for pattern in patterns for path in self.root.glob(pattern)]


class Running:
    """A command under way.

    Attributes:
        lines: What it printed on stdout so far.
    """

    def __init__(self, process: subprocess.Popen, site: Site):
        self.process, self.site = process, site
        self.lines: list[str] = []
        self._printed = threading.Condition()
        self._readers = []

    def wait(self) -> Ended:
        """Waits for its end."""
        errors: list[str] = []
        self._read(self.process.stdout, self.lines)
        self._read(self.process.stderr, errors)
        self.process.wait(timeout=_TIMEOUT)
        for reader in self._readers:
            reader.join(timeout=30)
        return Ended(self.process.returncode, "".join(self.lines), "".join(errors))

    def wait_for(self, text: str) -> bool:
        """Waits for a line that begins with a text; False if the command ends before."""
        with self._printed:
            while not any(line.startswith(text) for line in self.lines):
                if self.process.poll() is not None:
                    return False
                self._printed.wait(0.1)
        return True

    def wait_until(self, holds: Callable[[], bool]) -> bool:
        """Waits for a condition; False if the command ends before."""
        while not holds():
            if self.process.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    def _read(self, stream, lines: list[str]) -> None:
        def read() -> None:
            for line in stream:
                with self._printed:
                    lines.append(line)
                    self._printed.notify_all()

        self._readers.append(threading.Thread(target=read, daemon=True))
        self._readers[-1].start()


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        version: The pushed version's name.
        summary: Its summary, without what differs from run to run.
        predictions: Bytes of what it predicts for known and unknown users and items.
    """

    version: str
    summary: Any
    predictions: bytes


def predictions(model: Path) -> bytes:
    """What a pushed model predicts for every pair of users and items, and for unknown ones."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    users = [f"u{number}" for number in range(USERS + 3)]
    items = [f"i{number}" for number in range(ITEMS + 3)]
    pairs = [(user, item) for user in users for item in items]
    signature = tf.saved_model.load(str(model)).signatures["predict"]
    answer = signature(
        user=tf.constant([user for user, _ in pairs]),
        item=tf.constant([item for _, item in pairs]),
        price=tf.linspace(0.0, 1.0, len(pairs)),
    )
    return answer["probability"].numpy().tobytes()


def same(one: Any, other: Any) -> bool:
    """Whether two parts of summaries are equal, metrics but for their last digits.

    Beam cuts the Evaluator's input into batches by the speed of the machine, so sums have another order in each run.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6)
    return one == other


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key not in _VOLATILE}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value
