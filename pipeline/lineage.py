"""Finds what a pushed version was made from, in the metadata store of its root."""

import os
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipeline.ask.versions import read_summary
from pipeline.pushed_models import COPY_OF
from trainer_module.errors import ModelError

_STATISTICS_FILE = "Split-train/FeatureStats.pb"


def examples_of(version: Path) -> str:
    """Directory of the examples that a pushed version was trained and judged on.

    Args:
        version: `ROOT/serving/NAME/NUMBER`.

    Raises:
        ModelError: The metadata store is not there or knows nothing of the version, or the examples are gone.
    """
    version = Path(os.path.abspath(version))
    store = _store(version)
    examples = _examples(store, version)
    if examples is None or not Path(examples.uri).is_dir():
        raise ModelError(
            f"{version}: {_metadata(version)} does not know its examples, or they are gone; run its pipeline once more"
        )
    return examples.uri


def statistics_of(version: Path) -> Path:
    """`FeatureStats.pb` of the training split of a pushed version; of a rollback's, those of the version it copies.

    Args:
        version: `ROOT/serving/NAME/NUMBER`.

    Raises:
        ModelError: The metadata store is not there or knows nothing of the version, or the statistics are gone.
    """
    version = Path(os.path.abspath(version))
    original = read_summary(version).get(COPY_OF)
    version = version if original is None else version.with_name(str(original))
    store = _store(version)
    examples = _examples(store, version)
    events = store.get_events_by_artifact_ids([examples.id]) if examples else []
    readers = [each.execution_id for each in events if each.type == metadata_store_pb2.Event.INPUT]
    outputs = [
        each.artifact_id
        for each in (store.get_events_by_execution_ids(readers) if readers else [])
        if each.type == metadata_store_pb2.Event.OUTPUT
    ]
    for artifact in store.get_artifacts_by_id(outputs):
        if artifact.type == "ExampleStatistics" and (file := Path(artifact.uri, _STATISTICS_FILE)).is_file():
            return file
    raise ModelError(
        f"{version}: {_metadata(version)} does not know its training statistics, or they are gone; name their "
        "file with --statistics (StatisticsGen's Split-train/FeatureStats.pb)"
    )


def _metadata(version: Path) -> Path:
    return version.parents[2] / "metadata.sqlite"


def _store(version: Path) -> mlmd.MetadataStore:
    metadata = _metadata(version)
    if not metadata.is_file():
        raise ModelError(
            f"{version}: {metadata} is not there; expected the metadata of the run that pushed the version"
        )
    return mlmd.MetadataStore(sqlite_metadata_connection_config(str(metadata)))


def _examples(store: mlmd.MetadataStore, version: Path) -> metadata_store_pb2.Artifact | None:
    """The examples that the push of a version read."""
    pushed = [
        artifact.id
        for artifact in store.get_artifacts_by_type("PushedModel")
        if artifact.custom_properties["pushed_destination"].string_value == str(version)
    ]
    for event in store.get_events_by_artifact_ids(pushed[-1:]) if pushed else ():
        inputs = [
            each.artifact_id
            for each in store.get_events_by_execution_ids([event.execution_id])
            if each.type == metadata_store_pb2.Event.INPUT
        ]
        for artifact in store.get_artifacts_by_id(inputs):
            if artifact.type == "Examples":
                return artifact
    return None
