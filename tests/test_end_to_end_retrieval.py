"""Two towers from generated interactions to a pushed index, by the local runner and from a compiled file, and what is
refused on the way."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components.pusher.warmup import WARMUP_FILE
from components.retrieval_index.build import FAISS_DIRECTORY, VERTEX_FILE
from tests.browser import browser_tab, needs_chromium
from tests.serving.client import ask
from tests.serving.loader import serving
from tests.workspace import NOT_PUSHED, Workspace

EXPERIMENT = """
name: small
data: {dataset: synthetic, task: retrieval, split: {by: leave-last-out}}
model: {type: two_tower}
embeddings:
  dim: 16
  features: {history: {max_sequence_length: 10}}
training:
  batch_size: 256
  epochs: 4
  dense_optimizer: {name: adam, learning_rate: 0.01}
  embedding_optimizer: {name: adam, learning_rate: 0.01}
retrieval_index: {max_k: 50, recall_k: 10}
evaluation: {beat_baseline: false}
vertex:
  project: my-project
  region: us-central1
  bucket: gs://my-bucket
  data: gs://my-bucket/raw
  image: us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0
"""

# What somebody with TensorFlow and nothing else does with the pushed directory.
ASK = """
import json, sys
import tensorflow as tf
recommend = tf.saved_model.load(sys.argv[1]).signatures["recommend"]
answer = recommend(
    user_id=tf.constant(["1"]), gender=tf.constant(["F"]), occupation=tf.constant(["artist"]), age=tf.constant([30.0]),
    history=tf.constant([["3", "4"]]), exclude=tf.constant([["5", ""]]), k=tf.constant(7),
)
assert not {"tensorflow_recommenders", "tfx", "trainer_module", "faiss"} & set(sys.modules)
print(json.dumps([item.decode() for item in answer["ids"].numpy()[0]]))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("retrieval"), EXPERIMENT)
    generated = workspace.recspan("data", "generate", "--ratings", "10000", "--users", "150", "--items", "120")
    assert generated.returncode == 0, generated.stderr
    return workspace


@pytest.fixture(scope="module")
def first(workspace) -> tuple[subprocess.CompletedProcess, dict]:
    process, summary = workspace.run()
    assert process.returncode == 0, process.stdout + process.stderr
    return process, summary


@pytest.fixture(scope="module")
def rehearsed(workspace) -> str:
    """What the rehearsal of a compiled file prints."""
    compiled = workspace.recspan("pipeline", "compile", "--config", "small.yaml", "-o", "pipeline.json")
    assert compiled.returncode == 0, compiled.stderr
    places = ("--data-dir", "data/synthetic", "--root", "elsewhere")
    process = workspace.recspan("pipeline", "rehearse", "--spec", "pipeline.json", *places)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def pushed(summary: dict) -> Path:
    return Path(summary["pushed_to"])


def shown(process: subprocess.CompletedProcess) -> tuple[list[str], list[float]]:
    """Items and scores of a printed table of recommendations."""
    rows = [line.split() for line in process.stdout.splitlines() if re.match(r" +\d+ +\d", line)]
    return [row[1] for row in rows], [float(row[-1]) for row in rows]


def test_index_and_query_tower_are_pushed_as_one(first):
    process, summary = first
    assert "✓ RetrievalIndex" in process.stdout
    for text in ("ndcg_at_10_lift", "popularity_ndcg_at_10", "user_activity="):
        assert text in process.stdout
    overall = summary["evaluation"]["slices"][0]
    assert 0 < overall["ndcg_at_10_low"] <= overall["ndcg_at_10"] <= overall["ndcg_at_10_high"] < 1
    assert overall["example_count"] == 150
    assert {"embed_queries", "embed_query", "recommend", "serving_default"} <= set(
        summary["verification"]["signatures"]
    )
    assert (summary["retrieval_index"]["candidates"], summary["retrieval_index"]["dim"]) == (120, 16)
    directory = pushed(summary)
    assert len(Path(directory, FAISS_DIRECTORY, "ids.txt").read_text().split()) == 120
    assert len(Path(directory, VERTEX_FILE).read_text().splitlines()) == 120


def test_the_index_answers_with_tensorflow_alone(first):
    command = [sys.executable, "-I", "-c", ASK, str(pushed(first[1]))]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    items = json.loads(process.stdout)
    assert len(set(items)) == 7 and "5" not in items


