"""`recspan pipeline submit` and its companions, from the command line to the wire."""

import json
from datetime import UTC, datetime

import pytest
import yaml
from google.cloud.aiplatform_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from components.vertex_deployer.requests import request_json
from pipeline.job_options import new_run_name, parse_parameters
from pipeline.vertex.compile import compile_job, to_json
from pipeline.vertex.requests import run_request, schedule_request
from tests import launcher
from trainer_module.errors import ConfigError

from .experiments import experiment
from .server import Fault

LOCATION = "projects/my-project/locations/us-central1"
ACCESS = {
    "service_account": "runs@my-project.iam.gserviceaccount.com",
    "network": "projects/12345/global/networks/mine",
    "labels": {"team": "recommenders"},
}
SCHEDULE = {
    "cron": "0 3 * * mon",
    "time_zone": "Europe/Berlin",
    "max_concurrent_runs": 2,
    "max_runs": 10,
    "start": "2030-01-01T00:00:00Z",
    "end": "2031-01-01T00:00:00+01:00",
}


@pytest.fixture(scope="module")
def config():
    return experiment(ACCESS | {"schedule": SCHEDULE})


@pytest.fixture(scope="module")
def job(config):
    return compile_job(config)


def test_the_request_says_all_that_the_section_says(config, job):
    request = json.loads(request_json(run_request(config.vertex, job, "small-7", {})))
    assert (request["parent"], request["pipelineJobId"]) == (LOCATION, "small-7")
    sent = request["pipelineJob"]
    assert sent["displayName"] == "small-7"
    assert sent["serviceAccount"] == ACCESS["service_account"]
    assert sent["network"] == ACCESS["network"]
    assert sent["labels"]["team"] == "recommenders"
    assert sent["runtimeConfig"]["gcsOutputDirectory"] == "gs://my-bucket/recspan/artifacts/small"
    assert sent["pipelineSpec"] == job["pipelineSpec"]


def test_the_same_request_is_the_same_text(config, job):
    texts = {request_json(run_request(config.vertex, job, "small-7", {})) for _ in range(3)}
    assert len(texts) == 1


def test_parameters_take_the_place_of_their_defaults(config, job):
    values = parse_parameters(job, ["train_steps=5000"])
    request = run_request(config.vertex, job, "small-7", values)
    sent = request.pipeline_job.runtime_config.parameters["train_args"].string_value
    assert json.loads(sent) == {"splits": ["train"], "num_steps": 5000}
    assert job["runtimeConfig"]["parameters"]["train_args"]["stringValue"] == '{"splits": ["train"]}'


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["train_steps"], r"expected key=value, as in --parameter train_steps=5000"),
        (["=5"], r"expected key=value"),
        (["steps=5"], r"the pipeline has no parameter steps\. Known: train_steps, train_args"),
        (["train_steps=many"], r"expected a number of steps above 0"),
        (["train_steps=0"], r"expected a number of steps above 0"),
        (["train_steps=5", "train_args={}"], r"train_args is given twice"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_known_ones(job, assignments, message):
    with pytest.raises(ConfigError, match=message):
        parse_parameters(job, assignments)


@pytest.mark.parametrize(("kind", "text", "value"), [("INT", "7", 7), ("STRING", "7", "7")])
def test_parameters_have_their_types(kind, text, value):
    job = {"pipelineSpec": {"root": {"inputDefinitions": {"parameters": {"p": {"type": kind}}}}}}
    assert parse_parameters(job, [f"p={text}"]) == {"p": value}
    if kind == "INT":
        with pytest.raises(ConfigError, match=f"'x' is not an {kind}"):
            parse_parameters(job, ["p=x"])


@pytest.mark.parametrize("definition", [{"type": "DOUBLE"}, {"parameterType": "NUMBER_INTEGER"}])
def test_other_types_are_refused(definition):
    job = {"pipelineSpec": {"root": {"inputDefinitions": {"parameters": {"p": definition}}}}}
    with pytest.raises(ConfigError, match=r"--parameter p=7: its type is .*; expected INT or STRING"):
        parse_parameters(job, ["p=7"])


@given(st.integers(1, 10**12))
def test_any_number_of_steps_is_sent_as_it_is(steps):
    job = {"pipelineSpec": {"root": {"inputDefinitions": {"parameters": {"train_args": {"type": "STRING"}}}}}}
    (value,) = parse_parameters(job, [f"train_steps={steps}"]).values()
    assert json.loads(value)["num_steps"] == steps


@pytest.mark.parametrize("name", ["", "7", "Small", "a_b", "-a", "a" * 129])
def test_a_name_that_no_run_can_have_is_refused(config, job, name):
    with pytest.raises(ConfigError, match=r"--run-name .*: expected up to 128 lower-case letters"):
        run_request(config.vertex, job, name, {})


def test_runs_are_named_after_the_pipeline_and_the_time():
    assert new_run_name("small", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)) == "small-20300102030405"


