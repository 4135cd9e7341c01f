import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts
from tfx.types.experimental import simple_artifacts

from pipeline.baseline import (
    LatestBlessedModelOfOtherExamples,
    LatestDriftOfOtherExamples,
    LatestOtherBlessedModel,
)


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


def drift_of(number: int, examples: str):
    artifact = simple_artifacts.Statistics()
    artifact.id = number
    artifact.set_string_custom_property("examples", examples)
    return artifact


def examples_at(number: int, uri: str):
    artifact = standard_artifacts.Examples()
    artifact.id, artifact.uri = number, uri
    return artifact


@pytest.mark.parametrize(("own", "found"), [("c", [2]), ("b", [3]), ("new", [3])])
def test_the_last_drift_of_other_examples_is_taken(own, found):
    inputs = {
        "examples": [examples_at(9, own)],
        "drift": [drift_of(number, uri) for number, uri in ((3, "c"), (1, "a"), (2, "b"))],
    }
    resolved = LatestDriftOfOtherExamples().resolve_artifacts(None, inputs)
    assert [artifact.id for artifact in resolved["drift"]] == found
    assert resolved["examples"] == inputs["examples"]


def test_the_first_run_has_no_earlier_drift():
    inputs = {"examples": [examples_at(9, "a")], "drift": []}
    assert LatestDriftOfOtherExamples().resolve_artifacts(None, inputs)["drift"] == []


@pytest.fixture
def store(tmp_path):
    """Model 1 was made from examples 3, model 2 from examples 4."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    store = mlmd.MetadataStore(config)
    kinds = {
        name: store.put_artifact_type(metadata_store_pb2.ArtifactType(name=name)) for name in ("Model", "Examples")
    }
    trainer = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    artifacts = [
        metadata_store_pb2.Artifact(type_id=kinds[kind]) for kind in ("Model", "Model", "Examples", "Examples")
    ]
    assert store.put_artifacts(artifacts) == [1, 2, 3, 4]
    for model_id, examples_id in ((1, 3), (2, 4)):
        (execution,) = store.put_executions([metadata_store_pb2.Execution(type_id=trainer)])
        event = metadata_store_pb2.Event
        store.put_events(
            [
                event(artifact_id=examples_id, execution_id=execution, type=event.INPUT),
                event(artifact_id=model_id, execution_id=execution, type=event.OUTPUT),
            ]
        )
    return store


@pytest.mark.parametrize(
    ("own", "blessed", "found"),
    [(5, {1: True, 2: True}, [2]), (4, {1: True, 2: True}, [1]), (5, {1: True, 2: False}, [1]), (3, {1: True}, [])],
)
def test_the_last_blessed_model_of_other_examples_is_taken(store, own, blessed, found):
    inputs = {
        "examples": [examples_at(own, "")],
        "model": [model(1), model(2)],
        "model_blessing": [blessing(number, is_blessed) for number, is_blessed in blessed.items()],
    }
    resolved = LatestBlessedModelOfOtherExamples().resolve_artifacts(store, inputs)
    assert resolved.keys() == inputs.keys()
    assert [artifact.id for artifact in resolved["model"]] == found
    assert len(resolved["model_blessing"]) == len(found)
