"""A user's own CSV, from some lines of YAML to a pushed model."""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.workspace import Workspace

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "own_data.md"

# Clicks on three items in two segments, and with which probability a log shows them.
CLICKS = np.array([[0.1, 0.3, 0.6], [0.5, 0.2, 0.1]])
LOGGING = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])


def write_clicks(directory: Path, num_rows: int) -> None:
    """Clicks whose probability follows from the item alone: .8 for even ones, .2 for odd ones."""
    directory.mkdir()
    random = np.random.default_rng(0)
    users, items = random.integers(50, size=num_rows), random.integers(20, size=num_rows)
    clicked = random.random(num_rows) < np.where(items % 2 == 0, 0.8, 0.2)
    lines = [
        f"{label},u{user},i{item},{price:.2f}"
        for label, user, item, price in zip(clicked.astype(int), users, items, random.random(num_rows), strict=True)
    ]
    (directory / "day.csv").write_text("\n".join(["clicked,user,item,price", *lines]) + "\n")


def test_the_pages_first_experiment_runs_as_it_stands(tmp_path):
    experiment = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    assert len(experiment.splitlines()) < 15
    workspace = Workspace.create(tmp_path, experiment.replace("my-clicks", "small"))
    write_clicks(tmp_path / "clicks", 6000)
    process, summary = workspace.run(
        *("--set", "training.epochs=5", "--set", "training.batch_size=64", "--set", "evaluation.min_auc=0.6")
    )
    assert process.returncode == 0, process.stdout + process.stderr
    overall = summary["evaluation"]["slices"][0]
    assert overall["log_loss"] < overall["baseline_log_loss"]
    # Even against odd items: a pair of a click and none is ordered right by 0.8 * 0.8 + (0.8 * 0.2 * 2) / 2.
    assert 0.6 < overall["auc"] < 0.84
    report = Path(summary["report"]).read_text()
    assert "calibration" in report and "model, AUC 0." in report
    model = tf.saved_model.load(summary["pushed_to"])
    asked = model.signatures["predict"](
        user=tf.constant(["u1", "u1"]), item=tf.constant(["i2", "i3"]), price=tf.constant([0.5, 0.5])
    )
    even, odd = asked["probability"].numpy()
    assert even > odd
    # Another task under the same name ends before the first component.
    process, summary = workspace.run("--set", "data.task=rating", "--set", "model.type=rating")
    assert process.returncode == 1 and "✓" not in process.stdout
    assert process.stderr.startswith("error: the last blessed model of this pipeline predicts clicks and cannot be")
    assert workspace.pushed() == ["1"]


def write_impressions(file: Path, num_rows: int) -> None:
    random = np.random.default_rng(0)
    segment, slot = random.integers(2, size=num_rows), random.integers(3, size=num_rows)
    item = (random.random(num_rows)[:, np.newaxis] > LOGGING[segment].cumsum(axis=1)).sum(axis=1)
    clicked = random.random(num_rows) < CLICKS[segment, item]
    shown_with = LOGGING[segment, item]
    # No probability of a row that there is.
    shown_with[7] = 0
    columns = ("segment", "slot", "item", "clicked", "shown_with")
    rows = zip(segment, slot, item, clicked.astype(int), shown_with, strict=True)
    lines = [",".join(map(str, row)) for row in rows]
    file.write_text("\n".join([",".join(columns), *lines]) + "\n")


def test_policies_are_judged_by_propensities(tmp_path):
    page = (DOCS / "off_policy.md").read_text()
    experiment = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]
    workspace = Workspace.create(tmp_path, experiment.replace("my-slots", "small"))
    write_impressions(tmp_path / "impressions.csv", 6000)
    process, summary = workspace.run(
        *("--set", "training.epochs=5", "--set", "training.batch_size=64", "--max-bad-rows", "1")
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert summary["examples"]["bad_rows"] == 1
    overall = summary["evaluation"]["slices"][0]
    # What the greedy policy shows is clicked on with probability 0.6 and 0.5; the log's items with 0.26 and 0.2.
    assert abs(overall["logged_value"] - 0.23) < 0.05
    assert overall["greedy_ips_value_low"] < 0.55 < overall["greedy_ips_value_high"]
    assert overall["greedy_snips_value_low"] < 0.55 < overall["greedy_snips_value_high"]
    assert overall["logged_value"] < overall["softmax_snips_value"] < overall["greedy_snips_value"]
    assert abs(overall["softmax_importance_weight"] - 1) < 0.2
    inputs = tf.saved_model.load(summary["pushed_to"]).signatures["predict"].structured_input_signature[1]
    assert set(inputs) == {"item", "segment", "slot"}
