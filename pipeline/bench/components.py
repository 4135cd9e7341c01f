"""Runs the first components of an experiment's pipeline, and what is known of their outputs."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline

from components.example_gen.rows import SPLITS
from pipeline import beam_introspection
from pipeline.config import Locations, PipelineConfig
from pipeline.local.killed import fail_killed_executions
from pipeline.local.outcome import ComponentRun
from pipeline.local.runner import ObservedLocalRunner
from pipeline.observer import Observer
from pipeline.platforms import local_platform
from pipeline.synthetic_data import generate_if_missing
from pipeline.wiring import create_pipeline, eval_splits
from trainer_module.errors import ConfigError
from trainer_module.memory import stated

EXAMPLES, TRANSFORM_GRAPH = "examples", "transform_graph"


@dataclass(frozen=True)
class Outputs:
    """What the first components have made.

    Attributes:
        runs: One for each component.
        uris: Directories by the output's name, `examples` and `transform_graph` among them.
        num_rows: Of all splits.
    """

    runs: tuple[ComponentRun, ...]
    uris: dict[str, str]
    num_rows: int


def run_until(config: PipelineConfig, locations: Locations, last: str, observer: Observer) -> Outputs:
    """Runs a component and all that it needs.

    Args:
        config: The experiment.
        locations: Where to read and write; what earlier runs there made is taken from the cache.
        last: Id of the component, as in `Transform`.
        observer: Receives the progress.

    Raises:
        ConfigError: The pipeline has no such component, or a Beam job is to run on Dataflow.
    """
    generate_if_missing(config, locations.data)
    fail_killed_executions(locations.metadata, locations.root / "artifacts")
    beam_introspection.remember()
    whole = create_pipeline(config, local_platform(locations, config.pipeline_name, config.beam))
    only = {component.id for component in needed_for(last, whole)}
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    with stated(config.memory_gb):
        runs = ObservedLocalRunner(run_id, observer, only=only).run(whole)
    assert runs is not None
    return _outputs(locations, runs)


def trainer_arguments(config: PipelineConfig, outputs: Outputs, scratch: Path) -> dict[str, Any]:
    """What TFX would call the Trainer with, as arguments of `FnArgs`, for trainings whose models are not kept.

    Args:
        config: The experiment.
        outputs: Of its components up to Transform.
        scratch: Directory for files that training writes.
    """
    splits = eval_splits(config.dataset)

    def files(split: str) -> str:
        return os.path.join(outputs.uris[EXAMPLES], f"Split-{split}", "*")

    return {
        "train_files": [files("train")],
        "eval_files": [files(split) for split in splits],
        "transform_output": outputs.uris[TRANSFORM_GRAPH],
        "custom_config": {
            "eval_splits": splits,
            "experiment": config.without_local_paths().experiment.model_dump_json(),
            "checkpoints": str(scratch),
        },
    }


def needed_for(last: str, pipeline: Pipeline) -> list[BaseComponent]:
    """A component with all that it depends on, in the order of the pipeline.

    Raises:
        ConfigError: The pipeline has no such component.
    """
    by_id = {component.id: component for component in pipeline.components}
    if last not in by_id:
        raise ConfigError(f"--until {last}: no such component; known: {', '.join(by_id)}")
    needed, waiting = set(), [by_id[last]]
    while waiting:
        component = waiting.pop()
        if component.id not in needed:
            needed.add(component.id)
            waiting += component.upstream_nodes
    return [component for component in pipeline.components if component.id in needed]


def _outputs(locations: Locations, runs: list[ComponentRun]) -> Outputs:
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(locations.metadata)))
    events = store.get_events_by_execution_ids([run.execution_id for run in runs])
    names = {
        event.artifact_id: event.path.steps[0].key for event in events if event.type == metadata_store_pb2.Event.OUTPUT
    }
    artifacts = store.get_artifacts_by_id(list(names))
    (examples,) = [artifact for artifact in artifacts if names[artifact.id] == EXAMPLES]
    counts = [examples.custom_properties[f"rows_{split}"].int_value for split in SPLITS]
    return Outputs(tuple(runs), {names[artifact.id]: artifact.uri for artifact in artifacts}, sum(counts))
