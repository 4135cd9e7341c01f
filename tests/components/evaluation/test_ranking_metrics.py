"""Every metric by hand, and against its definition item by item."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation.ranking_metrics import (
    confidence_interval,
    find_hits,
    find_places,
    hit_rate,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

IDS = np.array([[b"a", b"b", b"c"], [b"a", b"b", b"c"], [b"a", b"", b""]], object)
RELEVANT = np.array([[b"c", b"x", b"a"], [b"", b"", b""], [b"y", b"", b""]], object)
HITS = np.array([[True, False, True], [False] * 3, [False] * 3])
NUM_RELEVANT = np.array([3, 0, 1])


def test_places_are_those_among_the_relevant_items():
    np.testing.assert_array_equal(find_places(IDS, RELEVANT), [[2, -1, 0], [-1] * 3, [-1] * 3])


def test_hits_are_found_and_fillers_are_none():
    np.testing.assert_array_equal(find_hits(IDS, RELEVANT), HITS)


@pytest.mark.parametrize(
    ("metric", "k", "first"),
    [
        (recall, 3, 2 / 3),
        (recall, 2, 1 / 3),
        (recall, 10, 2 / 3),
        (precision, 2, 1 / 2),
        (hit_rate, 1, 1.0),
        (reciprocal_rank, 3, 1.0),
        # Found at ranks 1 and 3 of three; the ideal list has ranks 1, 2, 3.
        (ndcg, 3, (1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2)),
        # The ideal list is cut as well.
        (ndcg, 1, 1.0),
    ],
)
def test_by_hand(metric, k, first):
    np.testing.assert_allclose(metric(HITS, NUM_RELEVANT, k), [first, np.nan, 0.0])


def test_the_first_hit_counts_wherever_it_is():
    hits = np.array([[False, False, True, True]])
    np.testing.assert_allclose(reciprocal_rank(hits, np.array([2]), 4), [1 / 3])
    np.testing.assert_allclose(reciprocal_rank(hits, np.array([2]), 2), [0.0])


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 5), st.integers(1, 10))
def test_against_the_definitions(listed, missed, k):
    hits, wanted = np.array([listed]), sum(listed) + missed
    gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(listed, start=1) if hit and rank <= k)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(wanted, k) + 1))
    found = sum(listed[:k])
    expected = (gain / ideal, found / wanted) if wanted else (math.nan, math.nan)
    count = np.array([wanted])
    np.testing.assert_allclose((ndcg(hits, count, k)[0], recall(hits, count, k)[0]), expected)


def test_the_interval_holds_the_mean_and_narrows_with_more_values():
    values = np.random.default_rng(1).random(2000)
    low, high = confidence_interval(values)
    assert low < values.mean() < high
    # The standard error of a uniform variable's mean: sqrt(1/12/n), times 2 * 1.96.
    assert high - low == pytest.approx(3.92 * math.sqrt(1 / 12 / 2000), rel=0.1)
    assert confidence_interval(values[::-1]) == (low, high)
