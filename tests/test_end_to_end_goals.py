"""Two goals in one model, from a CSV to answers of the pushed model."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.workspace import NOT_PUSHED, Workspace

EXPERIMENT = """
name: small
data:
  interactions:
    files: views/*.csv
    user: user
    item: item
    label: clicked
    labels: [{name: dwell, task: rating}]
    numeric: [price]
  task: click
model:
  type: multi_task
  heads: [{label: clicked}, {label: dwell, loss: mse, score_weight: 0.01}]
  mixing: {type: mmoe, experts: 2, widths: [16]}
  tower: [8]
  ignore: [price]
embeddings: {dim: 4}
training:
  batch_size: 64
  epochs: 5
  embedding_optimizer: {name: adam, learning_rate: 0.02}
  dense_optimizer: {name: adam, learning_rate: 0.005}
evaluation:
  heads: {clicked: {min_auc: 0.7, max_miscalibration: 0.15}, dwell: {max_rmse: 12, max_miscalibration: 0.2}}
"""
NOISE = 5.0


def write_views(directory: Path, num_rows: int) -> None:
    """Views of 50 users and 20 items. A user likes items of the same parity: clicks 4 of 5 of them, and 1 of 5 others,
    and reads for 80 seconds rather than 40. Only clicked views have a dwell."""
    directory.mkdir()
    random = np.random.default_rng(0)
    users, items = random.integers(50, size=num_rows), random.integers(20, size=num_rows)
    likes = users % 2 == items % 2
    clicked = random.random(num_rows) < np.where(likes, 0.8, 0.2)
    dwell = np.where(likes, 80, 40) + NOISE * random.normal(size=num_rows)
    lines = [
        f"u{user},i{item},{click},{f'{seconds:.2f}' if click else ''},{price:.2f}"
        for user, item, click, seconds, price in zip(
            users, items, clicked.astype(int), dwell, random.random(num_rows), strict=True
        )
    ]
    (directory / "day.csv").write_text("\n".join(["user,item,clicked,dwell,price", *lines]) + "\n")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    directory = tmp_path_factory.mktemp("goals")
    workspace = Workspace.create(directory, EXPERIMENT)
    write_views(directory / "views", 6000)
    process, summary = workspace.run()
    assert process.returncode == 0, process.stdout + process.stderr
    return workspace, summary


def test_each_head_is_measured_beside_its_own_baseline(ran):
    _, summary = ran
    overall = summary["evaluation"]["slices"][0]
    # Nothing but the pair of user and item says anything.
    assert overall["clicked.log_loss"] < 0.58 < 0.68 < overall["clicked.baseline_log_loss"]
    assert overall["dwell.rmse"] < 1.5 * NOISE < 2 * NOISE < overall["dwell.baseline_rmse"]
    assert overall["clicked.calibration"] == pytest.approx(1, abs=0.15)
    # Only clicked views have a dwell.
    assert overall["dwell.example_count"] == overall["clicked.click_count"] < overall["clicked.example_count"]
    references = {(pair["metric"], pair["reference"]) for pair in summary["evaluation"]["baselines"]}
    assert {
        ("clicked.log_loss", "mean of the training split"),
        ("clicked.auc", "logistic regression"),
        ("dwell.rmse", "user and item biases"),
    } <= references


def test_the_pushed_model_answers_with_each_head_and_the_score(ran):
    workspace, summary = ran
    model = tf.saved_model.load(summary["pushed_to"])
    asked = model.signatures["predict"](user=tf.constant(["u2", "u2"]), item=tf.constant(["i4", "i5"]))
    assert set(asked) == {"clicked", "dwell", "score"}
    np.testing.assert_allclose(asked["dwell"], [80, 40], atol=2 * NOISE)
    np.testing.assert_allclose(asked["score"], asked["clicked"] + 0.01 * asked["dwell"], rtol=1e-5)
    process = workspace.recspan("predict", "--user", "u2", "--item", "i4", "--json")
    answer = json.loads(process.stdout)
    assert answer["prediction"] == pytest.approx(float(asked["score"][0]), rel=1e-5)
    assert answer["heads"] == {name: pytest.approx(float(asked[name][0]), rel=1e-5) for name in ("clicked", "dwell")}
    assert "score " in workspace.recspan("predict", "--user", "u2", "--item", "i4").stdout


def test_a_model_whose_heads_are_worse_than_the_last_blessed_ones_is_held_back(ran):
    workspace, _ = ran
    process, summary = workspace.run("--set", "training.steps=5")
    assert process.returncode == NOT_PUSHED
    failures = summary["evaluation"]["failures"]
    assert any(failure.startswith("dwell.rmse is ") and "at most 12.0000 is allowed" in failure for failure in failures)
    for metric in ("clicked.log_loss", "dwell.rmse"):
        assert summary["evaluation"]["slices"][0][f"{metric}_diff"] > 0.005
        (worse,) = [failure for failure in failures if failure.startswith(f"{metric} changed by +")]
        assert worse.endswith("against the last blessed model; at most +0.0050 is allowed")
