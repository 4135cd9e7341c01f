import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.rehearsal.conditions import holds, problem
from trainer_module.errors import RecspanError

INPUTS = json_format.ParseDict(
    {
        "artifacts": {
            "blessing": {"artifacts": [{"uri": "gs://b/1", "name": "one", "metadata": {"blessed": 1, "who": "me"}}]},
            "none": {"artifacts": []},
        },
        "parameters": {"steps": {"intValue": "5"}},
        "parameterValues": {"rate": 0.5, "name": "x"},
    },
    pb.ExecutorInput.Inputs(),
)
BLESSED = "inputs.artifacts['blessing'].artifacts[0].metadata['blessed']"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"({BLESSED} == 1.0)", True),
        (f"!({BLESSED} == 1.0)", False),
        (f"({BLESSED} > 1.0)", False),
        (f"({BLESSED} >= 1.0)", True),
        (f"({BLESSED} == 0.0) || ({BLESSED} < 2)", True),
        (f"({BLESSED} == 0.0) && ({BLESSED} == 1)", False),
        # && binds closer than ||; were it the other way, this would be false.
        ("true || true && false", True),
        ("(inputs.artifacts['blessing'].artifacts[0].uri == 'gs://b/1')", True),
        ("(inputs.artifacts['blessing'].artifacts[0].metadata['who'] + '!') == 'me!'", True),
        ("inputs.parameters['steps'].int_value != 5", False),
        ("inputs.parameter_values['rate'] <= 0.5 && inputs.parameter_values['name'] == \"x\"", True),
    ],
)
def test_conditions_are_evaluated(condition, expected):
    assert not problem(condition)
    assert holds(condition, INPUTS) is expected


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("", "it ends too early"),
        ("(true", "a parenthesis is not closed"),
        ("true false", "'false' is not expected there"),
        ("true && && true", "something is missing before '&&'"),
        ("has(x)", "'has(x)' is not understood"),
    ],
)
def test_what_is_not_understood_is_named(condition, named):
    assert problem(condition) == named


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("inputs.artifacts['nothing'].artifacts[0].uri == ''", "no 'nothing', only blessing, none"),
        ("inputs.artifacts['none'].artifacts[0].uri == ''", "input none has 0 artifact"),
        ("inputs.artifacts['blessing'].artifacts[0].metadata['x'] == 1", "no 'x', only blessed, who"),
        ("'a' < 1", "not supported between"),
    ],
)
def test_what_is_missing_is_named(condition, named):
    with pytest.raises(RecspanError, match=named):
        holds(condition, INPUTS)
