"""Runs the pipeline on this machine and writes the run's summary."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from components.example_gen.config import GeneratedClicks
from components.example_gen.generated.clicks import write_synthetic_criteo
from components.example_gen.generated.ratings import write_synthetic
from components.pusher.layout import SUMMARY_FILE_NAME
from pipeline.config import Locations, PipelineConfig
from pipeline.local.observer import Observer
from pipeline.local.run import RunOutcome
from pipeline.local.runner import ComponentRun, ObservedLocalRunner
from pipeline.platforms import local_platform
from pipeline.wiring import PUSHER, create_pipeline
from trainer_module.data.datasets.criteo import SYNTHETIC_CRITEO
from trainer_module.data.datasets.movielens import SYNTHETIC
from trainer_module.errors import ModelError

# Those of MovieLens 100K.
DEFAULT_SIZES = {"num_ratings": 100_000, "num_users": 943, "num_items": 1682}


def execute(
    config: PipelineConfig, locations: Locations, run_id: str, run_dir: Path, observer: Observer
) -> RunOutcome | None:
    """Runs all components and writes the run's summary.

    Args:
        config: The experiment.
        locations: Where to read and write.
        run_id: In the metadata store.
        run_dir: Holds the run's log and summary.
        observer: Is told of each component.

    Returns:
        The outcome; None if the runner was only asked for the pipeline's definition.

    Raises:
        ModelError: All was answered from the cache, but the model pushed then is gone.
    """
    generate_if_missing(config, locations.data)
    platform = local_platform(locations, config.pipeline_name)
    components = ObservedLocalRunner(run_id, observer).run(create_pipeline(config, platform))
    return components and _finish(locations.metadata, run_dir, components)


def generate_if_missing(config: PipelineConfig, data_dir: str) -> None:
    """Writes a generated dataset, if that is the dataset and there is none yet."""
    if config.data.dataset == SYNTHETIC_CRITEO.name:
        generated = config.data.generated or GeneratedClicks()
        write_synthetic_criteo(Path(data_dir), generated.rows, generated.seed)
    if config.data.dataset == SYNTHETIC.name and not Path(data_dir).exists():
        write_synthetic(Path(data_dir), **DEFAULT_SIZES, seed=0)


def _finish(metadata: Path, run_dir: Path, components: list[ComponentRun]) -> RunOutcome:
    """Writes `summary.json` to the run's directory and, if this run pushed, beside the pushed model."""
    (pusher,) = [run for run in components if run.component == PUSHER]
    summary = json.loads(Path(_output_uri(metadata, pusher.execution_id), SUMMARY_FILE_NAME).read_text())
    summary["components"] = [
        {"component": run.component, "seconds": round(run.seconds, 2), "cached": run.cached} for run in components
    ]
    summary["log"] = str(run_dir / "log.txt")
    _write_atomically(run_dir / SUMMARY_FILE_NAME, summary)
    if "pushed_to" not in summary:
        return RunOutcome(summary, None)
    pushed_to = Path(summary["pushed_to"])
    if not pushed_to.is_dir():
        raise ModelError(
            f"this run was answered from the cache, but the model that it pushed then, {pushed_to}, is gone; "
            "run again with --no-cache"
        )
    if not pusher.cached:
        _write_atomically(pushed_to / SUMMARY_FILE_NAME, summary)
    return RunOutcome(summary, pushed_to)


def _output_uri(metadata: Path, execution_id: int) -> str:
    """Where the one output artifact of an execution lies."""
    store = mlmd.MetadataStore(tfx.orchestration.metadata.sqlite_metadata_connection_config(str(metadata)))
    events = store.get_events_by_execution_ids([execution_id])
    (output,) = [event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
    (artifact,) = store.get_artifacts_by_id([output])
    return artifact.uri


def _write_atomically(path: Path, content: dict[str, Any]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(content, file, indent=2)
    os.chmod(name, 0o644)
    os.replace(name, path)
