"""Tests `recspan pipeline rehearse --spec` on hand-made pipelines."""

import json
import subprocess
import sys

import pytest

from tests.launcher import recspan_command

from .jobs import PUSHED, JobBuilder, container


@pytest.fixture
def rehearse(tmp_path, command_line):
    """Returns a function that writes a job and rehearses it from the command line."""
    (tmp_path / "raw").mkdir()

    def call(builder: JobBuilder, *arguments: str, fresh: bool = False) -> subprocess.CompletedProcess:
        (tmp_path / "pipeline.json").write_text(json.dumps(builder.job))
        options = ["--spec", "pipeline.json", "--root", "below", "--data-dir", "raw"]
        words = ["pipeline", "rehearse", *options, *arguments]
        if not fresh:
            return command_line(*words, cwd=tmp_path)
        return subprocess.run(recspan_command(sys.executable, *words), cwd=tmp_path, capture_output=True, text=True)

    return call


def with_steps(program: str) -> JobBuilder:
    parameters = {"steps": {"componentInputParameter": "steps"}}
    builder = (
        JobBuilder().reader().task("Pusher", container(program), parameters=parameters, outputs={"pushed": PUSHED})
    )
    builder.spec["root"]["inputDefinitions"] = {"parameters": {"steps": {"type": "INT"}}}
    builder.job["runtimeConfig"]["parameters"] = {"steps": {"intValue": "1"}}
    return builder


@pytest.mark.parametrize("fresh", [False, True], ids=["here", "new process"])
def test_replacements_tasks_and_the_pushed_model_are_printed(rehearse, tmp_path, fresh):
    process = rehearse(with_steps("push"), "--parameter", "steps=9", fresh=fresh)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[:3] == [
        f"replaced: bucket gs://my-bucket, by {tmp_path}/below/buckets/my-bucket",
        "replaced: image registry/image:1, by this environment",
        f"replaced: raw files in {tmp_path}/below/buckets/my-bucket/raw, by a link to raw",
    ]
    assert lines[3] == "ExampleGen ..."
    assert lines[5] == "Pusher ..."
    # The destination contains the value of the parameter.
    assert lines[7] == "model: /pushed/after/9"
    assert lines[8].startswith(f"log: {tmp_path}/below/runs/small-2")


def test_without_a_pushed_model_the_exit_code_is_3(rehearse):
    process = rehearse(with_steps("make"))
    assert process.returncode == 3, process.stderr
    assert "model: none was pushed" in process.stdout


def test_a_failure_is_one_message_and_exit_code_1(rehearse):
    process = rehearse(with_steps("fail"))
    assert process.returncode == 1
    assert process.stderr.startswith("error: Pusher failed: the command ended with exit code 1:")
    assert "Traceback" not in process.stderr


def test_an_unsupported_pipeline_is_refused_before_anything_runs(rehearse, tmp_path):
    process = rehearse(JobBuilder().reader().task("odd", {}))
    assert process.returncode == 1
    assert process.stderr.startswith("error: the compiled pipeline cannot be rehearsed; nothing was run:")
    assert not (tmp_path / "below" / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parameter", "stepz=9"], "the pipeline has no parameter stepz"),
        (["--parameter", "steps=x"], "'x' is not an INT"),
        (["--set", "cache=false"], "--spec is compiled already; give it without --config and --set"),
    ],
)
def test_wrong_options_are_refused(rehearse, arguments, message):
    process = rehearse(with_steps("push"), *arguments)
    assert process.returncode == 1
    assert message in process.stderr
