import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.click_metrics import (
    auc,
    auc_sums,
    calibration_error,
    calibration_sums,
    click_metrics,
    click_sums,
    exact_auc,
)

PREDICTIONS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2)


def test_metrics_by_hand():
    metrics = click_metrics(click_sums(np.array([[1.0], [0.0], [0.0], [1.0]]), np.array([0.5, 0.5, 0.25, 0.75])))
    assert metrics == {
        "log_loss": pytest.approx((2 * math.log(2) + 2 * math.log(4 / 3)) / 4),
        "calibration": 1.0,
        "click_count": 2.0,
        "example_count": 4.0,
    }


def test_a_sure_mistake_costs_much_but_not_everything():
    assert click_metrics(click_sums(np.array([1.0]), np.array([0.0])))["log_loss"] == pytest.approx(-math.log(1e-7))


def test_without_a_click_there_is_no_calibration():
    metrics = click_metrics(click_sums(np.zeros(2), np.full(2, 0.5)))
    assert math.isnan(metrics["calibration"])
    assert metrics["click_count"] == 0


def test_the_calibration_error_by_hand():
    # Ten rows of .2 with a click, ten of .6 with seven: distances of .1 and .1.
    labels = np.array([1] + 9 * [0] + 7 * [1] + 3 * [0])
    sums = calibration_sums(labels, np.repeat([0.2, 0.6], 10))
    assert calibration_error(sums) == pytest.approx(0.1)
    assert click_metrics(click_sums(labels, np.repeat([0.2, 0.6], 10)))["calibration"] == pytest.approx(1)
    assert calibration_error(calibration_sums(labels, np.repeat([0.1, 0.7], 10))) == pytest.approx(0)
    # A row of weight 0 says nothing.
    assert calibration_error(calibration_sums(np.array([1, 0]), np.array([1.0, 0.9]), np.array([1.0, 0.0]))) == 0
    assert math.isnan(calibration_error(calibration_sums(np.ones(2), np.ones(2), np.zeros(2))))


def test_groups_of_the_calibration_error_hold_equally_many_rare_clicks():
    """Predictions below a tenth would all be in the first of ten equally wide groups, and right on average there."""
    random = np.random.default_rng(0)
    rate = random.uniform(0.001, 0.02, size=200_000)
    labels = (random.random(rate.size) < rate).astype(int)
    mean = np.full(rate.size, rate.mean())
    assert calibration_error(calibration_sums(labels, rate)) < 0.001
    assert calibration_error(calibration_sums(labels, mean)) < 0.001
    turned = 0.021 - rate
    assert calibration_error(calibration_sums(labels, turned)) > 0.008
    # Groups of an exact sort.
    groups = np.array_split(np.argsort(turned), 10)
    exact = sum(abs(turned[rows].sum() - labels[rows].sum()) for rows in groups) / rate.size
    assert calibration_error(calibration_sums(labels, turned)) == pytest.approx(exact, abs=1e-4)


def test_auc_by_hand():
    # Of the pairs (.7 | .2), (.7 | .7), (.4 | .2), (.4 | .7): won, tied, won, lost.
    labels, predictions = np.array([1, 1, 0, 0]), np.array([0.7, 0.4, 0.2, 0.7])
    assert auc(auc_sums(labels, predictions)) == exact_auc(labels, predictions) == 2.5 / 4


def test_auc_of_labels_that_are_all_alike_is_no_number():
    assert math.isnan(exact_auc(np.ones(3), np.full(3, 0.5)))


@given(PREDICTIONS)
def test_auc_is_the_share_of_ordered_pairs(rows):
    labels = np.array([label for label, _ in rows])
    predictions = np.array([tenths / 20 for _, tenths in rows])
    clicks, others = predictions[labels == 1], predictions[labels == 0]
    wins = (clicks[:, np.newaxis] > others).mean() if len(clicks) and len(others) else math.nan
    ties = (clicks[:, np.newaxis] == others).mean() if len(clicks) and len(others) else math.nan
    for found in (auc(auc_sums(labels, predictions)), exact_auc(labels, predictions)):
        assert found == pytest.approx(wins + ties / 2, nan_ok=True)


@given(PREDICTIONS, st.data())
def test_sums_add_up_over_batches(rows, data):
    cut = data.draw(st.integers(1, len(rows) - 1))
    labels, predictions = np.array([label for label, _ in rows]), np.array([p / 20 for _, p in rows])
    for sums in (click_sums, auc_sums, calibration_sums):
        parts = sums(labels[:cut], predictions[:cut]) + sums(labels[cut:], predictions[cut:])
        np.testing.assert_allclose(parts, sums(labels, predictions))


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([1.0, 0.0], [0.5], "2 labels but 1 predictions"),
        ([0.5], [0.5], "neither 0 nor 1"),
        ([1.0], [1.5], "no probability"),
        ([1.0], [np.nan], "no probability"),
    ],
)
def test_what_cannot_be_measured_is_an_error(labels, predictions, message):
    for sums in (click_sums, auc_sums, calibration_sums):
        with pytest.raises(ValueError, match=message):
            sums(np.array(labels), np.array(predictions))
