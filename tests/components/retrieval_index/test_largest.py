"""The largest scores are those of TensorFlow's operation, in its order."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.retrieval_index.largest import Largest, largest, largest_by_blocks

# Few values, so that many are equal; excluded items have the least.
VALUES = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])


def assert_as_of_top_k(found: Largest, scores: np.ndarray, k: int) -> None:
    expected = tf.math.top_k(scores, k)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.indices, expected.indices)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_blocks_hold_what_top_k_finds(data):
    batch, number = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 40))
    k, size = data.draw(st.integers(0, number)), data.draw(st.integers(1, 9))
    row = st.lists(VALUES, min_size=number, max_size=number)
    rows = data.draw(st.lists(row, min_size=batch, max_size=batch))
    scores = np.array(rows, np.float32).reshape(batch, number)
    assert_as_of_top_k(largest_by_blocks(tf.constant(scores), k, size), scores, k)


# Few scores, and many that are no whole number of blocks.
@pytest.mark.parametrize("number", [300, 50_001])
def test_a_graph_knows_neither_the_batch_size_nor_the_number_wanted(number):
    search = tf.function(largest, input_signature=[tf.TensorSpec([None, number]), tf.TensorSpec([], tf.int32)])
    scores = np.random.default_rng(0).integers(1_000, size=(2, number)).astype(np.float32)
    for k in (1, 100, number):
        assert_as_of_top_k(search(scores, k), scores, k)
