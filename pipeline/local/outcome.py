"""Results of a local run."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.pusher.layout import SUMMARY_FILE_NAME
from trainer_module.memory import GIGABYTE


@dataclass(frozen=True)
class ComponentRun:
    """One component of a finished run.

    Attributes:
        component: Id of the component in the pipeline.
        seconds: Wall-clock time, including TFX's driver and publisher.
        cached: Whether the outputs of an earlier execution were reused.
        execution_id: Id of the execution in the metadata store.
        peak_bytes: Peak resident memory of the process while the component ran, with what ran beside it.
        begun: Seconds after the run's first component. Components may run beside each other.
    """

    component: str
    seconds: float
    cached: bool
    execution_id: int
    peak_bytes: int
    begun: float


@dataclass(frozen=True)
class FailedComponent:
    """The component in which a run ended before its end.

    Attributes:
        component: Id of the component in the pipeline.
        seconds: Wall-clock time until it failed.
        peak_bytes: Peak resident memory of the process while the component ran, with what ran beside it.
        begun: Seconds after the run's first component.
    """

    component: str
    seconds: float
    peak_bytes: int
    begun: float


@dataclass(frozen=True)
class RunOutcome:
    """Result of a whole run.

    Attributes:
        summary: Content of the run's `summary.json`.
        pushed_to: Directory of the pushed version; None if the model was not pushed.
    """

    summary: dict[str, Any]
    pushed_to: Path | None


def component_rows(finished: Sequence[ComponentRun], failed: FailedComponent | None = None) -> list[dict[str, Any]]:
    """The components of a run as its summary lists them.

    Args:
        finished: In the order in which they ran.
        failed: The one after them that ended the run; None if the run came to its end.
    """
    rows = [_row(each, each.cached) for each in finished]
    return rows + ([_row(failed, False) | {"stopped": True}] if failed else [])


def write_summary(directory: Path, summary: dict[str, Any], name: str = SUMMARY_FILE_NAME) -> None:
    """Writes a file of JSON, which appears complete or not at all."""
    handle, partial = tempfile.mkstemp(dir=directory, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(summary, file, indent=2)
    os.chmod(partial, 0o644)
    os.replace(partial, directory / name)


def _row(run: ComponentRun | FailedComponent, cached: bool) -> dict[str, Any]:
    return {
        "component": run.component,
        "seconds": round(run.seconds, 2),
        "begun": round(run.begun, 2),
        "cached": cached,
        "peak_memory_gb": round(run.peak_bytes / GIGABYTE, 3),
    }
