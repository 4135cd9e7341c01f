"""Starts a rehearsal: compiles the experiment if needed, shows progress, prints a report."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from components.pusher.layout import SUMMARY_FILE_NAME
from pipeline.config import Locations, PipelineConfig
from pipeline.console import ComponentProgress, output_to
from pipeline.job_options import Job, new_run_name, parse_parameters, with_parameters
from pipeline.rehearsal.rehearse import Rehearsed, prepare, rehearse
from pipeline.rehearsal.spec import read_job
from pipeline.report import print_report
from pipeline.roots import require_writable, usable_root


def rehearse_experiment(
    config: PipelineConfig, root: Path, data: Path | None, parameters: Sequence[str], answers: Path | None = None
) -> Rehearsed:
    """Compiles an experiment for Vertex AI and rehearses it.

    Args:
        config: The experiment.
        root: Directory of everything that rehearsals write.
        data: Directory of the raw files; None means the experiment's directory for local runs.
        parameters: Runtime parameters as `key=value`.
        answers: Directory with a file for each table that is a query.

    Raises:
        RecspanError: The experiment cannot run on Vertex AI, it cannot be rehearsed, or a task failed.
    """
    locations = Locations.resolve(config, root, data)
    require_writable(locations.root, "--root")
    with output_to(locations.root / "log.txt") as console, ComponentProgress(console) as progress:
        progress.begins("compiling the pipeline")
        from pipeline.synthetic_data import generate_if_missing
        from pipeline.vertex.compile import compile_job

        job = compile_job(config)
        generate_if_missing(config, locations.data)
    read = Path(locations.data) if config.data.reads_files else None
    return _rehearse(job, locations.root, read, parameters, answers)


def rehearse_file(
    file: Path, root: Path, data: Path | None, parameters: Sequence[str], answers: Path | None = None
) -> Rehearsed:
    """Rehearses a compiled pipeline.

    Args:
        file: File that `recspan pipeline compile` wrote.
        root: Directory of everything that rehearsals write.
        data: Directory of the raw files; None if they are in the bucket's directory already.
        parameters: Runtime parameters as `key=value`.
        answers: Directory with a file for each table that is a query.

    Raises:
        RecspanError: The file cannot be rehearsed, or a task failed.
    """
    job = read_job(file)
    root = usable_root(root)
    require_writable(root, "--root")
    return _rehearse(job, root, data, parameters, answers)


def _rehearse(job: Job, root: Path, data: Path | None, parameters: Sequence[str], answers: Path | None) -> Rehearsed:
    with output_to(root / "log.txt") as console:
        prepared = prepare(with_parameters(job, parse_parameters(job, parameters)), root, data, answers)
        for line in prepared.replaced:
            _print_plain(console, f"replaced: {line}")
        run_id = new_run_name(prepared.plan.pipeline_name)
        with ComponentProgress(console) as progress:
            outcome = rehearse(prepared, run_id, progress)
    _report(outcome, prepared.logs(run_id))
    return outcome


def _report(outcome: Rehearsed, logs: Path) -> None:
    """Prints the tables of a local run if the Pusher wrote a summary, else where the model is."""
    summary = Path(outcome.pushed_model.uri, SUMMARY_FILE_NAME) if outcome.pushed_model else None
    if summary and summary.is_file():
        components = [
            {"component": task, "seconds": seconds, "cached": False} for task, seconds in outcome.tasks.items()
        ]
        print_report(json.loads(summary.read_text()) | {"components": components, "log": str(logs)})
    else:
        _print_plain(Console(), f"model: {outcome.pushed_to or 'none was pushed'}\nlog: {logs}")


def _print_plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
