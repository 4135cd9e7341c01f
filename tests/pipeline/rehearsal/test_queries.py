"""The two queries that TFX's compiler writes for the latest blessed model."""

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


def names(query: str, inputs=None) -> list[str]:
    assert not problem(query)
    return [found.name for found in latest(query, inputs or {}, RECORD)]


def test_the_latest_blessing_and_its_model_are_found():
    assert names(BLESSED) == ["blessings/2"]
    assert names(MODEL_OF_BLESSING, {"input": [RECORD[3]]}) == ["models/2"]


def test_without_a_blessing_no_model_is_found():
    assert names(BLESSED.replace("value=1", "value=2")) == []
    assert names(MODEL_OF_BLESSING, {"input": []}) == []
    assert names(MODEL_OF_BLESSING, {"input": [RECORD[0]]}) == []


def test_a_text_does_not_equal_the_number_zero():
    assert names("metadata.current_model_id.number_value=0") == []


@pytest.mark.parametrize(
    "term",
    [
        'schema_title="tfx.Model" OR state=LIVE',
        'uri="x"',
        "state=DELETED",
        'name="models/1"',
        'metadata.current_model_id.string_value="models/1"',
        "name=\"{{$.inputs.parameters['x']}}\"",
        "",
    ],
)
def test_an_unsupported_term_is_named(term):
    assert problem(f"state=LIVE AND {term}").startswith(f"term {term!r} of the artifact query")
