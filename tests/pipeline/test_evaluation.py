import json

import pytest
from tensorflow_model_analysis.proto import validation_result_pb2

from components.pusher.summary import failure_text
from pipeline.config import EvaluationConfig
from pipeline.evaluation import eval_config
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.datasets.flat import FlatDataset

DATASET = FlatDataset.model_validate({"label": "clicked", "categorical": ["user"], "slices": ["country"]}).spec()
RATINGS = dataset_spec("movielens-100k")
INTERACTIONS = dataset_spec("movielens-100k-retrieval")


def thresholds(config) -> dict:
    (metrics,) = config.metrics_specs
    return {
        json.loads(metric.config)["name"]: metric.per_slice_thresholds[0].threshold
        for metric in metrics.metrics
        if metric.per_slice_thresholds
    }


def test_clicks_are_judged_by_log_loss_and_auc():
    config = eval_config(EvaluationConfig(max_log_loss=0.5, min_auc=0.7, max_regression=0.01), DATASET)
    found = thresholds(config)
    assert set(found) == {"log_loss", "auc"}
    assert found["log_loss"].value_threshold.upper_bound.value == 0.5
    assert found["log_loss"].change_threshold.absolute.value == 0.01
    assert found["auc"].value_threshold.lower_bound.value == 0.7
    assert not found["auc"].HasField("change_threshold")
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["country"]]
    assert config.model_specs[0].label_key == "clicked"


def test_without_an_upper_bound_the_log_loss_is_only_compared():
    found = thresholds(eval_config(EvaluationConfig(), DATASET))
    assert not found["log_loss"].HasField("value_threshold")
    assert found["auc"].value_threshold.lower_bound.value == 0.5


def test_ratings_are_judged_by_rmse():
    found = thresholds(eval_config(EvaluationConfig(max_rmse=1.5), RATINGS))
    assert set(found) == {"rmse"}
    assert found["rmse"].value_threshold.upper_bound.value == 1.5


def test_retrieval_is_judged_by_ndcg_and_against_popularity():
    config = eval_config(EvaluationConfig(min_ndcg=0.3, max_regression=0.01), INTERACTIONS)
    found = thresholds(config)
    assert set(found) == {"ndcg_at_10", "ndcg_at_10_lift"}
    assert found["ndcg_at_10"].value_threshold.lower_bound.value == 0.3
    assert found["ndcg_at_10"].change_threshold.absolute.value == -0.01
    assert found["ndcg_at_10_lift"].value_threshold.lower_bound.value == 0.0
    assert config.model_specs[0].signature_name == "evaluate"
    alone = thresholds(eval_config(EvaluationConfig(beat_popularity=False), INTERACTIONS))
    assert set(alone) == {"ndcg_at_10"}


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        ("lower_bound", "auc is 0.4000; at least 0.5000 is needed"),
        ("upper_bound", "auc is 0.4000; at most 0.5000 is allowed"),
    ],
)
def test_a_missed_bound_is_told_as_what_it_is(bound, text):
    failure = validation_result_pb2.ValidationFailure()
    failure.metric_key.name = "auc"
    failure.metric_value.double_value.value = 0.4
    getattr(failure.metric_threshold.value_threshold, bound).value = 0.5
    assert failure_text(failure) == text
