"""Metrics by name, from the answers of an index."""

import math

import numpy as np
import pytest

from components.evaluation.retrieval_metrics import (
    MetricName,
    Partial,
    RetrievalMetric,
    _Combiner,
    _computations,
    with_places,
)

# Two users; the catalog has eight items.
ANSWERS = {
    "ids": np.array([[b"a", b"b"], [b"c", b"a"]], object),
    "ids_with_seen": np.array([[b"s", b"a"], [b"s", b"t"]], object),
    "train_counts": np.array([[30, 4], [2, 30]]),
    "popular_ids": np.array([[b"p", b"a"], [b"p", b"a"]], object),
    "relevant": np.array([[b"a", b"z"], [b"c", b""]], object),
    "relevant_train_counts": np.array([[30, 0], [2, 0]]),
    "candidates": np.array([8, 8]),
    "third_bounds": np.array([[30, 2], [30, 2]]),
}
# The ideal list of the first user has two items.
FIRST_OF_TWO = 1 / (1 + 1 / math.log2(3))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ndcg_at_2", (FIRST_OF_TWO + 1) / 2),
        ("recall_at_2", (1 / 2 + 1) / 2),
        ("mrr_at_2", 1.0),
        ("hit_rate_at_1", 1.0),
        ("precision_at_2", 1 / 2),
        ("popularity_ndcg_at_2", FIRST_OF_TWO / math.log2(3) / 2),
        ("ndcg_at_2_lift", (FIRST_OF_TWO + 1) / 2 - FIRST_OF_TWO / math.log2(3) / 2),
        ("recall_at_2_head", 1.0),  # item a of the first user
        ("recall_at_2_tail", 1.0),  # item c of the second
        ("recall_at_2_cold", 0.0),  # item z
        ("ndcg_at_2_top_third", 1.0),  # item a
        ("ndcg_at_2_middle_third", 1.0),  # item c
        ("recall_at_1_middle_third", 1.0),
        ("recall_at_2_bottom_third", 0.0),  # item z
        ("row_recall_at_2", 2 / 3),
        ("row_recall_at_2_kept", 1 / 3),
        ("coverage_at_2", 3 / 8),
        ("coverage_at_1", 2 / 8),
        ("average_popularity_at_2", (30 + 4 + 2 + 30) / 4),
        ("example_count", 2.0),
    ],
)
def test_by_hand(name, value):
    metric = MetricName.parse(name)
    assert metric.value(metric.partial(with_places(ANSWERS))) == pytest.approx(value)
    # One user at a time gives the same.
    (computation,) = _computations(name)
    combiner = _Combiner(computation.keys[0])
    halves = [
        metric.partial({key: values[rows] for key, values in with_places(ANSWERS).items()}) for rows in ([0], [1])
    ]
    ((_, merged),) = combiner.extract_output(combiner.merge_accumulators(halves)).items()
    assert merged == pytest.approx(value)


def test_an_index_of_an_earlier_version_knows_no_thirds():
    metric = MetricName.parse("ndcg_at_2_top_third")
    known = {name: values for name, values in with_places(ANSWERS).items() if name != "third_bounds"}
    assert math.isnan(metric.value(metric.partial(known)))


def test_the_interval_is_around_the_mean():
    low, high = (MetricName.parse(f"ndcg_at_2{end}") for end in ("_low", "_high"))
    many = {key: np.repeat(values, 50, axis=0) for key, values in with_places(ANSWERS).items()}
    assert low.value(low.partial(many)) < (FIRST_OF_TWO + 1) / 2 < high.value(high.partial(many))


def test_where_nothing_counts_there_is_no_value():
    metric = MetricName.parse("recall_at_2_cold")
    without = with_places(ANSWERS) | {"relevant_train_counts": np.full((2, 2), 5)}
    assert math.isnan(metric.value(metric.partial(without)))
    assert math.isnan(metric.value(Partial()))
    nothing = {name: values[:, :0] if name.startswith("relevant") else values for name, values in ANSWERS.items()}
    assert math.isnan(metric.value(metric.partial(with_places(nothing))))


@pytest.mark.parametrize("name", ["ndcg", "ndcg_at_0", "ndgc_at_10", "sampled_recall_at_10", "ndcg_at_10_warm"])
def test_an_unknown_metric_is_refused(name):
    with pytest.raises(ValueError, match="is no retrieval metric; known: "):
        RetrievalMetric(name)


@pytest.mark.parametrize("name", ["popularity_recall_at_10_kept", "average_popularity_at_10_kept"])
def test_popular_lists_with_seen_items_do_not_exist(name):
    with pytest.raises(ValueError, match="without seen items only"):
        RetrievalMetric(name)
