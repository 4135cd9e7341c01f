"""Wires the pipeline, runs it with TFX's local runner and writes the run's summary."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.types import Artifact
from tfx.utils import path_utils

from components.drift.layout import REPORT_FILE as DRIFT_FILE
from components.drift.report import DriftReport
from components.evaluation.comparable import check_comparable
from components.pusher import fresh_process
from components.pusher.layout import SUMMARY_FILE_NAME
from components.run_report.layout import PAGE_FILE
from pipeline import beam_introspection
from pipeline.config import Locations, PipelineConfig
from pipeline.failures import chain, describe
from pipeline.local.artifacts import artifacts_made, judged_model, last_blessed_model
from pipeline.local.killed import fail_killed_executions
from pipeline.local.outcome import ComponentRun, RunOutcome, component_rows, write_summary
from pipeline.local.runner import ObservedLocalRunner
from pipeline.local.stopped import write_stopped
from pipeline.observer import Observer
from pipeline.platforms import local_platform
from pipeline.run_page.write import write_component_page
from pipeline.synthetic_data import generate_if_missing
from pipeline.wiring import create_pipeline
from pipeline.wiring_names import (
    DRIFT_GATE,
    EVALUATOR,
    PUSHER,
    RUN_REPORT,
    STATISTICS_GEN,
    TRAINER,
    TRANSFORM,
)
from trainer_module.errors import Preempted, RecspanError
from trainer_module.export.memory import available_bytes
from trainer_module.export.parity import PARITY_DIRECTORY
from trainer_module.memory import stated

# The Evaluator and the verification hold a model each, and about as much again while they load it.
_COPIES = 4

_log = logging.getLogger(__name__)


def execute(
    config: PipelineConfig, locations: Locations, run_id: str, run_dir: Path, observer: Observer
) -> RunOutcome | None:
    """Runs all components and writes the run's summary.

    Args:
        config: The experiment.
        locations: Where to read and write.
        run_id: Name of the run in the metadata store.
        run_dir: Directory of the run's log and summary.
        observer: Receives the progress, component by component.

    Returns:
        The outcome; None if the `tfx` CLI replaced the runner to read the pipeline's definition.

    Raises:
        DataError: The metadata store is damaged.
        ModelError: The pipeline's last blessed model predicts something else, or is gone.
    """
    generate_if_missing(config, locations.data)
    fail_killed_executions(locations.metadata, locations.root / "artifacts")
    # The Evaluator would say the same, hours later.
    if blessed := last_blessed_model(locations.metadata, config.pipeline_name):
        check_comparable(config.experiment.goals, blessed)
    beam_introspection.remember()
    platform = local_platform(locations, config.pipeline_name, config.beam)

    # Under a budget, the process that verifies is there from the Trainer on. It verifies while the Evaluator judges.
    ahead = {
        TRAINER: fresh_process.prepare,
        EVALUATOR: lambda: _verify_ahead(config, artifacts_made(locations.metadata, runner.finished)),
    }
    runner = ObservedLocalRunner(run_id, observer, ahead, early=_early(config))
    failure = None
    try:
        with stated(config.memory_gb):
            components = runner.run(create_pipeline(config, platform))
    except Exception as error:
        components, failure = runner.finished, error
        if PUSHER not in [run.component for run in components]:
            if runner.failed and not any(isinstance(each, Preempted) for each in chain(error)):
                _leave_page(config, locations, run_dir, runner, error)
            raise
    if components is None:
        return None
    outcome = _write_summary(locations.metadata, run_dir, components)
    try:
        if failure is not None:
            raise failure
        return _with_page(locations.metadata, run_dir, components, outcome)
    except Preempted:
        raise
    except Exception as error:
        raise RecspanError(f"{describe(error)}\nThe run has no report, but {_standing(outcome)}") from error


def _verify_ahead(config: PipelineConfig, made: Mapping[str, Artifact]) -> None:
    """Begins to verify the model that is about to be judged, if memory has room for both; else only prepares it."""
    model = judged_model(made)
    assert model
    model_dir = path_utils.serving_model_path(model.uri)
    size = sum(path.stat().st_size for path in Path(model_dir).rglob("*") if path.is_file())
    if config.memory_gb is None and _COPIES * size < available_bytes():
        fresh_process.begin(model_dir, os.path.join(model.uri, PARITY_DIRECTORY))
    else:
        fresh_process.prepare()


def _early(config: PipelineConfig) -> tuple[str, ...]:
    """What the local runner begins early: Transform, while statistics are made and judged.

    Most data pass, and nothing reads Transform's output before they have. A budget of memory is for one component at a
    time, and two jobs on a cluster may wait for each other's slots.
    """
    on_this_machine = all(config.beam.of(each).runner == "local" for each in (STATISTICS_GEN, TRANSFORM))
    return (TRANSFORM,) if on_this_machine and config.memory_gb is None else ()


def _leave_page(
    config: PipelineConfig, locations: Locations, run_dir: Path, runner: ObservedLocalRunner, error: Exception
) -> None:
    """Writes the page of a run that a component has stopped. If it cannot be written, the error says so, too."""
    assert runner.failed
    try:
        write_stopped(config, locations, run_dir, runner.finished, runner.failed, error)
    except Exception as failure:
        _log.error("the report of the stopped run was not written", exc_info=failure)
        error.add_note(f"The run has no report: {describe(failure)}")


def _standing(outcome: RunOutcome) -> str:
    """What holds although the report failed."""
    if outcome.pushed_to:
        return f"its model is pushed to {outcome.pushed_to}"
    return f"its verdict stands: not pushed, {outcome.summary['blessing']['reason']}"


def _with_page(metadata: Path, run_dir: Path, components: list[ComponentRun], outcome: RunOutcome) -> RunOutcome:
    """Writes the run's page, and where it lies into the run's summary."""
    (report,) = [run for run in components if run.component == RUN_REPORT]
    summary = outcome.summary | {"page": os.path.join(_output_uri(metadata, report.execution_id), PAGE_FILE)}
    write_component_page(summary, run_dir)
    write_summary(run_dir, summary)
    return RunOutcome(summary, outcome.pushed_to)


def _write_summary(metadata: Path, run_dir: Path, components: list[ComponentRun]) -> RunOutcome:
    """Writes `summary.json` to the run's directory and, if this run pushed a model, next to the model."""
    (pusher,) = [run for run in components if run.component == PUSHER]
    summary = json.loads(Path(_output_uri(metadata, pusher.execution_id), SUMMARY_FILE_NAME).read_text())
    summary["components"] = component_rows(components)
    summary["log"] = str(run_dir / "log.txt")
    if gate := next((run for run in components if run.component == DRIFT_GATE), None):
        report = Path(_output_uri(metadata, gate.execution_id), DRIFT_FILE).read_text()
        summary["drift"] = DriftReport.model_validate_json(report).as_summary()
    write_summary(run_dir, summary)
    if "pushed_to" not in summary:
        return RunOutcome(summary, None)
    pushed_to = Path(summary["pushed_to"])
    beside_model = pushed_to / SUMMARY_FILE_NAME
    # A run that was killed after its push has not come to this.
    if not pusher.cached or "components" not in json.loads(beside_model.read_text()):
        write_summary(pushed_to, summary)
    return RunOutcome(summary, pushed_to)


def _output_uri(metadata: Path, execution_id: int) -> str:
    """Returns the URI of the only output artifact of an execution."""
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(metadata)))
    events = store.get_events_by_execution_ids([execution_id])
    (output,) = [event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    (artifact,) = store.get_artifacts_by_id([output])
    return artifact.uri
