"""`recspan tune` on a small synthetic dataset: a search that is killed goes on, and its best experiment is tested."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.config import load_config
from tests import launcher
from tests.workspace import Workspace

EXPERIMENT = """
name: small
data: {dataset: synthetic, split: {by: random}}
embeddings: {dim: 4}
model: {ignore: [title_words], mlp: [], biases: learned, dropout: 0.0, embedding_l2: 0.02}
training: {batch_size: 256, epochs: 2}
evaluation: {beat_baseline: false}
"""
# The experiment's own rate is too small for two epochs, so that every trial is better.
SPACE = """
parameters:
  training.embedding_optimizer.learning_rate: {low: 0.01, high: 0.05, log: true}
  embeddings.dim: [4, 8]
"""
COMMAND = ("tune", "--config", "small.yaml", "--space", "space.yaml", "--trials", "3")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("workspace"), EXPERIMENT)
    (workspace.directory / "space.yaml").write_text(SPACE)
    generated = workspace.recspan("data", "generate", "--ratings", "4000", "--users", "100", "--items", "90")
    assert generated.returncode == 0, generated.stderr
    return workspace


@pytest.fixture(scope="module")
def directory(workspace) -> Path:
    return workspace.directory / "runs" / "tuning" / "small"


@pytest.fixture(scope="module")
def killed(workspace) -> str:
    """Kills a search after its first trial; returns what it printed."""
    output = workspace.directory / "killed.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [str(launcher.binaries() / "recspan"), *COMMAND],
            cwd=workspace.directory,
            env=workspace.environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None and "trial 0: " not in output.read_text():
            time.sleep(0.05)
        process.kill()
    assert process.wait() == -signal.SIGKILL, output.read_text()
    return output.read_text()


@pytest.fixture(scope="module")
def finished(workspace, killed) -> subprocess.CompletedProcess:
    process = workspace.recspan(*COMMAND)
    assert process.returncode == 0, process.stdout + process.stderr
    return process


@pytest.fixture(scope="module")
def result(directory, finished) -> dict:
    return json.loads((directory / "result.json").read_text())


def test_a_killed_search_goes_on(killed, finished, result):
    assert "✓ Transform" in killed and "trial 0: " in killed
    # The trial that ended before is not trained again, and the data is not prepared again.
    assert "trial 0: " not in finished.stdout
    assert "✓ Transform cached" in finished.stdout
    assert len(re.findall(r"^    trial \d+: ", finished.stdout, re.MULTILINE)) == 2
    assert (result["tries"], result["outcomes"]) == (3, {"finished": 3})


def test_the_best_is_better_on_eval_and_tested_once(workspace, directory, finished, result):
    assert result["eval_best"] < result["eval_before"] and result["best_trial"] != 0
    config = load_config(directory / "best.yaml")
    assert config.training.embedding_optimizer.learning_rate >= 0.01
    (run,) = (workspace.directory / "runs" / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert result["test"] == {"rmse": summary["evaluation"]["slices"][0]["rmse"]}
    # What the trial found, the pipeline's Trainer finds again.
    training = json.loads((workspace.artifact("Trainer", "model") / "training.json").read_text())
    assert training["metrics"]["rmse"] == pytest.approx(result["eval_best"], rel=1e-3)
    figures = f"{result['eval_best']:.4f} (trial {result['best_trial']}) the best of 3 tries"
    assert figures in finished.stdout and f"test rmse: {result['test']['rmse']:.4f}" in finished.stdout


def test_nothing_is_left_but_results(workspace, directory, finished):
    assert {file.name for file in directory.iterdir()} == {
        "best.yaml", "log.txt", "report.html", "result.json", "study.sqlite", "trials.md", "worker-0.log"
    }  # fmt: skip
    assert not (workspace.directory / "runs" / "tmp").exists()
    assert not workspace.network_log.exists()


def test_another_experiment_does_not_go_on_with_these_trials(workspace, finished):
    process = workspace.recspan(*COMMAND, "--set", "training.epochs=3")
    assert process.returncode == 1
    assert "study.sqlite: holds trials of another experiment" in process.stderr
