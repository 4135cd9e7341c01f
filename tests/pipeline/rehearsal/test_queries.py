"""Queries as TFX's compiler writes them for the last blessed model and the last artifact."""

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.rehearsal.queries import latest, problem

from .jobs import BLESSING, MODEL

BLESSED = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
MODEL_OF_BLESSING = (
    'schema_title="tfx.Model" AND state=LIVE AND '
    "name=\"{{$.inputs.artifacts['input'].metadata['current_model_id']}}\""
)


def artifact(name: str, kind: dict, **metadata) -> pb.RuntimeArtifact:
    return json_format.ParseDict({"name": name, "type": kind, "metadata": metadata}, pb.RuntimeArtifact())


RECORD = [
    artifact("models/1", MODEL),
    artifact("blessings/1", BLESSING, blessed=1, current_model_id="models/1"),
    artifact("models/2", MODEL),
    artifact("blessings/2", BLESSING, blessed=1, current_model_id="models/2"),
    artifact("models/3", MODEL),
    artifact("blessings/3", BLESSING, blessed=0, current_model_id="models/3"),
]


def names(query: str, inputs=None, limit: int = 0) -> list[str]:
    spec = pb.PipelineDeploymentConfig.ResolverSpec.ArtifactQuerySpec(filter=query, limit=limit)
    assert not problem(query)
    return [found.name for found in latest(spec, inputs or {}, RECORD)]


def test_the_last_blessing_is_found_and_by_it_its_model():
    assert names(BLESSED) == ["blessings/2"]
    assert names(MODEL_OF_BLESSING, {"input": [RECORD[3]]}) == ["models/2"]


def test_without_a_blessing_there_is_no_model():
    assert names(BLESSED.replace("value=1", "value=2")) == []
    assert names(MODEL_OF_BLESSING, {"input": []}) == []
    assert names(MODEL_OF_BLESSING, {"input": [RECORD[0]]}) == []


def test_the_last_artifact_of_a_type_is_found():
    assert names('schema_title="tfx.Model" AND state=LIVE') == ["models/3"]
    assert names('schema_title="tfx.Model" AND state=LIVE', limit=2) == ["models/3", "models/2"]
    assert names('metadata.current_model_id.string_value="models/1"') == ["blessings/1"]
    # A text is no number, not even zero.
    assert names("metadata.current_model_id.number_value=0") == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ('schema_title="tfx.Model" OR state=LIVE', "is not understood"),
        ('uri="x"', "is not understood"),
        ("state=DELETED", "only artifacts whose state is LIVE"),
        ("name=\"{{$.inputs.parameters['x']}}\"", "placeholder {{$.inputs.parameters['x']}}"),
    ],
)
def test_what_is_not_understood_is_named(query, named):
    assert named in problem(query)
