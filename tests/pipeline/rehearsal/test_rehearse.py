"""Whole rehearsals of hand-made pipelines, whose containers' commands are real processes."""

import json
from pathlib import Path

import pytest

from pipeline.rehearsal.rehearse import RECORD_FILE, prepare, rehearse
from trainer_module.errors import RecspanError

from .jobs import BLESSING, MODEL, PUSHED, JobBuilder, constant, container, resolver


class Told:
    """Keeps what ran."""

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
    """Rehearses a pipeline below one root; returns the tasks that ran."""

    def rehearsed(builder: JobBuilder, run_id: str = "small-1") -> list[str]:
        told = Told()
        outcome = rehearse(prepare(builder.job, tmp_path / "root", data), run_id, told)
        assert list(outcome.tasks) == told.ran
        return told.ran

    return rehearsed


def seen(tmp_path: Path, task: str, key: str, run_id: str = "small-1") -> dict:
    """What the container of a task was told and found around it."""
    pattern = f"my-bucket/artifacts/123456789012/{run_id}/{task}_*/{key}/seen.json"
    (file,) = (tmp_path / "root" / "buckets").glob(pattern)
    return json.loads(file.read_text())


def test_a_container_is_told_what_the_service_would_tell_it(run, tmp_path):
    parameters = {"steps": constant(5), "name": constant("x")}
    builder = (
        JobBuilder()
        .reader()
        .task("Trainer", container(), {"examples": "ExampleGen.examples"}, parameters, {"model": MODEL})
    )
    assert run(builder) == ["ExampleGen", "Trainer"]
    told = seen(tmp_path, "Trainer", "model")["told"]
    assert told["inputs"]["parameters"] == {"steps": {"intValue": "5"}, "name": {"stringValue": "x"}}
    (examples,) = told["inputs"]["artifacts"]["examples"]["artifacts"]
    assert "title: tfx.Examples" in examples["type"]["instanceSchema"]
    # What the driver said of it, and what the executor added.
    assert examples["metadata"] == {"span": 3.0, "made": 1.0, "blessed": 1.0}
    (model,) = told["outputs"]["artifacts"]["model"]["artifacts"]
    task_root = Path(told["outputs"]["outputFile"]).parent
    assert task_root.parent == tmp_path / "root" / "buckets" / "my-bucket" / "artifacts" / "123456789012" / "small-1"
    assert model["uri"] == str(task_root / "model")
    assert model["name"] != examples["name"]
    assert all(name.startswith("projects/123456789012/locations/") for name in (model["name"], examples["name"]))


def test_the_executor_is_told_what_its_driver_has_determined(run, tmp_path):
    run(JobBuilder().reader())
    told = seen(tmp_path, "ExampleGen", "examples")["told"]
    assert told["inputs"]["parameters"]["span"] == {"intValue": "3"}
    assert told["inputs"]["parameters"]["input_base"]["stringValue"].endswith("buckets/my-bucket/raw")
    assert told["outputs"]["artifacts"]["examples"]["artifacts"][0]["metadata"] == {"span": 3.0}


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
    } | {"LC_CTYPE"}
    assert found["environment"]["TF_USE_LEGACY_KERAS"] == "1"
    assert Path(found["environment"]["PYTHONPATH"], "pipeline", "cli.py").is_file()
    assert Path(found["directory"]) == tmp_path / "root" / "runs" / "small-1" / "ExampleGen" / "work"


def test_a_parameter_is_handed_on(run, tmp_path):
    made = {"taskOutputParameter": {"producerTask": "Count", "outputParameterKey": "number"}}
    builder = JobBuilder().reader().task("Count", container("count"))
    builder.spec["components"]["Count"]["outputDefinitions"] = {
        "parameters": {"number": {"parameterType": "NUMBER_INTEGER"}}
    }
    run(builder.task("Trainer", container(), parameters={"steps": made}, outputs={"model": MODEL}))
    assert seen(tmp_path, "Trainer", "model")["told"]["inputs"]["parameters"]["steps"] == {"intValue": "7"}


def with_baseline() -> JobBuilder:
    """A pipeline whose Evaluator is told of the last blessing."""
    query = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
    return (
        JobBuilder()
        .reader()
        .task("Baseline", resolver("model_blessing", query), outputs={"model_blessing": BLESSING})
        .task("Evaluator", container(), {"baseline": "Baseline.model_blessing"}, outputs={"blessing": BLESSING})
    )


