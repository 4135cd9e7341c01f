"""The product as a user has it: a directory, the command, and sources that a test may edit."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests import launcher

PROJECT = Path(__file__).parent.parent
BINARIES = Path(sys.executable).parent
NOT_PUSHED = 3
PREEMPTED = 75


@dataclass(frozen=True)
class Workspace:
    """A directory as a user has one, with a copy of the product's sources that may be edited."""

    directory: Path

    @classmethod
    def create(cls, directory: Path, experiment: str) -> "Workspace":
        """Copies the sources and writes the experiment to `small.yaml`; its `name` must be `small`."""
        workspace = cls(directory)
        for room in ("trainer_module", "components", "pipeline", "schema"):
            shutil.copytree(PROJECT / room, workspace.sources / room, ignore=shutil.ignore_patterns("__pycache__"))
        # Python imports a module of this name when it starts.
        shutil.copy(PROJECT / "tests" / "no_network.py", workspace.sources / "sitecustomize.py")
        (directory / "temporary").mkdir()
        (directory / "small.yaml").write_text(experiment)
        return workspace

    @property
    def sources(self) -> Path:
        return self.directory / "sources"

    @property
    def network_log(self) -> Path:
        """Has a line for each attempt of a program to reach another machine."""
        return self.directory / "network.txt"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(self.sources),
            "RECSPAN_CONFIG": str(self.directory / "small.yaml"),
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory / "temporary"),
            "RECSPAN_TEST_NETWORK_LOG": str(self.network_log),
            # Every run imports the copied sources.
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def recspan(self, *arguments: str, fresh: bool = False) -> subprocess.CompletedProcess:
        """Runs the command.

        Args:
            arguments: Of the command.
            fresh: Whether it imports everything itself, as a user's command does, instead of being a fork.
        """
        return self.call(str((BINARIES if fresh else launcher.binaries()) / "recspan"), *arguments)

    def run(self, *arguments: str, fresh: bool = False) -> tuple[subprocess.CompletedProcess, dict]:
        """Runs the pipeline; returns the process and the run's summary."""
        process = self.recspan("pipeline", "run", "--config", "small.yaml", *arguments, fresh=fresh)
        last = max((self.directory / "runs" / "runs").iterdir())
        summary = last / "summary.json"
        return process, json.loads(summary.read_text()) if summary.is_file() else {}

    def stop_in_training(self, *arguments: str) -> str:
        """Runs the pipeline and sends it SIGTERM after the first checkpoint; returns its last words."""
        process = subprocess.Popen(
            [str(launcher.binaries() / "recspan"), "pipeline", "run", "--config", "small.yaml", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        checkpoints = self.directory / "runs" / "checkpoints" / "small"
        while process.poll() is None and not list(checkpoints.glob("*/checkpoint")):
            time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == PREEMPTED, errors
        return errors

    def call(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=600
        )

    def artifact(self, component: str, output: str) -> Path:
        """Where the newest output of a component lies."""
        versions = (self.directory / "runs" / "artifacts" / "small" / component / output).iterdir()
        return max(versions, key=lambda path: int(path.name))

    def pushed(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "runs" / "serving" / "small").iterdir())
