from tfx.types import standard_artifacts

from pipeline.baseline import LatestOtherBlessedModel


def model(number: int):
    artifact = standard_artifacts.Model()
    artifact.id = number
    return artifact


def blessing(of_model: int, blessed: bool):
    artifact = standard_artifacts.ModelBlessing()
    artifact.set_int_custom_property("current_model_id", of_model)
    artifact.set_int_custom_property("blessed", int(blessed))
    return artifact


def resolve(candidate: int, blessings: dict[int, bool]) -> list[int]:
    inputs = {
        "candidate": [model(candidate)],
        "model": [model(number) for number in (1, 2, 3, 4)],
        "model_blessing": [blessing(number, blessed) for number, blessed in blessings.items()],
    }
    resolved = LatestOtherBlessedModel().resolve_artifacts(None, inputs)
    assert resolved.keys() == inputs.keys()
    of_models = [artifact.get_int_custom_property("current_model_id") for artifact in resolved["model_blessing"]]
    assert [artifact.id for artifact in resolved["model"]] == of_models
    return of_models


def test_the_latest_blessed_model_is_taken():
    assert resolve(4, {1: True, 2: True, 3: False}) == [2]


def test_the_candidate_itself_is_not_its_own_baseline():
    assert resolve(2, {1: True, 2: True}) == [1]
    assert resolve(1, {1: True}) == []


def test_the_first_run_has_none():
    assert resolve(1, {}) == []
