"""The exact search as a client sees it: the SavedModel, loaded, and in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2

from components.pusher.verify import TPU_OPERATION, check_contents
from components.retrieval_index.exact import save_exact_search
from components.retrieval_index.towers import load_towers
from trainer_module import KERAS_SWITCH
from trainer_module.errors import ConfigError

from .world import CATALOG, EAST, NORTH, query, save_towers, serialize

MAX_K = 7
# x*a + y*b by hand: to the east 1, 0, 1, 2, 1, to the north 0, 1, 1, 0, 1; ties stand in the catalog's order.
TO_EAST = [b"i3", b"i0", b"i2", b"i4", b"i1"]
TO_NORTH = [b"i1", b"i2", b"i4", b"i0", b"i3"]

FRESH_PROCESS = """
import json, sys
import tensorflow as tf
by_tensorflow = set(sys.modules)
model = tf.saved_model.load(sys.argv[1])
answer = model.signatures["recommend"](
    user=tf.constant(["u0", "stranger"]), x=tf.constant([1.0, 0.0]), y=tf.constant([0.0, 1.0]),
    exclude=tf.constant([["i3", ""], ["", "nothing"]]), k=tf.constant(2))
more = {"components", "pipeline", "trainer_module", "tfx", "tensorflow_recommenders", "keras", "tf_keras", "faiss"}
print(json.dumps({
    "ids": answer["ids"].numpy().astype(str).tolist(),
    "titles": [[title.decode() for title in row] for row in answer["titles"].numpy()],
    "scores": answer["scores"].numpy().tolist(),
    "more": sorted(more & {name.partition(".")[0] for name in set(sys.modules) - by_tensorflow})}))
