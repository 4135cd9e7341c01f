"""Which last blessed models a candidate is compared with."""

import json

import pytest
from tfx.types import standard_artifacts, standard_component_specs

from components.evaluation.comparable import check_comparable
from components.evaluation.component import Executor
from trainer_module.data.features import FeatureSpec, Label
from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import ModelError

RATING, CLICK, RETRIEVAL = {"": "rating"}, {"": "click"}, {"": "retrieval"}
GOALS = {"clicked": "click", "stars": "rating"}


@pytest.fixture
def blessed(tmp_path):
    """Writes what the last blessed model says of itself, and gives its URI."""

    def write(report: dict) -> str:
        (tmp_path / "training.json").write_text(json.dumps(report))
        return str(tmp_path)

    return write


@pytest.mark.parametrize(
    ("goals", "known"),
    [
        (RATING, RATING),
        (RETRIEVAL, RETRIEVAL),
        (GOALS, GOALS),
        # The candidate's heads are compared; what else the last one predicted does not matter.
        ({"stars": "rating"}, GOALS),
    ],
)
def test_models_that_predict_the_same_are_compared(goals, known, blessed):
    check_comparable(goals, blessed({"goals": known}))


def test_a_model_of_an_earlier_version_is_compared_as_before(blessed):
    check_comparable(RATING, blessed({"steps": 7}))


@pytest.mark.parametrize(
    ("goals", "known", "message"),
    [
        (RATING, CLICK, "predicts clicks and cannot be compared with one that predicts ratings"),
        (CLICK, RATING, "predicts ratings and cannot be compared with one that predicts clicks"),
        (RATING, RETRIEVAL, r"predicts which items users take \(retrieval\) and cannot .* predicts ratings"),
        (RETRIEVAL, CLICK, r"predicts clicks and cannot .* predicts which items users take \(retrieval\)"),
        (GOALS, CLICK, r"predicts clicks and cannot .* predicts clicked \(click\) and stars \(rating\)"),
        (RATING, GOALS, r"predicts clicked \(click\) and stars \(rating\) and cannot .* predicts ratings"),
        (GOALS, {"clicked": "click"}, r"predicts clicked \(click\) and cannot"),
        ({"stars": "click"}, {"stars": "rating"}, r"predicts stars \(rating\) and cannot .* stars \(click\)"),
    ],
)
def test_others_are_refused_with_both_named_and_what_to_do(goals, known, message, blessed, tmp_path):
    with pytest.raises(ModelError, match=rf"{message}.* Give the pipeline another name .* is {tmp_path}$"):
        check_comparable(goals, blessed({"goals": known}))


def test_one_that_is_gone_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone/training.json: no such file; .* Bring it back, or give the pipeline"):
        check_comparable(RATING, str(tmp_path / "gone"))


def test_the_evaluator_refuses_before_it_evaluates(blessed):
    model, evaluation = standard_artifacts.Model(), standard_artifacts.ModelEvaluation()
    model.uri = blessed({"goals": RETRIEVAL})
    evaluation.uri = f"{model.uri}/evaluation"
    dataset = DatasetSpec(name="small", features=FeatureSpec(columns=(Label(name="stars"),), tables=()))
    properties = {"dataset": dataset.model_dump_json(), "heads": "{}", "cutoff": 10}
    with pytest.raises(ModelError, match="the last blessed model of this pipeline predicts which items"):
        Executor().Do(
            {standard_component_specs.BASELINE_MODEL_KEY: [model]},
            {standard_component_specs.EVALUATION_KEY: [evaluation]},
            properties,
        )
