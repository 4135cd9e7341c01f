"""What the components of a run have made, found in the metadata store."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.components.evaluator import constants
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.types import Artifact, artifact_utils

from pipeline.local.outcome import ComponentRun
from pipeline.wiring_names import (
    DRIFT_GATE,
    EVALUATOR,
    EXAMPLE_GEN,
    EXAMPLE_VALIDATOR,
    STATISTICS_GEN,
    TRAINER,
    TRANSFORM,
)

# Names of artifacts, the component that makes each, and the key of its output.
_SOURCES = (
    ("examples", EXAMPLE_GEN, "examples"),
    ("statistics", STATISTICS_GEN, "statistics"),
    ("anomalies", EXAMPLE_VALIDATOR, "anomalies"),
    ("drift", DRIFT_GATE, "drift"),
    ("transform_graph", TRANSFORM, "transform_graph"),
    ("model_run", TRAINER, "model_run"),
    ("trained_model", TRAINER, "model"),
    ("model", "RetrievalIndex", "index"),
    ("evaluation", EVALUATOR, "evaluation"),
)


def artifacts_made(metadata: Path, finished: Iterable[ComponentRun]) -> dict[str, Artifact]:
    """What the components of a run have made, by the names of `_SOURCES`."""
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(metadata)))
    made = {}
    executions = {run.component: run.execution_id for run in finished}
    for name, component, key in _SOURCES:
        if component not in executions:
            continue
        for event in store.get_events_by_execution_ids([executions[component]]):
            if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key:
                (artifact,) = store.get_artifacts_by_id([event.artifact_id])
                (kind,) = store.get_artifact_types_by_id([artifact.type_id])
                made[name] = artifact_utils.deserialize_artifact(kind, artifact)
    return made


def last_blessed_model(metadata: Path, pipeline_name: str) -> str | None:
    """The URI of the model of a pipeline that was blessed last; None if there is none."""
    if not metadata.exists():
        return None
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(metadata)))
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    if pipeline is None:
        return None
    known = {artifact.id: artifact for artifact in store.get_artifacts_by_context(pipeline.id)}
    facts = [artifact.custom_properties for artifact in known.values()]
    blessed = [
        each[constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY].int_value
        for each in facts
        if each[constants.ARTIFACT_PROPERTY_BLESSED_KEY].int_value == constants.BLESSED_VALUE
    ]
    return known[max(blessed)].uri if blessed else None


def judged_model(made: Mapping[str, Artifact]) -> Artifact | None:
    """The model that the Evaluator judges: the retrieval index, or the Trainer's where there is none."""
    return made.get("model") or made.get("trained_model")