"""


@pytest.fixture(scope="module")
def index_dir(build, tmp_path_factory) -> str:
    directory = tmp_path_factory.mktemp("exact")
    build(directory, max_k=MAX_K)
    # What the model needs must lie in its own directory.
    (directory / "index").rename(directory / "moved")
    for path in (directory / "scratch").iterdir():
        path.unlink()
    return str(directory / "moved")


@pytest.fixture(scope="module")
def model(index_dir):
    return tf.saved_model.load(index_dir)


def serve(model, *queries: dict[str, list]) -> dict[str, np.ndarray]:
    answer = model.signatures["serving_default"](examples=tf.constant([serialize(q) for q in queries], tf.string))
    return {name: value.numpy() for name, value in answer.items()}


def recommend(model, vectors, k: int, exclude=None, users=None) -> dict[str, np.ndarray]:
    answer = model.signatures["recommend"](
        user=tf.constant(users or ["u0"] * len(vectors), tf.string),
        x=tf.constant([x for x, _ in vectors], tf.float32),
        y=tf.constant([y for _, y in vectors], tf.float32),
        exclude=tf.constant(exclude or [[]] * len(vectors), tf.string, shape=None if exclude else [len(vectors), 0]),
        k=tf.constant(k),
    )
    return {name: value.numpy() for name, value in answer.items()}


def test_the_best_by_hand(model):
    answer = recommend(model, [EAST, NORTH], 5)
    assert answer["ids"].tolist() == [TO_EAST, TO_NORTH]
    assert answer["scores"].tolist() == [[2, 1, 1, 1, 0], [1, 1, 1, 0, 0]]
    assert answer["titles"][0, 3].decode() == "Vier, für Käufer"
    assert set(answer) == {"ids", "titles", "scores"}


def test_the_query_tower_keeps_its_vocabulary_and_variables(model):
    # The east (1, 0) becomes (11, 0) for u1; a user that the vocabulary does not hold is like u0.
    answer = recommend(model, [EAST] * 3, 1, users=["u0", "u1", "stranger"])
    assert answer["scores"].tolist() == [[2], [22], [2]]


@pytest.mark.parametrize("k", [0, 1, 5, 6, 1000])
def test_k_is_the_width_of_the_answer_up_to_the_catalog(model, k):
    answer = recommend(model, [EAST], k)
    assert answer["ids"].tolist() == [TO_EAST[:k]]
    assert answer["scores"].shape == answer["titles"].shape == (1, min(k, 5))


def test_a_negative_k_is_refused(model):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"k >= 0"):
        recommend(model, [EAST], -1)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_batches_of_any_size(model, size):
    assert recommend(model, [NORTH] * size, 2)["ids"].tolist() == [TO_NORTH[:2]] * size
    assert serve(model, *[query(NORTH)] * size)["ids"].shape == (size, MAX_K)


def test_each_query_excludes_its_own(model):
    exclude = [["i3", " i2\u3000", "i3"], ["i1", " ", "unheard of"], ["", "", ""]]
    answer = recommend(model, [EAST, NORTH, NORTH], 5, exclude)
    assert answer["ids"].tolist() == [
        [b"i0", b"i4", b"i1", b"", b""],
        [b"i2", b"i4", b"i0", b"i3", b""],
        TO_NORTH,
    ]
    assert answer["scores"][0].tolist() == [1, 1, 0, -np.inf, -np.inf]
    assert answer["titles"][0, 2:].tolist() == [b"One", b"", b""]


def test_serving_leaves_out_what_was_seen_and_fills_up(model):
    answer = serve(model, query(EAST, seen=["i3", "gone"]), query(NORTH))
    assert answer["ids"].tolist() == [[b"i0", b"i2", b"i4", b"i1", b"", b"", b""], [*TO_NORTH, b"", b""]]
    assert answer["train_counts"].tolist() == [[5, 3, 1, 4, 0, 0, 0], [4, 3, 1, 5, 0, 0, 0]]
    assert answer["scores"][0].tolist() == [1, 1, 1, 0, -np.inf, -np.inf, -np.inf]
    assert {name: value.dtype for name, value in answer.items()} == {
        "ids": object,
        "titles": object,
        "scores": np.float32,
        "train_counts": np.int64,
    }


def test_serving_needs_no_list_of_seen_items(model):
    asked = query(EAST)
    del asked["seen"]
    assert serve(model, asked)["ids"][0, :5].tolist() == TO_EAST


@settings(max_examples=30, deadline=None)
@given(
    x=st.integers(-3, 3),
    y=st.integers(-3, 3),
    k=st.integers(0, 7),
    exclude=st.lists(st.sampled_from(["i0", "i1", "i2", "i3", "i4", "", "other"]), max_size=6),
)
def test_any_query_gets_what_sorting_gives(model, x, y, k, exclude):
    scores = {
        row["item"][0].encode(): x * row["a"][0] + y * row["b"][0] for row in CATALOG if row["item"][0] not in exclude
    }
    expected = sorted(scores, key=lambda item: -scores[item])[:k]
    answer = recommend(model, [(x, y)], k, [exclude] if exclude else None)
    assert [item for item in answer["ids"][0].tolist() if item] == expected
    assert [score for score in answer["scores"][0].tolist() if np.isfinite(score)] == [scores[i] for i in expected]


def test_integers_identify_items_too(build, tmp_path):
    rows = [row | {"item": [10 + number]} for number, row in enumerate(CATALOG)]
    build(tmp_path, rows, [query(seen=[13])], max_k=3)
    answer = serve(tf.saved_model.load(str(tmp_path / "index")), query(seen=[13, 99]))
    assert answer["ids"].tolist() == [[b"10", b"12", b"14"]]


def test_a_fresh_process_needs_tensorflow_alone(index_dir):
    # The product's choice of Keras is no part of a server's environment.
    environment = {name: value for name, value in os.environ.items() if name not in (KERAS_SWITCH, "PYTHONPATH")}
    command = [sys.executable, "-I", "-c", FRESH_PROCESS, index_dir]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == {
        "ids": [["i0", "i2"], ["i1", "i2"]],
        "titles": [["Zero", "Two"], ["One", "Two"]],
        "scores": [[1.0, 1.0], [1.0, 1.0]],
        "more": [],
    }


def test_tensorflow_serving_knows_every_operation(index_dir):
    assert check_contents(index_dir) > 20
    saved = saved_model_pb2.SavedModel.FromString(Path(index_dir, "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    operations = {node.op for node in nodes} - {function.signature.name for function in graph.library.function}
    # These are TensorFlow's own, which its server is built with; operations that other packages load are not there.
    assert {operation for operation in operations if not hasattr(tf.raw_ops, operation)} == set()
    assert not {operation for operation in operations if "PyFunc" in operation or TPU_OPERATION.search(operation)}
    assert {"MatMul", "TopKV2", "LookupTableFindV2", "TensorScatterUpdate"} <= operations


def test_what_only_candidates_need_is_left_behind(index_dir, towers_dir):
    def shapes(directory):
        return sorted(shape for _, shape in tf.train.list_variables(f"{directory}/variables/variables") if shape)

    assert shapes(towers_dir) == [[1, 2], [2, 2]]
    # The users' table, then identifiers, titles, counts and vectors of five candidates.
    assert shapes(index_dir) == [[2, 2], [5], [5], [5], [5, 2]]
    assert sorted(path.name for path in Path(index_dir, "assets").iterdir()) == ["candidate_ids.txt", "users.txt"]


def test_a_query_column_must_not_be_called_like_another_input(tmp_path):
    towers = load_towers(save_towers(tmp_path, column="k"))
    with pytest.raises(ConfigError, match=r"query column\(s\) k: the signature recommend has inputs of that name"):
        save_exact_search(towers, None, 1, str(tmp_path), str(tmp_path))


def test_the_evaluator_gets_lists_with_and_without_what_was_seen(model):
    examples = tf.constant([serialize(query(EAST, seen=["i3"]) | {"relevant": ["i0", "gone"]})], tf.string)
    answer = {
        name: value.numpy()[0].tolist() for name, value in model.signatures["evaluate"](examples=examples).items()
    }
    # Evaluation looks at 100 items, however many an answer has.
    for name in ("ids", "train_counts", "popular_ids", "ids_with_seen"):
        assert len(answer[name]) == 100 and not any(answer[name][MAX_K:])
        answer[name] = answer[name][:MAX_K]
    assert answer["ids"] == [b"i0", b"i2", b"i4", b"i1", b"", b"", b""]
    assert answer["ids_with_seen"] == [*TO_EAST, b"", b""]
    assert answer["popular_ids"] == [b"i0", b"i1", b"i2", b"i4", b"", b"", b""]
    assert (answer["relevant"], answer["relevant_train_counts"]) == ([b"i0", b"gone"], [5, 0])
    assert answer["candidates"] == 5
    # 13 rows: i0 holds 5 of them, i0 and i1 hold 9.
    assert answer["third_bounds"] == [5, 4]