def test_items_are_recommended_to_one_user_and_to_all(workspace, first):
    known = (workspace.directory / "data" / "synthetic" / "u.data").read_text().splitlines()
    seen = {tuple(line.split()[:2]) for line in known}
    of_user = Counter(user for user, _ in seen)
    process = workspace.recspan("recommend", "--all-users", "--output", "all.parquet", "-k", "3", "--exclude-seen")
    assert process.returncode == 0, process.stderr
    rows = pq.read_table(workspace.directory / "all.parquet").to_pylist()
    # Some have seen all but a few of the 120 items.
    assert Counter(row["user"] for row in rows) == Counter({user: min(3, 120 - of_user[user]) for user in of_user})
    assert not {(row["user"], row["item"]) for row in rows} & seen
    process = workspace.recspan(
        *("recommend", "--all-users", "--output", "shards", "--shards", "3", "-k", "3", "--exclude-seen")
    )
    assert process.returncode == 0, process.stderr
    assert len(list((workspace.directory / "shards").iterdir())) == 3
    ordered = [("user", "ascending"), ("rank", "ascending")]
    of_shards = pq.read_table(workspace.directory / "shards").sort_by(ordered).to_pylist()
    assert of_shards == pq.read_table(workspace.directory / "all.parquet").sort_by(ordered).to_pylist()
    user = min(of_user, key=of_user.__getitem__)
    process = workspace.recspan("recommend", "--user", user, "-k", "3", "--exclude-seen")
    assert process.returncode == 0, process.stderr
    assert "runs/serving/small/1" in process.stdout
    assert shown(process)[0] == [row["item"] for row in rows if row["user"] == user]
    unknown = workspace.recspan("recommend", "--user", "nobody")
    assert unknown.returncode == 0, unknown.stderr
    assert "user 'nobody' is not in the data" in unknown.stdout
    described = workspace.recspan(
        *("recommend", "--user", "nobody", "-k", "3", "--exclude-seen", "--json"),
        *("--value", "gender=F", "--history", "3,4"),
    )
    found = json.loads(described.stdout)["recommendations"]
    assert [row["rank"] for row in found] == [1, 2, 3]
    assert not {row["item"] for row in found} & {"3", "4"}


def test_a_score_is_explained_by_the_values_of_the_request(workspace, first):
    version = ("--model", str(pushed(first[1])), "--json")
    (best,) = json.loads(workspace.recspan("recommend", "--user", "1", "-k", "1", *version).stdout)["recommendations"]
    process = workspace.recspan("explain", "--user", "1", "--item", best["item"], *version)
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert answer["score"] == pytest.approx(best["score"], abs=1e-5)
    assert {"user_id", "history"} <= {each["column"] for each in answer["contributions"]}
    unknown = workspace.recspan("explain", "--user", "1", "--item", "nothing", *version)
    assert unknown.returncode == 1 and "has no item 'nothing'" in unknown.stderr
    process = workspace.recspan("neighbours", "--item", best["item"], "-k", "4", *version)
    near = json.loads(process.stdout)["neighbours"]
    assert len({each["item"] for each in near} - {best["item"]}) == 4 and all(each["title"] for each in near)
    assert [each["score"] for each in near] == sorted((each["score"] for each in near), reverse=True)


def test_a_model_server_answers_as_recommend_does(workspace, first):
    version = pushed(first[1])
    assert (version / WARMUP_FILE).stat().st_size
    process = workspace.recspan(
        *("recommend", "--user", "nobody", "-k", "3", "--json", "--history", "3,4"),
        *("--value", "gender=F", "--value", "occupation=artist", "--value", "age=30"),
    )
    assert process.returncode == 0, process.stderr
    request = {
        **{"user_id": ["nobody"], "gender": ["F"], "occupation": ["artist"], "age": [30.0], "history": [["3", "4"]]},
        **{"exclude": [[""]], "k": 3},
    }
    with serving(version) as (server, _):
        answer = ask(server, "--signature", "recommend", json.dumps(request))
    assert answer.returncode == 0, answer.stderr
    expected = [row["item"] for row in json.loads(process.stdout)["recommendations"]]
    assert json.loads(answer.stdout)["ids"] == [expected]


