"""Which model of the metadata store a run looks at before it begins."""

from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

from pipeline.local.artifacts import last_blessed_model

Artifact, Context = metadata_store_pb2.Artifact, metadata_store_pb2.Context


@pytest.fixture
def metadata(tmp_path) -> Path:
    """The file of a store with pipelines `refused`, `none` and `some`."""
    file = tmp_path / "metadata.sqlite"
    store = mlmd.MetadataStore(tfx.orchestration.metadata.sqlite_metadata_connection_config(str(file)))
    model = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    blessing = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="ModelBlessing"))
    pipeline = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline"))
    for name, verdicts in {"refused": [False], "none": [], "some": [True, True, False]}.items():
        (context,) = store.put_contexts([Context(type_id=pipeline, name=name)])
        for number, blessed in enumerate(verdicts):
            (of,) = store.put_artifacts([Artifact(type_id=model, uri=f"{name}/{number}")])
            verdict = Artifact(type_id=blessing, uri="blessing")
            verdict.custom_properties["current_model_id"].int_value = of
            verdict.custom_properties["blessed"].int_value = int(blessed)
            (by,) = store.put_artifacts([verdict])
            made = [metadata_store_pb2.Attribution(artifact_id=each, context_id=context) for each in (of, by)]
            store.put_attributions_and_associations(made, [])
    return file


@pytest.mark.parametrize(
    ("name", "expected"), [("some", "some/1"), ("refused", None), ("none", None), ("unknown", None)]
)
def test_it_is_the_last_one_of_the_pipeline_that_was_blessed(name, expected, metadata):
    assert last_blessed_model(metadata, name) == expected


def test_a_new_root_has_none(tmp_path):
    assert last_blessed_model(tmp_path / "metadata.sqlite", "some") is None
