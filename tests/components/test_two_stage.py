"""Two stages in one SavedModel, from small models whose answers are known."""

import numpy as np
import pytest
import tensorflow as tf

from components.retrieval_index.approximate import build, load, save
from components.retrieval_index.config import FlatConfig, IvfConfig
from components.retrieval_index.item_vectors import Int8Vectors
from components.two_stage.candidates import ApproximateCandidates, ExactCandidates, read_cells
from components.two_stage.model import save_two_stage
from trainer_module.errors import ConfigError

IDS = ["a", "b", "c", "d"]
PRICES = tf.constant([1.0, 2.0, 3.0, 4.0])
TAGS = tf.constant([["x", ""], ["x", "y"], ["", ""], ["y", ""]])


class Retrieval(tf.Module):
    """Finds a, b, c, d in this order, for everybody."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None, None], tf.string, name="exclude"),
            tf.TensorSpec([], tf.int32, name="k"),
        ]
    )
    def recommend(self, user, exclude, k):
        left = tf.reduce_all(tf.constant(IDS)[tf.newaxis, :, tf.newaxis] != exclude[:, tf.newaxis], axis=2)
        scores = tf.where(left, [[4.0, 3.0, 2.0, 1.0]], -np.inf)
        best = tf.math.top_k(scores, tf.minimum(k, len(IDS)))
        ids = tf.where(best.values > -np.inf, tf.gather(tf.constant(IDS), best.indices), "")
        return {"ids": ids, "titles": tf.strings.upper(ids), "scores": best.values}


class Ranking(tf.Module):
    """The price, plus 10 for each tag that is the user's name."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None], tf.string, name="item"),
            tf.TensorSpec([None], tf.float32, name="price"),
            tf.TensorSpec([None, None], tf.string, name="tags"),
            tf.TensorSpec([None], tf.float32, name="hour"),
        ]
    )
    def predict(self, user, item, price, tags, hour):
        liked = tf.reduce_sum(tf.cast(tags == user[:, tf.newaxis], tf.float32), axis=1)
        return {"rating": price + 10 * liked + hour + 0 * tf.cast(tf.strings.length(item), tf.float32)}


class Quantized(Retrieval):
    """Finds the same, by int8 vectors."""

    def __init__(self):
        super().__init__()
        self._vectors = Int8Vectors(np.array([[4.0], [3.0], [2.0], [1.0]], np.float32))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None, None], tf.string, name="exclude"),
            tf.TensorSpec([], tf.int32, name="k"),
        ]
    )
    def recommend(self, user, exclude, k):
        found = super().recommend(user, exclude, k)
        scores = self._vectors.scores(tf.ones([tf.shape(user)[0], 1]))
        return {**found, "scores": tf.gather(scores, tf.range(tf.shape(found["ids"])[1]), axis=1)}


class OtherUser(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="user")])
    def predict(self, user):
        return {"rating": tf.cast(tf.shape(user)[:1], tf.float32)}


def saved(module: tf.Module, directory, name: str):
    tf.saved_model.save(module, str(directory), {name: getattr(module, name)})
    return tf.saved_model.load(str(directory))


@pytest.fixture(scope="module")
def recommend(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stages")
    retrieval = saved(Retrieval(), directory / "retrieval", "recommend")
    ranking = saved(Ranking(), directory / "ranking", "predict")
    items = {"item": tf.constant(IDS), "price": PRICES, "tags": TAGS}
    save_two_stage(ExactCandidates(retrieval), ranking, items, IDS, 3, str(directory / "whole"))
    return tf.saved_model.load(str(directory / "whole")).signatures["recommend"]


def test_int8_rows_stay_int8_rows(recommend, tmp_path):
    retrieval = saved(Quantized(), tmp_path / "retrieval", "recommend")
    ranking = saved(Ranking(), tmp_path / "ranking", "predict")
    items = {"item": tf.constant(IDS), "price": PRICES, "tags": TAGS}
    save_two_stage(ExactCandidates(retrieval), ranking, items, IDS, 3, str(tmp_path / "whole"))
    variables = str(tmp_path / "whole" / "variables" / "variables")
    stored = [tf.train.load_variable(variables, name) for name, shape in tf.train.list_variables(variables) if shape]
    assert [of.tolist() for of in stored if of.dtype == np.int8] == [[[127]] * 4]
    quantized = tf.saved_model.load(str(tmp_path / "whole")).signatures["recommend"]
    found, expected = (answer(each, ["x", "y"], [["a"], [""]], 3) for each in (quantized, recommend))
    assert found["ids"] == expected["ids"] and found["scores"] == expected["scores"]


def answer(recommend, users: list[str], exclude: list[list[str]], k: int) -> dict[str, list]:
    found = recommend(
        user=tf.constant(users),
        hour=tf.constant([0.5] * len(users)),
        exclude=tf.constant(exclude),
        k=tf.constant(k),
    )
    return {name: value.numpy().tolist() for name, value in found.items()}


def test_candidates_are_ranked_by_their_own_columns(recommend):
    found = answer(recommend, ["x", "nobody"], [[""], [""]], 2)
    # Of the candidates a, b and c: x likes a and b; for others the price decides.
    assert found["ids"] == [[b"b", b"a"], [b"c", b"b"]]
    assert found["titles"] == [[b"B", b"A"], [b"C", b"B"]]
    assert found["scores"] == [[12.5, 11.5], [3.5, 2.5]]
    assert found["ranking_scores"] == found["scores"]
    assert found["retrieval_scores"] == [[3.0, 4.0], [2.0, 3.0]]


def test_the_final_score_may_weigh_both_stages(tmp_path):
    retrieval = saved(Retrieval(), tmp_path / "retrieval", "recommend")
    ranking = saved(Ranking(), tmp_path / "ranking", "predict")
    items = {"item": tf.constant(IDS), "price": PRICES, "tags": TAGS}
    save_two_stage(ExactCandidates(retrieval), ranking, items, IDS, 3, str(tmp_path / "whole"), retrieval_weight=4)
    whole = tf.saved_model.load(str(tmp_path / "whole")).signatures["recommend"]
    found = answer(whole, ["nobody"], [["a", "b"]], 3)
    # Of c and d, whose prices are 3 and 4, retrieval prefers c: 3.5 + 4 * 2 and 4.5 + 4 * 1.
    assert found["ids"] == [[b"c", b"d", b""]]
    assert found["scores"] == [[11.5, 8.5, -np.inf]]
    assert found["ranking_scores"] == [[3.5, 4.5, -np.inf]]


class Towers(tf.Module):
    """The query's vector is an input."""

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="vector")])
    def embed_query(self, vector):
        return {"embedding": vector}


