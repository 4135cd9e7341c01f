"""Paired differences, against arithmetic by hand and against the normal approximation."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from components.evaluation import paired, row_files
from components.evaluation.paired import paired_differences
from components.evaluation.row_files import EvaluatedRows, row_schema
from trainer_module.errors import DataError


def ratings(errors, keys=None, labels=None, weights=None) -> EvaluatedRows:
    errors = np.asarray(errors, float)
    labels = np.full(len(errors), 3.0) if labels is None else labels
    columns = {
        "row": np.arange(len(errors)) if keys is None else keys,
        "label": labels,
        "prediction": labels + errors,
        "loss": errors**2,
        "weight": np.ones(len(errors)) if weights is None else weights,
    }
    schema = row_schema("rating", ("user", "item"), ())
    arrays = [pa.array(columns.get(field.name, [None] * len(errors)), field.type) for field in schema]
    return EvaluatedRows("rating", ("user", "item"), pa.Table.from_arrays(arrays, schema=schema))


def queries(ranks) -> EvaluatedRows:
    schema = row_schema("retrieval", ("user",), ())
    columns = {"row": list(range(len(ranks))), "ranks": ranks}
    arrays = [pa.array(columns.get(field.name, [None] * len(ranks)), field.type) for field in schema]
    return EvaluatedRows("retrieval", ("user",), pa.Table.from_arrays(arrays, schema=schema))


def by_name(first, second) -> dict:
    return {each.metric: each for each in paired_differences(first, second)}


def test_values_by_hand():
    found = by_name(ratings([1, 0, -2]), ratings([1, 1, 1]))
    assert found["rmse"].first == pytest.approx((5 / 3) ** 0.5)
    assert found["rmse"].second == found["mae"].first == found["mae"].second == 1.0
    assert found["mae"].units == 3


def goals(clicked, dwell) -> EvaluatedRows:
    """Log losses of the head `clicked`, squared errors of the head `dwell`; None where a row lacks its label."""
    heads = {"clicked": "click", "dwell": "rating"}
    schema = row_schema("click", ("user", "item"), (), "clicked", heads)
    columns = {"row": np.arange(len(clicked)), "head.clicked.loss": clicked, "head.dwell.loss": dwell}
    arrays = [pa.array(columns.get(field.name, [None] * len(clicked)), field.type) for field in schema]
    return EvaluatedRows(
        "click", ("user", "item"), pa.Table.from_arrays(arrays, schema=schema), label="clicked", heads=heads
    )


class TestSeveralGoals:
    def test_each_head_is_compared_on_the_rows_that_have_its_label(self):
        found = by_name(goals([1.0, 2.0, 3.0], [4.0, None, 4.0]), goals([0.0, 1.0, 2.0], [1.0, None, 1.0]))
        assert list(found) == ["clicked.log_loss", "dwell.rmse", "dwell.mae"]
        assert found["clicked.log_loss"].difference == pytest.approx(-1)
        assert (found["clicked.log_loss"].units, found["dwell.rmse"].units) == (3, 2)
        assert (found["dwell.rmse"].first, found["dwell.rmse"].second) == (2, 1)
        assert found["dwell.rmse"].verdict == "better"

    def test_rows_that_have_the_label_in_one_evaluation_only_are_refused(self):
        with pytest.raises(DataError, match="the test rows differ"):
            paired_differences(goals([1.0, 2.0], [4.0, None]), goals([1.0, 2.0], [4.0, 4.0]))

    def test_a_model_of_one_goal_is_compared_with_the_head_of_its_label(self):
        one = goals([0.0, 1.0], [1.0, 1.0]).of_head("clicked")
        found = by_name(one, goals([1.0, 2.0], [4.0, None]))
        assert [(each.metric, each.difference) for each in found.values()] == [("clicked.log_loss", 1.0)]

    def test_models_without_a_label_in_common_are_refused(self):
        one = replace(goals([0.0], [1.0]).of_head("dwell"), label="")
        with pytest.raises(DataError, match="one predicts a label whose name was not kept, the other clicked, dwell"):
            paired_differences(one, goals([1.0], [4.0]))


def test_a_constant_difference_has_an_interval_without_width():
    errors = np.random.default_rng(0).normal(size=500)
    found = by_name(ratings(np.abs(errors) + 1), ratings(np.abs(errors)))["mae"]
    assert (found.difference, found.low, found.high) == pytest.approx((-1, -1, -1))
    assert found.verdict == "better"


def test_the_interval_is_that_of_the_paired_rows():
    random = np.random.default_rng(1)
    shared = random.normal(size=4000)
    first, second = np.abs(shared) + 2, np.abs(shared) + 2 + random.normal(scale=0.1, size=4000)
    found = by_name(ratings(first), ratings(second))["mae"]
    half = 1.96 * (second - first).std() / len(first) ** 0.5
    assert found.low == pytest.approx(found.difference - half, abs=half / 5)
    assert found.high == pytest.approx(found.difference + half, abs=half / 5)
    # Unpaired, the common part of the errors would make it many times wider.
    assert half < 1.96 * first.std() / len(first) ** 0.5 / 4


def test_more_rows_than_groups_have_the_same_interval(monkeypatch):
    random = np.random.default_rng(2)
    first, second = random.normal(size=6000), random.normal(size=6000)
    whole = by_name(ratings(first), ratings(second))["rmse"]
    monkeypatch.setattr(paired, "_MOST_GROUPS", 1500)
    grouped = by_name(ratings(first), ratings(second))["rmse"]
    assert grouped.difference == whole.difference
    assert grouped.high - grouped.low == pytest.approx(whole.high - whole.low, rel=0.15)


def test_rows_are_paired_by_their_keys_not_by_their_order():
    errors = np.arange(10.0)
    found = by_name(ratings(errors), ratings(errors[::-1], keys=np.arange(10)[::-1]))["rmse"]
    assert found.low == found.high == 0
    assert found.verdict == "no difference"


def test_equal_keys_are_one_unit():
    first = ratings([0, 2, 1], keys=[7, 7, 8])
    found = by_name(first, ratings([2, 0, 1], keys=[7, 7, 8]))["rmse"]
    assert found.low == found.high == 0


def test_rows_count_by_their_weights():
    first, second, weights = np.array([1.0, 0.0, -2.0]), np.ones(3), np.array([1.0, 5.0, 2.0])
    found = by_name(ratings(first, weights=weights), ratings(second, weights=weights))
    assert found["rmse"].first == pytest.approx(np.average(first**2, weights=weights) ** 0.5)
    assert found["mae"].first == pytest.approx(np.average(np.abs(first), weights=weights))
    assert found["mae"].second == 1.0
    assert found["mae"].units == 3
    with pytest.raises(DataError, match="the weights of the test rows differ"):
        paired_differences(ratings(first), ratings(first, weights=weights))


@pytest.mark.parametrize("keys", [[0, 1, 3], [0, 1, 1]])
def test_other_test_rows_are_refused(keys):
    with pytest.raises(DataError, match="the test rows differ: 3 and 3 rows, of the first 2 are"):
        paired_differences(ratings([1, 2, 3]), ratings([1, 2, 3], keys=keys))


def test_another_task_is_refused():
    with pytest.raises(DataError, match="task rating, rows told apart by user, item; and task retrieval"):
        paired_differences(ratings([1.0]), queries([[1]]))


def test_lists_by_hand():
    # The first query has two relevant items, the second one, the third none.
    found = by_name(queries([[1, 0], [0], []]), queries([[1, 2], [3], []]))
    assert found["recall_at_10"].first == pytest.approx((0.5 + 0) / 2)
    assert found["recall_at_10"].second == 1.0
    ideal = 1 + 1 / np.log2(3)
    assert found["ndcg_at_10"].first == pytest.approx((1 / ideal + 0) / 2)
    assert found["ndcg_at_10"].second == pytest.approx((1 + 1 / np.log2(4)) / 2)
    assert found["ndcg_at_10"].units == 2
    assert found["ndcg_at_10"].higher_is_better


def test_log_losses_by_hand():
    labels, predictions = np.array([1.0, 0.0]), np.array([0.75, 0.5])
    assert row_files.losses("click", labels, predictions) == pytest.approx(np.log([4 / 3, 2]))


def test_an_evaluation_without_rows_says_how_to_get_them(tmp_path):
    with pytest.raises(DataError, match="kept no losses of its rows; run the pipeline again"):
        row_files.read_rows(str(tmp_path))
