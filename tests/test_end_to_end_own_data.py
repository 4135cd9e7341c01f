"""A user's own CSV, from some lines of YAML to a pushed model."""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.workspace import Workspace

PAGE = Path(__file__).parent.parent / "docs" / "own_data.md"


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
    model = tf.saved_model.load(summary["pushed_to"])
    asked = model.signatures["predict"](
        user=tf.constant(["u1", "u1"]), item=tf.constant(["i2", "i3"]), price=tf.constant([0.5, 0.5])
    )
    even, odd = asked["probability"].numpy()
    assert even > odd