@pytest.fixture(scope="module")
def ranking(workspace, first) -> str:
    """A pushed ranking model of the same test rows, with int8 tables."""
    without = workspace.recspan("recommend", "--user", "1", "--rank")
    assert without.returncode == 1 and "no pushed ranking model" in without.stderr
    process = workspace.recspan(
        *("pipeline", "run", "--config", "synthetic", "--set", "training.epochs=1"),
        *("--set", "evaluation={beat_baseline: false}", "--set", "data.split.by=leave-last-out"),
        *("--set", "export.quantize=int8"),
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert re.search(r"rmse \d\.\d+ \(the same model without export\.quantize: \d\.\d+\)", process.stdout)
    return "runs/serving/synthetic-leave-last-out-rating/1"


def test_items_are_ranked_by_the_last_pushed_ranking_model(workspace, ranking):
    found, ranked = (workspace.recspan("recommend", "--user", "1", "-k", "5", *rank) for rank in ([], ["--rank"]))
    items, scores = shown(ranked)
    assert set(items) == set(shown(found)[0]) and len(items) == 5
    assert scores == sorted(scores, reverse=True) and 1 <= scores[-1] <= scores[0] <= 5
    assert f"ranked by: {ranking}" in ranked.stdout
    assert f": {scores[0]:.2f}\n" in workspace.recspan("predict", "--user", "1", "--item", items[0]).stdout
    explained = workspace.recspan("explain", "--user", "1", "--item", items[0]).stdout
    assert re.search(rf"^score {scores[0]:.4f}; \d\.\d+ without any value\.", explained, re.MULTILINE), explained
    assert re.search(rf"movie_id +{items[0]} \(.+\)", explained)
    for command in ("predict", "explain"):
        unknown = workspace.recspan(command, "--user", "1", "--item", "nothing")
        assert unknown.returncode == 1 and "the data has no item 'nothing'" in unknown.stderr


def test_two_stages_become_one_model_unless_ranking_makes_the_lists_worse(workspace, ranking):
    """Lists of one item out of one are as good as without ranking."""
    of_both = ("--retrieval", "runs/serving/small/1", "--ranking", ranking)
    worse = workspace.recspan("pipeline", "combine", *of_both, "--candidates", "100")
    assert worse.returncode == NOT_PUSHED, worse.stdout + worse.stderr
    assert re.search(r"nDCG@10 over 150 queries: both stages 0\.\d+, retrieval alone 0\.\d+", worse.stdout)
    assert "not pushed: ranking makes the lists worse" in worse.stdout
    assert not list((workspace.directory / "runs" / "serving" / "two-stage").iterdir())
    same = workspace.recspan("pipeline", "combine", *of_both, "--candidates", "1", "-k", "1")
    assert same.returncode == 0, same.stdout + same.stderr
    version = "runs/serving/two-stage/1"
    assert (workspace.directory / version / WARMUP_FILE).stat().st_size
    question = ("recommend", "--user", "1", "-k", "1", "--exclude-seen", "--json", "--model")
    answers = [workspace.recspan(*question, model).stdout for model in (version, "runs/serving/small/1")]
    items = [json.loads(answer)["recommendations"][0]["item"] for answer in answers]
    assert items[0] == items[1]


def recommendations(model: Path) -> dict[str, np.ndarray]:
    """The best items for some users."""
    users = [str(user) for user in range(1, 33)]
    recommend = tf.saved_model.load(str(model)).signatures["recommend"]
    answer = recommend(
        user_id=tf.constant(users),
        gender=tf.constant(["F"] * len(users)),
        occupation=tf.constant(["artist"] * len(users)),
        age=tf.constant([30.0] * len(users)),
        history=tf.constant([["3", "4"]] * len(users)),
        exclude=tf.constant([["5", ""]] * len(users)),
        k=tf.constant(20),
    )
    return {name: values.numpy() for name, values in answer.items()}


def test_a_rehearsals_model_recommends_what_the_local_runs_does(workspace, first, rehearsed):
    (version,) = (workspace.directory / "elsewhere/buckets/my-bucket/serving/small").iterdir()
    expected, found = recommendations(pushed(first[1])), recommendations(version)
    assert found["ids"].shape == (32, 20)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)
    # Items with almost the same score may change places.
    assert np.mean(found["ids"] == expected["ids"]) > 0.9


