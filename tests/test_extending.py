"""The changes that docs/extending.md shows work on the sources as they are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent

# What a reader would try after following the page.
USE = """
import numpy as np
import pyarrow as pa
import trainer_module
import tensorflow as tf
from pydantic import TypeAdapter
from components.evaluation.retrieval_metrics import MetricName, ranking_metrics
from components.example_gen.rows import POSITION, TIME, Entities, Rows
from components.example_gen.splits.config import SplitConfig
from components.example_gen.config import DataConfig
from components.example_gen.joins.compose import joins_of
from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets import known_dataset
from trainer_module.data.tables import InteractionsTable
from trainer_module.models.config import MODELS
from trainer_module.optimizers.config import DENSE_OPTIMIZERS, EMBEDDING_OPTIMIZERS
from trainer_module.optimizers.keras import make_optimizer

head = MODELS["linear"]().head(2, 0.5, "float32")
score = head([tf.constant([[9.0, 1.0]]), tf.constant([[9.0, 2.0]])], [], None)
np.testing.assert_allclose(score, [0.5 + 3.0 * float(head.weights[0][0, 0])], rtol=1e-6)

days = {"by": "since", "eval_from": "1970-01-02T00:00:00Z", "test_from": "1970-01-03T00:00:00Z"}
split = TypeAdapter(SplitConfig).validate_python(days)
protocol = split.protocol(InteractionsTable(files="a.csv"))
times = np.array([0, 86_400, 172_799, 172_800]) * 1_000_000
batch = pa.RecordBatch.from_pydict({POSITION: pa.array([1, 2, 3, 4]), TIME: pa.array(times)})
split = protocol.assign(Rows(0, batch), None, Entities(None, None, ("a.csv",)))
assert split.tolist() == [0, 1, 1, 2]
assert protocol.find_leaks(protocol.evidence(Rows(0, batch, split)), ["a.csv"]) == []
assert "a.csv" in protocol.find_leaks(protocol.evidence(Rows(0, batch, split[::-1].copy())), ["a.csv"])[0]

own = {"files": "a.csv", "label": "clicked", "categorical": ["device"]}
try:
    DataConfig.model_validate({"interactions": own, "task": "click", "split": days})
    raise SystemExit("a split by time without times was taken")
except ValueError as error:
    assert "split by since needs interactions.time" in str(error)

books = DataConfig(dataset="books").described()
assert books.spec().user_key == "User_ID" and "Author" in [c.name for c in books.spec().features.inputs]

own |= {"time": "ts"}
clicks = Dataset.model_validate({"tables": {"interactions": own}, "task": "click", "weekday": True})
assert "weekday" in [column.name for column in clicks.spec().features.inputs]
(weekdays,) = [join for join in joins_of(clicks) if join.name == "weekday"]
(part,) = weekdays.parts(Rows(0, batch), None, Entities(None, None, ("a.csv",)))
assert part.columns.column("weekday").to_pylist() == [[b"thu"], [b"fri"], [b"fri"], [b"sat"]]

MetricName.parse("f_score_at_10")
# Two of the first four found, of three: precision 1/2, recall 2/3.
np.testing.assert_allclose(ranking_metrics.f_score(np.array([[True, False, True, False]]), np.array([3]), 4), [4 / 7])

assert "rmsprop" in DENSE_OPTIMIZERS and "rmsprop" not in EMBEDDING_OPTIMIZERS
optimizer = make_optimizer(DENSE_OPTIMIZERS["rmsprop"](learning_rate=0.1), tf.Variable(0, dtype=tf.int64))
assert (optimizer.get_config()["name"], optimizer.get_config()["rho"]) == ("RMSprop", 0.9)
print("all of it works")
"""


COSTS = {
    "A split protocol": 1,
    "A dataset": 1,
    "A retrieval metric": 1,
    "A ranking model": 2,
    "An optimizer": 2,
    "A join": 3,
}


def test_every_change_of_the_page_applies_and_works(tmp_path):
    for room in ("trainer_module", "components"):
        shutil.copytree(PROJECT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    page = (PROJECT / "docs" / "extending.md").read_text()
    changes = dict(re.findall(r"^## ([^\n]+)\n[^#]*?```diff\n(.*?)```", page, re.DOTALL | re.MULTILINE))
    assert {title: len(re.findall(r"^\+\+\+ b/", change, re.MULTILINE)) for title, change in changes.items()} == COSTS
    shown = dict(re.findall(r"^\| ([a-z ]+) \| (\d) \|$", page, re.MULTILINE))
    assert shown == {title.split(" ", 1)[1]: str(files) for title, files in COSTS.items()}
    for change in changes.values():
        applied = subprocess.run(
            ["git", "apply", "--unidiff-zero", "-"], input=change, cwd=tmp_path, capture_output=True, text=True
        )
        assert applied.returncode == 0, applied.stderr
    used = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True)
    assert used.stdout.strip() == "all of it works", used.stderr
