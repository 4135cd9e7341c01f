"""Recall by hand."""

import numpy as np
import pytest

from components.retrieval_index.recall import recall

QUERIES = np.array([[1.0, 0.0]], np.float32)
# Their scores are 4, 3, 3, 3, 0.
VECTORS = np.array([[4, 1], [3, 2], [3, 3], [3, 4], [0, 5]], np.float32)


@pytest.mark.parametrize(
    ("found", "share"),
    [
        ([0, 1], 1),
        ([0, 3], 1),  # ties with the second best
        ([2, 0], 1),
        ([0, 4], 0.5),
        ([0, -1], 0.5),
        ([4, -1], 0),
        ([-1, -1], 0),
    ],
)
def test_found_is_what_scores_no_less_than_the_last_of_the_best(found, share):
    best_scores = np.array([[4, 3]], np.float32)
    assert recall(QUERIES, VECTORS, np.array([found]), best_scores).tolist() == [share]


def test_every_query_has_its_own():
    queries = np.array([[1, 0], [0, 1]], np.float32)
    best_scores = np.array([[4], [5]], np.float32)
    assert recall(queries, VECTORS, np.array([[0], [0]]), best_scores).tolist() == [1, 0]


def test_rounding_loses_nothing():
    best_scores = np.array([[np.nextafter(np.float32(4), np.float32(5))]])
    assert recall(QUERIES, VECTORS, np.array([[0]]), best_scores).tolist() == [1]
    assert recall(QUERIES, VECTORS, np.array([[0]]), best_scores + 0.001).tolist() == [0]