@needs_chromium
def test_the_report_shows_lists_and_what_three_users_are_recommended(first):
    with browser_tab() as tab:
        tab.open(Path(first[1]["report"]))
        ids = tab.evaluate("[...document.querySelectorAll('section')].map((each) => each.id)")
        assert {"lists", "importance", "samples", "embeddings", "placement"} < set(ids)
        assert tab.evaluate("document.querySelectorAll('#samples table').length") == 3
        # Ten rows of titles.
        assert tab.evaluate("document.querySelector('#samples tbody').rows.length") == 10
        assert tab.evaluate("document.querySelector('#samples tbody').rows[0].cells[2].textContent").startswith(
            "Movie "
        )
        assert tab.violations() == []
        assert not tab.errors


def test_a_rehearsal_runs_the_index_as_a_task_and_replaces_nothing_but_places(rehearsed):
    assert "✓ RetrievalIndex" in rehearsed
    assert [line.split()[1] for line in rehearsed.splitlines() if line.startswith("replaced:")] == [
        "bucket",
        "image",
        "raw",
    ]


def test_a_model_below_its_threshold_is_refused(workspace, first):
    process, summary = workspace.run("--set", "evaluation.min_ndcg=0.99")
    assert process.returncode == NOT_PUSHED
    assert "ndcg_at_10 is 0." in process.stdout and "at least 0.9900 is needed" in process.stdout
    assert [row["component"] for row in summary["components"] if not row["cached"]] == [
        "Baseline",
        "Evaluator",
        "Pusher",
        "RunReport",
    ]
    # A refused model has a report, too.
    assert "not pushed" in Path(summary["report"]).read_text()
    assert workspace.pushed() == ["1"]


def test_a_model_below_popularity_is_refused(workspace, first):
    nothing = "{name: sgd, learning_rate: 1.0e-9}"
    process, _ = workspace.run(
        *("--set", f"training.embedding_optimizer={nothing}", "--set", f"training.dense_optimizer={nothing}"),
        *("--set", "training.epochs=1", "--set", "evaluation.beat_baseline=true"),
        *("--set", "evaluation.max_regression=1"),
    )
    assert process.returncode == NOT_PUSHED, process.stdout + process.stderr
    assert "does not beat the naive baseline, most popular items: 0." in process.stdout
    assert workspace.pushed() == ["1"]


def test_a_transformer_trains_all_positions_and_answers_any_history_from_int8_rows(workspace, first):
    encoder = "{type: transformer, positions: all}"
    model = f"{{type: two_tower, query_encoder: {encoder}, similarity: dot, in_batch_negatives: false, "
    model += "mixed_negatives: 2, ignore: [user_id]}"
    process, summary = workspace.run(
        *("--set", f"model={model}", "--set", "embeddings.features={}", "--set", "training.epochs=2"),
        *("--set", "evaluation.max_regression=1", "--set", "export.quantize=int8"),
    )
    assert process.returncode == 0, process.stdout + process.stderr
    index = summary["retrieval_index"]
    assert index["min_recall"] <= index["int8_recall"] <= 1
    assert summary["training"]["export"]["quantize"] == "int8"
    overall = summary["evaluation"]["slices"][0]
    assert abs(overall["ndcg_at_10"] - overall["float32_ndcg_at_10"]) < 0.02
    assert "ndcg_at_10_diff" in overall and "float32_ndcg_at_10_diff" not in overall
    # What is pushed holds int8 rows alone; the float32 model stays in the run.
    stored = tf.train.load_checkpoint(str(pushed(summary) / "variables" / "variables"))
    shapes, dtypes = stored.get_variable_to_shape_map(), stored.get_variable_to_dtype_map()
    tables = {dtypes[name] for name, shape in shapes.items() if len(shape) == 2 and shape[0] >= 100}
    assert tables == {tf.int8}
    recommend = tf.saved_model.load(str(pushed(summary))).signatures["recommend"]
    scores = recommend(
        gender=tf.constant(["F"] * 4),
        occupation=tf.constant(["artist"] * 4),
        age=tf.constant([30.0] * 4),
        history=tf.constant([["3", "4"], ["4", "3"], ["", ""], ["unheard", "of"]]),
        exclude=tf.constant([[""]] * 4),
        k=tf.constant(5),
    )["scores"].numpy()
    assert np.all(np.isfinite(scores)) and len(np.unique(scores[:, 0])) == 4
    question = ("recommend", "--user", "1", "-k", "3", "--exclude-seen", "--model", str(pushed(summary)))
    process = workspace.recspan(*question)
    assert process.returncode == 0, process.stderr
    assert len(shown(process)[0]) == 3