def test_a_resolver_finds_what_earlier_runs_of_the_pipeline_have_made(run, tmp_path):
    assert run(with_baseline()) == ["Baseline", "ExampleGen", "Evaluator"]
    assert seen(tmp_path, "Evaluator", "blessing")["told"]["inputs"]["artifacts"]["baseline"] == {}
    other = with_baseline()
    other.spec["pipelineInfo"]["name"] = "other"
    run(other, "other-1")
    run(with_baseline(), "small-2")
    (found,) = seen(tmp_path, "Evaluator", "blessing", "small-2")["told"]["inputs"]["artifacts"]["baseline"][
        "artifacts"
    ]
    assert "/small-1/Evaluator_" in found["uri"]
    assert found["metadata"]["blessed"] == 1


def test_an_import_is_made_once_unless_it_is_to_be_made_anew(run, tmp_path):
    importer = {
        "artifactUri": {"constantValue": {"stringValue": "gs://my-bucket/model"}},
        "typeSchema": MODEL,
        "metadata": {"kind": "old"},
    }

    def imported(run_id: str, **fields) -> dict:
        builder = JobBuilder().reader().task("Importer", {"importer": importer | fields}, outputs={"model": MODEL})
        run(builder.task("Trainer", container(), {"base": "Importer.model"}, outputs={"model": MODEL}), run_id)
        (base,) = seen(tmp_path, "Trainer", "model", run_id)["told"]["inputs"]["artifacts"]["base"]["artifacts"]
        return base

    first = imported("small-1")
    assert first["uri"] == str(tmp_path / "root" / "buckets" / "my-bucket" / "model")
    assert first["metadata"] == {"kind": "old"}
    assert imported("small-2")["name"] == first["name"]
    assert (tmp_path / "root" / RECORD_FILE).read_text().count(first["name"]) == 1
    assert imported("small-3", reimport=True)["name"] != first["name"]


@pytest.mark.parametrize(
    ("threshold", "ran"), [(1, ["ExampleGen", "Judge", "Push", "After"]), (2, ["ExampleGen", "Judge"])]
)
def test_a_task_that_is_not_triggered_takes_those_after_it_along(run, threshold, ran):
    condition = f"(inputs.artifacts['blessing'].artifacts[0].metadata['blessed'] == {threshold}.0)"
    builder = (
        JobBuilder()
        .reader()
        .task("Judge", container(), outputs={"blessing": BLESSING})
        .task("Push", container(), {"blessing": "Judge.blessing"}, triggerPolicy={"condition": condition})
        .task("After", container(), dependentTasks=["Push"])
    )
    assert run(builder) == ran


def test_a_failure_shows_the_last_lines_and_the_log_and_stops_the_run(run, tmp_path):
    builder = JobBuilder().reader().task("Trainer", container("fail"), outputs={"model": MODEL})
    builder.task("Pusher", container(), {"model": "Trainer.model"}, outputs={"pushed": PUSHED})
    with pytest.raises(RecspanError) as caught:
        run(builder)
    message = str(caught.value)
    assert message.startswith("Trainer failed: its command ended with exit code 1:")
    assert "line 49" in message and "no luck with" in message
    assert "line 3\n" not in message
    log = tmp_path / "root" / "runs" / "small-1" / "Trainer" / "log.txt"
    assert message.endswith(f"(log: {log})")
    assert "line 3\n" in log.read_text()
    assert not (log.parents[1] / "Pusher").exists()
    # Only what was finished is on record.
    assert "tfx.Model" not in (tmp_path / "root" / RECORD_FILE).read_text()


def test_an_answer_that_is_none_is_named(run):
    with pytest.raises(RecspanError, match=r"Odd failed: its answer in .*executor_output.json is no .*artefacts"):
        run(JobBuilder().reader().task("Odd", container("babble")))


def test_an_import_may_take_its_uri_from_a_parameter(run, tmp_path):
    importer = {"artifactUri": {"runtimeParameter": "artifact_uri"}, "typeSchema": MODEL}
    parameters = {"artifact_uri": constant("gs://my-bucket/model")}
    builder = JobBuilder().reader()
    builder.task("Importer", {"importer": importer}, parameters=parameters, outputs={"model": MODEL})
    run(builder.task("Trainer", container(), {"base": "Importer.model"}, outputs={"model": MODEL}))
    (base,) = seen(tmp_path, "Trainer", "model")["told"]["inputs"]["artifacts"]["base"]["artifacts"]
    assert base["uri"] == str(tmp_path / "root" / "buckets" / "my-bucket" / "model")


def test_an_argument_that_no_container_takes_is_named(run):
    builder = JobBuilder().reader().task("Long", container(), parameters={"text": constant("x" * 140_000)})
    with pytest.raises(RecspanError, match=r"Long failed: an argument of its command has 140,\d\d\d bytes"):
        run(builder)


def test_a_broken_record_is_named(run, tmp_path):
    run(with_baseline())
    with (tmp_path / "root" / RECORD_FILE).open("a") as record:
        record.write("not json\n")
    with pytest.raises(RecspanError, match=f"{RECORD_FILE}, line 3: no record of an artifact"):
        run(with_baseline(), "small-2")
