import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation import baselines

# Users x items: item 0 has three users, item 1 two, item 2 one, item 3 none.
KNOWN = baselines.binary_matrix(np.array([0, 0, 1, 1, 2, 2, 0]), np.array([0, 1, 0, 1, 0, 2, 0]), (3, 4))


def test_a_pair_counts_once_however_many_rows_it_has():
    assert KNOWN.toarray().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]


def test_popularity_counts_users():
    assert baselines.popularity(KNOWN)(KNOWN[:1]).tolist() == [[3, 2, 1, 0]]


def test_item_knn_by_hand():
    # cos(0, 1) = 2 / sqrt(3 * 2), cos(0, 2) = 1 / sqrt(3), cos(1, 2) = 0.
    query = baselines.binary_matrix(np.array([0]), np.array([0]), (1, 4))
    np.testing.assert_allclose(baselines.item_knn(KNOWN, 10)(query), [[0, 2 / 6**0.5, 1 / 3**0.5, 0]], rtol=1e-6)


def test_item_knn_drops_all_but_the_nearest_neighbours_of_the_scored_item():
    # Item 0's nearest is item 1, so item 2 says nothing about it.
    query = baselines.binary_matrix(np.array([0]), np.array([2]), (1, 4))
    assert baselines.item_knn(KNOWN, 10)(query)[0, 0] > 0
    assert baselines.item_knn(KNOWN, 1)(query)[0, 0] == 0


def test_ease_is_the_constrained_least_squares_solution():
    # Column j of the weights: ridge regression of item j on all other items.
    dense, regularization = KNOWN.toarray().astype(float), 0.7
    scores = baselines.ease(KNOWN, regularization)(KNOWN)
    for item in range(4):
        others = np.delete(dense, item, axis=1)
        gram = others.T @ others + regularization * np.eye(3)
        expected = others @ np.linalg.solve(gram, others.T @ dense[:, item])
        np.testing.assert_allclose(scores[:, item], expected, rtol=1e-5, atol=1e-6)


def test_seen_items_are_left_out_and_short_lists_filled_up():
    scores = np.array([[1.0, 3.0, 2.0]] * 2)
    seen = baselines.binary_matrix(np.array([0]), np.array([1]), (2, 3))
    assert baselines.top_k(scores, 4, seen).tolist() == [[2, 0, -1, -1], [1, 2, 0, -1]]
    assert baselines.top_k(scores, 2).tolist() == [[1, 2], [1, 2]]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 9))
def test_top_k_agrees_with_sorting(scores, k):
    expected = sorted(range(len(scores)), key=lambda item: (-scores[item], item))[:k]
    expected += [-1] * (k - len(expected))
    assert baselines.top_k(np.array([scores], float), k)[0].tolist() == expected


@pytest.mark.parametrize(
    "scorer", [baselines.popularity(KNOWN), baselines.item_knn(KNOWN, 2), baselines.ease(KNOWN, 1)]
)
def test_scores_are_dense_with_a_row_per_query(scorer):
    scores = scorer(KNOWN[:2])
    assert isinstance(scores, np.ndarray)
    assert scores.shape == (2, 4)