def index_of(vectors: np.ndarray, directory, **settings) -> list[str]:
    ids = [f"i{row}" for row in range(len(vectors))]
    save(build(IvfConfig(**settings), vectors), ids, str(directory / "assets.extra" / "faiss"))
    return ids


@pytest.mark.parametrize("probes", [1, 3, 8])
def test_approximate_candidates_are_those_of_the_index_without_excluded_items(tmp_path, probes):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(400, 8)).astype(np.float32)
    queries = random.normal(size=(5, 8)).astype(np.float32)
    ids = index_of(vectors, tmp_path, nlist=8, nprobe=probes)
    towers = saved(Towers(), tmp_path / "towers", "embed_query")
    titles = {item: item.upper() for item in ids}
    search = ApproximateCandidates(towers, read_cells(str(tmp_path)), titles, str(tmp_path / "ids.txt"))
    columns = {"vector": tf.constant(queries)}
    everything = search.find(columns, tf.constant([[""]] * 5), 20)
    index, _ = load(str(tmp_path / "assets.extra" / "faiss"))
    scores, rows = index.search(queries, 20)
    np.testing.assert_allclose(everything["scores"], np.where(rows < 0, -np.inf, scores), rtol=1e-5)
    assert everything["ids"].numpy().tolist() == [
        [f"i{row}".encode() if row >= 0 else b"" for row in of_query] for of_query in rows.tolist()
    ]
    assert everything["titles"][0, 0] == everything["ids"][0, 0].numpy().upper()
    # The first, the third and an unknown item are excluded: the others move up.
    found = everything["ids"].numpy()
    exclude = np.stack([found[:, 0], found[:, 2], np.full(5, b"nothing")], axis=1)
    rest = search.find(columns, tf.constant(exclude), 10)
    assert rest["ids"].numpy().tolist() == np.delete(found, [0, 2], axis=1)[:, :10].tolist()


def test_fewer_items_than_candidates_are_filled_up(tmp_path):
    ids = index_of(np.eye(8, dtype=np.float32), tmp_path, nlist=2, nprobe=2)
    towers = saved(Towers(), tmp_path / "towers", "embed_query")
    search = ApproximateCandidates(towers, read_cells(str(tmp_path)), dict.fromkeys(ids, ""), str(tmp_path / "ids.txt"))
    found = search.find({"vector": tf.ones([1, 8])}, tf.constant([ids[:6]]), 5)
    assert sorted(found["ids"].numpy()[0].tolist()) == [b"", b"", b"", b"i6", b"i7"]


def test_an_index_without_cells_is_refused(tmp_path):
    save(build(FlatConfig(), np.eye(8, dtype=np.float32)), list("abcdefgh"), str(tmp_path / "assets.extra" / "faiss"))
    with pytest.raises(ConfigError, match=r"retrieval_index\.faiss: \{type: ivf\}"):
        read_cells(str(tmp_path))


def test_what_is_excluded_makes_room_and_too_few_are_filled_up(recommend):
    found = answer(recommend, ["nobody", "nobody"], [["b", "", ""], ["a", "b", "c"]], 5)
    assert found["ids"] == [[b"d", b"c", b"a"], [b"d", b"", b""]]
    assert found["scores"][1][1:] == [-np.inf, -np.inf]


def test_a_column_that_the_models_take_differently_is_refused(tmp_path):
    retrieval = saved(Retrieval(), tmp_path / "retrieval", "recommend")
    ranking = saved(OtherUser(), tmp_path / "ranking", "predict")
    with pytest.raises(ConfigError, match=r"column 'user': .* string of rank 1, the ranking model string of rank 2"):
        save_two_stage(ExactCandidates(retrieval), ranking, {"item": tf.constant(IDS)}, IDS, 3, str(tmp_path / "whole"))
