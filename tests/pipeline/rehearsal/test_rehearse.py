"""Whole rehearsals of hand-made pipelines. The commands of their containers run as real processes."""

import json
from pathlib import Path

import pytest

from pipeline.rehearsal.rehearse import RECORD_FILE, prepare, rehearse
from trainer_module.errors import RecspanError

from .jobs import BLESSING, MODEL, PUSHED, JobBuilder, constant, container, resolver


class RecordingObserver:
    """Records the names of the tasks that ran."""

    def __init__(self):
        self.ran = []

    def started(self, component: str) -> None:
        self.ran.append(component)

    def finished(self, component: str, seconds: float, cached: bool) -> None:
        assert self.ran[-1] == component
        assert seconds >= 0
        assert not cached


@pytest.fixture
def data(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def run(tmp_path, data):
    """Returns a function that rehearses a pipeline below one root and returns the tasks that ran."""

    def rehearsed(builder: JobBuilder, run_id: str = "small-1") -> list[str]:
        observer = RecordingObserver()
        outcome = rehearse(prepare(builder.job, tmp_path / "root", data), run_id, observer)
        assert list(outcome.tasks) == observer.ran
        return observer.ran

    return rehearsed


def seen(tmp_path: Path, task: str, key: str, run_id: str = "small-1") -> dict:
    """Returns the input, the environment and the directory of a task's container."""
    pattern = f"my-bucket/artifacts/123456789012/{run_id}/{task}_*/{key}/seen.json"
    (file,) = (tmp_path / "root" / "buckets").glob(pattern)
    return json.loads(file.read_text())


def test_a_container_gets_the_input_that_the_service_would_send(run, tmp_path):
    parameters = {"steps": constant(5), "name": constant("x")}
    builder = (
        JobBuilder()
        .reader()
        .task("Trainer", container(), {"examples": "ExampleGen.examples"}, parameters, {"model": MODEL})
    )
    assert run(builder) == ["ExampleGen", "Trainer"]
    container_input = seen(tmp_path, "Trainer", "model")["input"]
    assert container_input["inputs"]["parameters"] == {"steps": {"intValue": "5"}, "name": {"stringValue": "x"}}
    (examples,) = container_input["inputs"]["artifacts"]["examples"]["artifacts"]
    assert "title: tfx.Examples" in examples["type"]["instanceSchema"]
    # The first from the driver, the others from the executor.
    assert examples["metadata"] == {"span": 3.0, "made": 1.0, "blessed": 1.0}
    (model,) = container_input["outputs"]["artifacts"]["model"]["artifacts"]
    task_root = Path(container_input["outputs"]["outputFile"]).parent
    assert task_root.parent == tmp_path / "root" / "buckets" / "my-bucket" / "artifacts" / "123456789012" / "small-1"
    assert model["uri"] == str(task_root / "model")
    assert model["name"] != examples["name"]
    assert all(name.startswith("projects/123456789012/locations/") for name in (model["name"], examples["name"]))


def test_the_executor_gets_the_output_of_its_driver(run, tmp_path):
    run(JobBuilder().reader())
    container_input = seen(tmp_path, "ExampleGen", "examples")["input"]
    assert container_input["inputs"]["parameterValues"] == {"span": 3.0}
    assert container_input["inputs"]["parameters"]["input_base"]["stringValue"].endswith("buckets/my-bucket/raw")
    assert container_input["outputs"]["artifacts"]["examples"]["artifacts"][0]["metadata"] == {"span": 3.0}


def test_a_container_sees_nothing_of_the_user(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "mine")
    monkeypatch.setenv("PYTHONPATH", "mine")
    run(JobBuilder().reader())
    found = seen(tmp_path, "ExampleGen", "examples")
    assert found["environment"].keys() <= {
        "PATH",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "TF_USE_LEGACY_KERAS",
        "LANG",
        "HOME",
        "TMPDIR",
    } | {"LC_CTYPE"}
    assert found["environment"]["TMPDIR"] == found["environment"]["HOME"]
    assert found["environment"]["TF_USE_LEGACY_KERAS"] == "1"
    assert Path(found["environment"]["PYTHONPATH"], "pipeline", "cli.py").is_file()
    assert Path(found["directory"]) == tmp_path / "root" / "runs" / "small-1" / "ExampleGen" / "work"


def with_baseline() -> JobBuilder:
    """Returns a pipeline whose Evaluator gets the latest blessing."""
    query = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
    return (
        JobBuilder()
        .reader()
        .task("Baseline", resolver("model_blessing", query), outputs={"model_blessing": BLESSING})
        .task("Evaluator", container(), {"baseline": "Baseline.model_blessing"}, outputs={"blessing": BLESSING})
    )


def test_a_resolver_finds_the_artifacts_of_earlier_runs_of_the_pipeline(run, tmp_path):
    assert run(with_baseline()) == ["Baseline", "ExampleGen", "Evaluator"]
    assert seen(tmp_path, "Evaluator", "blessing")["input"]["inputs"]["artifacts"]["baseline"] == {}
    other = with_baseline()
    other.spec["pipelineInfo"]["name"] = "other"
    run(other, "other-1")
    run(with_baseline(), "small-2")
    (found,) = seen(tmp_path, "Evaluator", "blessing", "small-2")["input"]["inputs"]["artifacts"]["baseline"][
        "artifacts"
    ]
    assert "/small-1/Evaluator_" in found["uri"]
    assert found["metadata"]["blessed"] == 1


def test_a_failure_shows_the_last_lines_and_the_log_and_stops_the_run(run, tmp_path):
    builder = JobBuilder().reader().task("Trainer", container("fail"), outputs={"model": MODEL})
    builder.task("Pusher", container(), {"model": "Trainer.model"}, outputs={"pushed": PUSHED})
    with pytest.raises(RecspanError) as caught:
        run(builder)
    message = str(caught.value)
    assert message.startswith("Trainer failed: the command ended with exit code 1:")
    assert "line 49" in message and "no luck with" in message
    assert "line 3\n" not in message
    log = tmp_path / "root" / "runs" / "small-1" / "Trainer" / "log.txt"
    assert message.endswith(f"(log: {log})")
    assert "line 3\n" in log.read_text()
    assert not (log.parents[1] / "Pusher").exists()
    # The record holds only artifacts of finished tasks.
    assert "tfx.Model" not in (tmp_path / "root" / RECORD_FILE).read_text()


def test_an_invalid_output_is_named(run):
    with pytest.raises(RecspanError, match=r"Odd failed: the output in .*executor_output.json is not an .*artefacts"):
        run(JobBuilder().reader().task("Odd", container("write_invalid_output")))


def test_an_argument_that_is_too_long_is_named(run):
    builder = JobBuilder().reader().task("Long", container(), parameters={"text": constant("x" * 140_000)})
    with pytest.raises(RecspanError, match=r"Long failed: an argument of the command has 140,\d\d\d bytes"):
        run(builder)


def test_a_broken_record_is_named(run, tmp_path):
    run(with_baseline())
    with (tmp_path / "root" / RECORD_FILE).open("a") as record:
        record.write("not json\n")
    with pytest.raises(RecspanError, match=f"{RECORD_FILE}, line 3: the line is not the record of an artifact"):
        run(with_baseline(), "small-2")
