"""Scores with int8 vectors, by hand and against their error bound."""

import numpy as np
import pytest
import tensorflow as tf

from components.retrieval_index.item_vectors import Float32Vectors, Int8Vectors


def test_by_hand():
    # The scales are 2 / 127 and 0; 1.0 is 63.5 of them, and the nearest even multiple is 64.
    vectors = Int8Vectors(np.array([[2.0, 1.0], [0.0, 0.0]], np.float32))
    scores = vectors.scores(tf.constant([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(scores, [[2.0, 0.0], [64 * 2 / 127, 0.0]], rtol=1e-6)


@pytest.mark.parametrize(("widened", "most_blocks"), [(4, 64), (1, 3)], ids=["blocks of 4 rows", "3 blocks"])
def test_blocks_put_together_are_the_whole(widened, most_blocks, monkeypatch):
    for name, value in {"_WIDENED_ROWS": widened, "_MOST_BLOCKS": most_blocks, "_BLOCK_ROWS": 5}.items():
        monkeypatch.setattr(f"components.retrieval_index.item_vectors.{name}", value)
    random = np.random.default_rng(0)
    vectors, queries = (random.normal(size=(rows, 8)).astype(np.float32) for rows in (11, 3))
    exact = Float32Vectors(vectors).scores(tf.constant(queries)).numpy()
    found = Int8Vectors(vectors).scores(tf.constant(queries)).numpy()
    np.testing.assert_allclose(exact, queries @ vectors.T, rtol=1e-5)
    # Each number moves by half a scale at most, and counts as often as the query's number says.
    half = np.abs(vectors).max(axis=1) / 127 / 2
    assert np.all(np.abs(found - exact) <= np.abs(queries).sum(axis=1)[:, np.newaxis] * half * 1.001)
    assert np.abs(found - exact).max() > 0
