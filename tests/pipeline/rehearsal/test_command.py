"""`recspan pipeline rehearse --spec` on hand-made pipelines."""

import json
import subprocess
import sys

import pytest

from tests import launcher
from tests.launcher import recspan_command

from .jobs import PUSHED, JobBuilder, container


@pytest.fixture
def rehearse(tmp_path):
    """Writes a job and rehearses it as a user does."""
    (tmp_path / "raw").mkdir()

    def call(builder: JobBuilder, *arguments: str, python: str | None = None) -> subprocess.CompletedProcess:
        (tmp_path / "pipeline.json").write_text(json.dumps(builder.job))
        options = ["--spec", "pipeline.json", "--root", "below", "--data-dir", "raw"]
        command = recspan_command(python or launcher.python(), "pipeline", "rehearse", *options, *arguments)
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return call


def with_steps(what: str) -> JobBuilder:
    parameters = {"steps": {"componentInputParameter": "steps"}}
    builder = JobBuilder().reader().task("Pusher", container(what), parameters=parameters, outputs={"pushed": PUSHED})
    builder.spec["root"]["inputDefinitions"] = {"parameters": {"steps": {"type": "INT"}}}
    builder.job["runtimeConfig"]["parameters"] = {"steps": {"intValue": "1"}}
    return builder


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
def test_it_says_what_it_replaces_does_and_has_pushed(rehearse, tmp_path, fresh):
    process = rehearse(with_steps("push"), "--parameter", "steps=9", python=sys.executable if fresh else None)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[:3] == [
        f"replaced: bucket gs://my-bucket, by {tmp_path}/below/buckets/my-bucket",
        "replaced: image registry/image:1, by this environment",
        f"replaced: raw files in {tmp_path}/below/buckets/my-bucket/raw, by a link to raw",
    ]
    assert lines[3] == "ExampleGen ..."
    assert lines[5] == "Pusher ..."
    # The task has pushed to a place that says what it was told.
    assert lines[7] == "model: /pushed/after/9"
    assert lines[8].startswith(f"log: {tmp_path}/below/runs/small-2")


def test_without_a_pushed_model_the_exit_code_is_3(rehearse):
    process = rehearse(with_steps("make"))
    assert process.returncode == 3, process.stderr
    assert "model: none was pushed" in process.stdout


def test_a_failure_is_one_message_and_exit_code_1(rehearse):
    process = rehearse(with_steps("fail"))
    assert process.returncode == 1
    assert process.stderr.startswith("error: Pusher failed: its command ended with exit code 1:")
    assert "Traceback" not in process.stderr


def test_what_is_refused_is_refused_before_anything_runs(rehearse, tmp_path):
    process = rehearse(JobBuilder().reader().task("odd", {}))
    assert process.returncode == 1
    assert process.stderr.startswith("error: the compiled pipeline holds what cannot be rehearsed; nothing was run:")
    assert not (tmp_path / "below" / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parameter", "stepz=9"], "the pipeline has no parameter stepz"),
        (["--parameter", "steps=x"], "'x' is no INT"),
        (["--set", "cache=false"], "--spec is compiled already; give it without --config and --set"),
    ],
)
def test_wrong_options_are_refused(rehearse, arguments, message):
    process = rehearse(with_steps("push"), *arguments)
    assert process.returncode == 1
    assert message in process.stderr


def test_parameters_of_the_newer_schema_are_typed(rehearse, tmp_path):
    builder = with_steps("push")
    builder.spec["schemaVersion"] = "2.1.0"
    builder.spec["root"]["inputDefinitions"] = {"parameters": {"steps": {"parameterType": "NUMBER_INTEGER"}}}
    builder.job["runtimeConfig"].pop("parameters")
    assert "model: /pushed/after/9.0" in rehearse(builder, "--parameter", "steps=9").stdout
