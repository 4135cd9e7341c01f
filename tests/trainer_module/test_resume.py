"""A training that is killed and started again ends as if nothing had happened, bit by bit."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests import launcher

from .resumable_training import PREEMPTED

# 10 steps an epoch, evaluated after each, a state every 4 steps: kills fall before, between and after saves.
TRAINING = {"batch_size": 100, "eval_batch_size": 500, "epochs": 3, "steps_per_loop": 2, "checkpoint_every": 4}
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """Holds a directory for each scenario."""
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def runs(world, directory) -> dict[str, list[dict]]:
    """Outcomes of all runs, by scenario."""
    from_files = TRAINING | {"cache": "none", "shuffle_rows": 300}
    kill, term = int(signal.SIGKILL), int(signal.SIGTERM)
    plans = {
        "uninterrupted": [{}],
        "killed before any save, then between saves": [{"signal": kill, "step": 2}, {"signal": kill, "step": 18}, {}],
        "killed before a save": [{"save": "before"}, {}],
        "killed after a save": [{"save": "after"}, {}],
        "preempted": [{"signal": term, "step": 14}, {}],
        "uninterrupted, several goals": [{"several_goals": True}],
        "killed, several goals": [{"signal": kill, "step": 18, "several_goals": True}, {"several_goals": True}],
        "uninterrupted, from files": [{"training": from_files}],
        "killed, features in files": [{"signal": kill, "step": 18, "features": "in files"}, {"features": "in files"}],
        "killed, from files": [{"signal": kill, "step": 18, "training": from_files}, {"training": from_files}],
    }
    scenarios = [
        {"training": TRAINING, "directory": str(directory / name.replace(" ", "-")), **run}
        for name, of_plan in plans.items()
        for run in of_plan
    ]
    for scenario in scenarios:
        Path(scenario["directory"]).mkdir(exist_ok=True)
    transform = str(Path(world.transform_output.transform_savedmodel_dir).parent)
    world_arguments = {"spec": world.spec.model_dump_json(), "transform": transform, "files": world.files}
    arguments = json.dumps({"world": world_arguments, "scenarios": scenarios})
    process = subprocess.run(
        [launcher.python(), "-m", "tests.trainer_module.resumable_training", arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    outcomes = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    assert len(outcomes) == len(scenarios), process.stderr[-3000:]
    waiting = iter(outcomes)
    return {name: [next(waiting) for _ in of_plan] for name, of_plan in plans.items()}


@pytest.mark.parametrize(
    ("name", "codes", "resumed_at"),
    [
        ("killed before any save, then between saves", [KILLED, KILLED, 0], 16),
        ("killed before a save", [KILLED, 0], 4),
        ("killed after a save", [KILLED, 0], 8),
        ("preempted", [PREEMPTED, 0], 14),
    ],
)
def test_an_interrupted_training_ends_with_the_same_bits(runs, name, codes, resumed_at):
    (expected,) = runs["uninterrupted"]
    assert [run["code"] for run in runs[name]] == codes
    final = runs[name][-1]
    assert final["resumed_at"] == resumed_at
    assert (final["steps"], final["best_step"]) == (expected["steps"], expected["best_step"])
    assert {key for key, digest in final["state"].items() if digest != expected["state"][key]} == set()


def test_features_in_files_train_and_resume_as_those_in_memory(runs, directory):
    (expected,) = runs["uninterrupted"]
    killed, final = runs["killed, features in files"]
    assert (killed["code"], final["resumed_at"]) == (KILLED, 16)
    assert final["state"] == expected["state"]
    left = {path.name for path in (directory / "killed,-features-in-files").iterdir()}
    assert {name for name in left if "tfevents" not in name} == {"best", "checkpoints", "outcome.json"}


def test_the_compared_state_is_all_there_is(runs):
    state = runs["uninterrupted"][0]["state"]
    for part in ("model/embedding", "model/_head", "optimizer/step", ".OPTIMIZER_SLOT", "progress", "best "):
        assert any(part in name for name in state), part


@pytest.mark.parametrize("kind", ["from files", "several goals"])
def test_a_training_of_another_kind_resumes_within_an_epoch(runs, kind):
    (expected,) = runs[f"uninterrupted, {kind}"]
    killed, final = runs[f"killed, {kind}"]
    assert (killed["code"], final["resumed_at"]) == (KILLED, 16)
    assert final["state"] == expected["state"]
    assert final["state"] != runs["uninterrupted"][0]["state"]
