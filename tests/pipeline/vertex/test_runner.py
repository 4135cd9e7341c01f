"""The stock `tfx` command line with `--engine=vertex`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_config
from pipeline.vertex.compile import compile_job
from tests import launcher

from .experiments import SECTION

PROJECT = Path(__file__).parents[3]
RUNNER = PROJECT / "pipeline" / "vertex_runner.py"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command with an experiment file, in an empty directory that is also the home."""
    tree = {"name": "small", "data": {"dataset": "synthetic"}, "vertex": SECTION}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "RECSPAN_CONFIG": str(tmp_path / "mine.yaml"),
        "HOME": str(tmp_path),
        "TF_USE_LEGACY_KERAS": "1",
        # The CLI asks the first pip that it finds whether kfp is there.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return lambda *command: subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_tfx_command_line_compiles_the_same_pipeline(call, tmp_path):
    process = call(
        str(launcher.binaries() / "tfx"), "pipeline", "compile", "--engine=vertex", f"--pipeline-path={RUNNER}"
    )
    assert "Pipeline small compiled successfully." in process.stdout, process.stderr
    compiled = json.loads((tmp_path / "pipeline.json").read_text())
    assert compiled["pipelineSpec"] == compile_job(load_config(tmp_path / "mine.yaml"))["pipelineSpec"]


def test_the_tfx_command_line_keeps_the_pipeline(call, tmp_path):
    process = call(
        str(launcher.binaries() / "tfx"), "pipeline", "create", "--engine=vertex", f"--pipeline-path={RUNNER}"
    )
    assert 'Pipeline "small" created successfully.' in process.stdout, process.stderr
    (kept,) = tmp_path.glob("tfx/vertex/small/pipeline.json")
    assert json.loads(kept.read_text())["pipelineSpec"]["pipelineInfo"]["name"] == "small"


def test_a_mistake_gets_one_message_and_no_file(call, tmp_path):
    (tmp_path / "mine.yaml").write_text("vertex: {bucket: my-bucket}")
    process = call(launcher.python(), str(RUNNER))
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {tmp_path}/mine.yaml: vertex.project: this key is missing")
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "pipeline.json").exists()


def test_what_names_this_machine_is_not_written(call, tmp_path):
    warm = {"checkpoint": f"{tmp_path}/best/checkpoint", "transform_graph": f"{tmp_path}/graph"}
    tree = {"name": "small", "data": {"dataset": "synthetic"}, "vertex": SECTION, "training": {"warm_start": warm}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    process = call(launcher.python(), str(RUNNER))
    assert process.returncode == 1
    assert "warm_start.checkpoint" in process.stderr
    assert not (tmp_path / "pipeline.json").exists()
