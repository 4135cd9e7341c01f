import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.retrieval_evaluation import metrics

ITEMS = [b"a", b"b", b"c", b"d", b"e", b"f"]


def lists(rows):
    return pa.array(rows, pa.large_list(pa.large_binary()))


def test_hits_are_looked_up_in_the_row_s_own_list():
    recommended = np.array([[b"a", b"b", b"c"], [b"a", b"b", b""]], object)
    found = metrics.hits(recommended, lists([[b"b"], [b"a", b"c", b""]]))
    assert found.tolist() == [[False, True, False], [True, False, False]]


def test_metrics_by_hand():
    # Hits at ranks 2 and 3, three relevant items; then a query without a hit; then one without relevant items.
    hit = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]], bool)
    relevant = np.array([3, 1, 0])
    np.testing.assert_allclose(metrics.recall(hit, relevant, 3), [2 / 3, 0, np.nan])
    np.testing.assert_allclose(metrics.recall(hit, relevant, 2), [1 / 3, 0, np.nan])
    np.testing.assert_allclose(metrics.precision(hit, 3), [2 / 3, 0, 0])
    np.testing.assert_allclose(metrics.hit_rate(hit, 1), [0, 0, 0])
    np.testing.assert_allclose(metrics.hit_rate(hit, 3), [1, 0, 0])
    np.testing.assert_allclose(metrics.reciprocal_rank(hit), [1 / 2, 0, 0])
    gained, ideal = 1 / math.log2(3) + 1 / 2, 1 + 1 / math.log2(3) + 1 / 2
    np.testing.assert_allclose(metrics.ndcg(hit, relevant, 3), [gained / ideal, 0, np.nan])


def test_the_ideal_list_is_cut_at_k():
    assert metrics.ndcg(np.ones((1, 2), bool), np.array([50]), 2).tolist() == [1.0]


def test_popularity_and_coverage_by_hand():
    counts = np.array([[math.e - 1, 0.0], [math.e**3 - 1, 7.0]])
    present = np.array([[True, True], [True, False]])
    np.testing.assert_allclose(metrics.popularity(counts, present, 2), [1 / 2, 3])
    recommended = np.array([[b"a", b"b"], [b"a", b""]], object)
    assert metrics.coverage(recommended, 8, 2) == 2 / 8
    assert metrics.coverage(recommended, 8, 1) == 1 / 8


def test_top_k_accuracy_counts_rows():
    assert metrics.top_k_accuracy(np.array([[0, 1], [1, 0], [0, 0], [0, 0]], bool), 2) == 0.5


def test_lists_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="metrics at 10 need lists of 10 places, got 3"):
        metrics.precision(np.ones((1, 3), bool), 10)


def test_different_numbers_of_queries_are_refused():
    with pytest.raises(ValueError, match="2 rows of values but 1 lists"):
        metrics.hits(np.full((2, 1), b"a", object), lists([[b"a"]]))


def test_the_interval_covers_the_mean_and_shrinks_with_the_number_of_queries():
    values = np.random.default_rng(1).normal(size=2500)
    low, high = metrics.bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 50, rel=0.15)  # the standard error is 1 / sqrt(2500)
    assert metrics.bootstrap_interval(values[::-1]) == (low, high)
    assert metrics.bootstrap_interval(np.append(values, np.nan)) == (low, high)
    assert np.isnan(metrics.bootstrap_interval(np.array([np.nan]))).all()


@given(
    st.lists(st.tuples(st.permutations(ITEMS), st.sets(st.sampled_from(ITEMS))), min_size=1, max_size=5),
    st.integers(1, 6),
)
def test_vectorized_metrics_agree_with_loops(queries, k):
    relevant = lists([sorted(items) for _, items in queries])
    hit = metrics.hits(np.array([order for order, _ in queries], object), relevant)
    size = metrics.list_sizes(relevant)
    for row, (order, items) in enumerate(queries):
        found = [rank for rank, item in enumerate(order[:k], start=1) if item in items]
        assert metrics.precision(hit, k)[row] == pytest.approx(len(found) / k)
        assert metrics.hit_rate(hit, k)[row] == bool(found)
        ranks = [rank for rank, item in enumerate(order, start=1) if item in items]
        assert metrics.reciprocal_rank(hit)[row] == (1 / min(ranks) if ranks else 0)
        if not items:
            assert np.isnan(metrics.recall(hit, size, k)[row]) and np.isnan(metrics.ndcg(hit, size, k)[row])
            continue
        assert metrics.recall(hit, size, k)[row] == pytest.approx(len(found) / len(items))
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(items)) + 1))
        gained = sum(1 / math.log2(rank + 1) for rank in found)
        assert metrics.ndcg(hit, size, k)[row] == pytest.approx(gained / ideal)
