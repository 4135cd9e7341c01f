"""`recspan bench data`: seconds, rows per second and peak memory of each component, in a directory of its own."""

from pathlib import Path
from typing import Any

from pipeline.bench.components import Outputs, run_until
from pipeline.config import Locations, PipelineConfig
from pipeline.observer import Observer
from trainer_module.memory import GIGABYTE

# Components that look at no rows take no longer than this, and a rate of theirs would say nothing.
_LOOKS_AT_ROWS = ("ExampleGen", "StatisticsGen", "Transform", "Trainer", "RetrievalIndex", "Evaluator")


def measure(
    config: PipelineConfig, data: str, until: str, scratch: Path, observer: Observer
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Runs the components up to one in a new root.

    Args:
        config: The experiment.
        data: Directory or URI of the raw files.
        until: Id of the last component.
        scratch: An empty directory.
        observer: Receives the progress.

    Returns:
        A row for each component, and what holds for all.
    """
    outputs = run_until(config, Locations(data, scratch), until, observer)
    return rows(outputs), {"rows": outputs.num_rows}


def rows(outputs: Outputs) -> list[dict[str, Any]]:
    """A row for each component, and one for all."""
    measured = [
        {
            "component": run.component,
            "seconds": run.seconds,
            "rows_per_second": outputs.num_rows / run.seconds if run.component in _LOOKS_AT_ROWS else None,
            "peak_memory_gb": run.peak_bytes / GIGABYTE,
        }
        for run in outputs.runs
    ]
    seconds = sum(run.seconds for run in outputs.runs)
    peak = max(run.peak_bytes for run in outputs.runs) / GIGABYTE
    whole = {"component": "all", "seconds": seconds, "rows_per_second": outputs.num_rows / seconds}
    return [*measured, {**whole, "peak_memory_gb": peak}]
