"""Results of a local run."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.pusher.layout import SUMMARY_FILE_NAME


@dataclass(frozen=True)
class ComponentRun:
    """One component of a finished run.

    Attributes:
        component: Id of the component in the pipeline.
        seconds: Wall-clock time, including TFX's driver and publisher.
        cached: Whether the outputs of an earlier execution were reused.
        execution_id: Id of the execution in the metadata store.
        peak_bytes: Peak resident memory of the process while the component ran.
    """

    component: str
    seconds: float
    cached: bool
    execution_id: int
    peak_bytes: int


@dataclass(frozen=True)
class RunOutcome:
    """Result of a whole run.

    Attributes:
        summary: Content of the run's `summary.json`.
        pushed_to: Directory of the pushed version; None if the model was not pushed.
    """

    summary: dict[str, Any]
    pushed_to: Path | None


def write_summary(directory: Path, summary: dict[str, Any]) -> None:
    """Writes `summary.json`, which appears complete or not at all."""
    handle, name = tempfile.mkstemp(dir=directory, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(summary, file, indent=2)
    os.chmod(name, 0o644)
    os.replace(name, directory / SUMMARY_FILE_NAME)
