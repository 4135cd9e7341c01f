"""The nearest items of an item, in every kind of index."""

import numpy as np
import pytest

from components.retrieval_index import approximate
from components.retrieval_index.config import FlatConfig, HnswConfig, IvfConfig
from components.retrieval_index.layout import FAISS_DIRECTORY
from pipeline.ask.neighbours import Neighbour, nearest, neighbours
from trainer_module.errors import DataError, ModelError

VECTORS = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)
IDS = ["east", "north-east", "north", "west"]


def test_the_nearest_come_first_and_the_item_itself_is_left_out(tmp_path):
    approximate.save(approximate.build(FlatConfig(), VECTORS), IDS, str(tmp_path / FAISS_DIRECTORY))
    assert neighbours(tmp_path, "east", 2) == [Neighbour("north-east", pytest.approx(0.6)), Neighbour("north", 0.0)]
    assert [each.item for each in neighbours(tmp_path, "west", 10)] == ["north", "north-east", "east"]


def test_an_item_that_is_shorter_than_others_is_still_left_out():
    index = approximate.build(FlatConfig(), VECTORS * np.array([[0.1], [1], [1], [1]], np.float32))
    assert [each.item for each in nearest(index, IDS, "east", 3)] == ["north-east", "north", "west"]


@pytest.mark.parametrize("config", [IvfConfig(nlist=4, nprobe=4), HnswConfig()])
def test_other_indexes_answer_alike(config):
    vectors = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"item {row}" for row in range(400)]
    exact = nearest(approximate.build(FlatConfig(), vectors), ids, "item 7", 5)
    found = nearest(approximate.build(config, vectors), ids, "item 7", 5)
    assert [each.item for each in found] == [each.item for each in exact]


def test_what_cannot_be_found_is_named(tmp_path):
    with pytest.raises(ModelError, match="name a pushed retrieval model"):
        neighbours(tmp_path, "east", 2)
    with pytest.raises(DataError, match=r"the catalog has no item 'nroth'\. Did you mean north\?"):
        nearest(approximate.build(FlatConfig(), VECTORS), IDS, "nroth", 2)
