"""Finds what a pushed version was made from, in the metadata store of its root."""

import os
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from trainer_module.errors import ModelError


def examples_of(version: Path) -> str:
    """Directory of the examples that a pushed version was trained and judged on.

    Args:
        version: `ROOT/serving/NAME/NUMBER`.

    Raises:
        ModelError: The metadata store is not there or knows nothing of the version, or the examples are gone.
    """
    version = Path(os.path.abspath(version))
    metadata = version.parents[2] / "metadata.sqlite"
    if not metadata.is_file():
        raise ModelError(
            f"{version}: {metadata} is not there; expected the metadata of the run that pushed the version"
        )
    store = mlmd.MetadataStore(sqlite_metadata_connection_config(str(metadata)))
    pushed = [
        artifact.id
        for artifact in store.get_artifacts_by_type("PushedModel")
        if artifact.custom_properties["pushed_destination"].string_value == str(version)
    ]
    for event in store.get_events_by_artifact_ids(pushed[-1:]):
        inputs = [
            each.artifact_id
            for each in store.get_events_by_execution_ids([event.execution_id])
            if each.type == metadata_store_pb2.Event.INPUT
        ]
        for artifact in store.get_artifacts_by_id(inputs):
            if artifact.type == "Examples" and Path(artifact.uri).is_dir():
                return artifact.uri
    raise ModelError(f"{version}: {metadata} does not know its examples, or they are gone; run its pipeline once more")