def test_a_schedule_starts_the_same_run(config, job):
    request = schedule_request(config.vertex, config.vertex.schedule, job, "small", {})
    assert request.parent == LOCATION
    schedule = request.schedule
    assert schedule.cron == "TZ=Europe/Berlin 0 3 * * mon"
    assert (schedule.max_concurrent_run_count, schedule.max_run_count) == (2, 10)
    assert schedule.start_time == datetime(2030, 1, 1, tzinfo=UTC)
    assert schedule.end_time == datetime(2030, 12, 31, 23, tzinfo=UTC)
    single = run_request(config.vertex, job, "small", {})
    assert schedule.create_pipeline_job_request.pipeline_job == single.pipeline_job
    # The service names the runs of a schedule.
    assert not schedule.create_pipeline_job_request.pipeline_job_id


@pytest.fixture
def workspace(tmp_path, config):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    return tmp_path


@pytest.fixture
def recspan(workspace, command_line):
    """Returns a function that runs `recspan pipeline` in the workspace."""
    return lambda *arguments: command_line("pipeline", *arguments, "--config", "mine.yaml", cwd=workspace)


def test_compile_writes_the_job(workspace, job):
    process = launcher.recspan("pipeline", "compile", "-o", "out/pipeline.json", "--config", "mine.yaml", cwd=workspace)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "small: out/pipeline.json\n"
    assert (workspace / "out" / "pipeline.json").read_text() == to_json(job)


def test_a_dry_run_prints_the_request_and_needs_neither_network_nor_credentials(
    recspan, workspace, monkeypatch, config, job
):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(workspace / "none.json"))
    process = recspan("submit", "--dry-run", "--run-name", "small-7")
    assert process.returncode == 0, process.stderr
    assert process.stdout == request_json(run_request(config.vertex, job, "small-7", {})) + "\n"


def test_submit_status_list_and_cancel(server, credentials, recspan, workspace):
    at = ["--set", f"vertex.endpoint={server.url}"]
    server.faults = [Fault(503)]
    # Outside of a test, Python prints the warning about the first attempt on stderr.
    command = ["submit", "--run-name", "small-7", "--parameter", "train_steps=9", *at, "--config", "mine.yaml"]
    process = launcher.recspan("pipeline", *command, cwd=workspace)
    assert process.returncode == 0, process.stderr
    console = (
        "https://console.cloud.google.com/vertex-ai/locations/us-central1/pipelines/runs/small-7?project=my-project"
    )
    assert process.stdout == f"run: small-7\nwatch: {console}\n"
    assert "attempt 1" in process.stderr and "trying again" in process.stderr
    assert server.asked == [("POST", f"/v1/{LOCATION}/pipelineJobs")] * 2
    sent = server.requests[-1].body
    assert types.PipelineJob.from_json(json.dumps(sent)).runtime_config.parameters["train_args"].string_value == (
        '{"splits": ["train"], "num_steps": 9}'
    )
    name = f"{LOCATION}/pipelineJobs/small-7"
    server.resources[name] |= {
        "state": "PIPELINE_STATE_FAILED",
        "jobDetail": {"taskDetails": [{"taskName": "Trainer", "state": "FAILED", "error": {"message": "no TPU left"}}]},
    }
    shown = recspan("status", "small-7", *at)
    assert shown.stdout.splitlines() == ["small-7: failed", "  Trainer: failed", "    no TPU left", console]
    listed = recspan("list", *at)
    assert "small-7" in listed.stdout and "failed" in listed.stdout and "2030-01-02 03:04" in listed.stdout
    cancelled = recspan("cancel", "small-7", *at)
    assert cancelled.stdout == "small-7 was asked to stop\n"
    assert server.resources[name]["state"] == "PIPELINE_STATE_CANCELLING"
    missing = recspan("status", "small-8", *at)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: Vertex AI found no such resource")
    assert "Traceback" not in missing.stderr


def test_a_schedule_is_created(server, credentials, recspan):
    process = recspan("submit", "--schedule", "--set", f"vertex.endpoint={server.url}")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"schedule: {LOCATION}/schedules/1\nwatch: https://console.cloud.google.com/")
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", f"/v1/{LOCATION}/schedules")
    assert sent.body["cron"] == "TZ=Europe/Berlin 0 3 * * mon"
    assert sent.body["createPipelineJobRequest"]["pipelineJob"]["pipelineSpec"]["pipelineInfo"]["name"] == "small"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "--schedule", "--run-name", "x"], "--run-name is for a single run"),
        (
            ["submit", "--schedule", "--dry-run", "--set", "vertex.schedule=null"],
            "vertex.schedule: the experiment has no such section",
        ),
        (["compile", "-o", "x.json", "--set", "vertex.bucket=my-bucket"], "mine.yaml: vertex.bucket: expected a URI"),
    ],
)
def test_mistakes_get_one_message(recspan, workspace, arguments, message):
    process = recspan(*arguments)
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {message}")
    assert "Traceback" not in process.stderr
    assert not (workspace / "x.json").exists()
