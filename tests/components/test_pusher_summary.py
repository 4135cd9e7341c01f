import math

import pytest
from tensorflow_model_analysis.proto import validation_result_pb2

from components.pusher.summary import blessing_summary, comparisons, failure_text, package_versions

CLICKS = {"log_loss": 0.4, "baseline_log_loss": 0.5, "auc": None, "logistic_auc": 0.7, "click_count": 0.0}


@pytest.mark.parametrize(
    ("blessed", "has_baseline", "hold_first_run", "push"),
    [
        (False, False, False, False),
        (False, True, False, False),
        (True, True, False, True),
        (True, True, True, True),
        (True, False, False, True),
        (True, False, True, False),
    ],
)
def test_only_blessed_models_are_pushed_and_a_first_one_may_wait(blessed, has_baseline, hold_first_run, push):
    verdict = blessing_summary(blessed, has_baseline, hold_first_run)
    assert verdict["push"] == push
    assert verdict["blessed"] == blessed


def test_reasons_tell_the_cases_apart():
    cases = [(False, False, False), (True, False, True), (True, False, False), (True, True, False)]
    assert len({blessing_summary(*case)["reason"] for case in cases}) == len(cases)


def test_package_versions_are_those_installed():
    assert package_versions()["tfx"] == "1.21.0"


def failure(metric: str, value: float, bound: str = "lower_bound", threshold: float = 0.5, head: str = ""):
    message = validation_result_pb2.ValidationFailure()
    message.metric_key.name = metric
    message.metric_key.output_name = head
    message.metric_value.double_value.value = value
    getattr(message.metric_threshold.value_threshold, bound).value = threshold
    return message


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        ("lower_bound", "auc is 0.4000; at least 0.5000 is needed"),
        ("upper_bound", "auc is 0.4000; at most 0.5000 is allowed"),
    ],
)
def test_a_missed_bound_is_told_as_what_it_is(bound, text):
    assert failure_text(failure("auc", 0.4, bound), {}, {"": "mean"}) == text


def test_a_missed_range_is_told_with_both_bounds():
    missed = failure("calibration", 1.3, threshold=0.9)
    missed.metric_threshold.value_threshold.upper_bound.value = 1.1
    assert failure_text(missed, {}, {"": "mean"}) == "calibration is 1.3000; from 0.9000 to 1.1000 is allowed"
    missed.metric_value.double_value.value = math.nan
    text = failure_text(missed, CLICKS | {"example_count": 12.0}, {"": "mean"})
    assert (
        text
        == "calibration is undefined: the mean label of the 12 rows of the test split is 0, and it is divided by it"
    )


def test_a_model_that_loses_to_the_baseline_reads_both_figures():
    overall = {"rmse": 1.528, "baseline_rmse": 1.517}
    text = failure_text(failure("rmse_lift", -0.011, threshold=0.0), overall, {"": "user and item biases"})
    assert text == "rmse 1.5280 does not beat the naive baseline, user and item biases: 1.5170"
    overall = {"ndcg_at_10": 0.1, "popularity_ndcg_at_10": 0.2}
    text = failure_text(failure("ndcg_at_10_lift", -0.1, threshold=0.0), overall, {})
    assert text == "ndcg_at_10 0.1000 does not beat the naive baseline, most popular items: 0.2000"


def test_an_undefined_metric_is_explained_with_counts():
    text = failure_text(failure("auc", math.nan), CLICKS | {"example_count": 12.0}, {"": "mean"})
    assert text.startswith("auc is undefined: 0 of the 12 rows of the test split are clicks")


def test_a_quantized_model_stands_beside_the_float32_one():
    (pair,) = comparisons({"rmse": 0.92, "float32_rmse": 0.91}, {"": "user and item biases"})
    assert str(pair) == "rmse 0.9200 (the same model without export.quantize: 0.9100)"


def test_references_stand_beside_the_model():
    assert [str(pair) for pair in comparisons(CLICKS, {"": "mean of the training split"})] == [
        "log_loss 0.4000 (mean of the training split: 0.5000)",
        "auc undefined (logistic regression: 0.7000)",
    ]


HEADS = {"clicked.log_loss": 0.4, "clicked.baseline_log_loss": 0.5, "dwell.rmse": 12.0, "dwell.baseline_rmse": 10.0}
NAIVE = {"clicked": "mean of the training split", "dwell": "user and item biases"}


def test_each_head_stands_beside_its_own_reference():
    assert [str(pair) for pair in comparisons(HEADS, NAIVE)] == [
        "clicked.log_loss 0.4000 (mean of the training split: 0.5000)",
        "dwell.rmse 12.0000 (user and item biases: 10.0000)",
    ]


def test_a_failure_names_its_head():
    text = failure_text(failure("rmse_lift", -2.0, threshold=0.0, head="dwell"), HEADS, NAIVE)
    assert text == "dwell.rmse 12.0000 does not beat the naive baseline, user and item biases: 10.0000"
    text = failure_text(failure("rmse", 12.0, "upper_bound", 11.0, "dwell"), HEADS, NAIVE)
    assert text == "dwell.rmse is 12.0000; at most 11.0000 is allowed"
    counts = {"dwell.example_count": 0.0, "clicked.example_count": 9.0}
    text = failure_text(failure("rmse", math.nan, head="dwell"), counts, NAIVE)
    assert text == "dwell.rmse is undefined: none of the 0 rows of the test split counts for it"
