import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.example_gen.config import DataConfig
from pipeline.config import EvaluationConfig, load_config
from pipeline.evaluation import eval_config
from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets import known_dataset
from trainer_module.data.spec import LabelSpec
from trainer_module.errors import ConfigError

CLICKS = {"files": "clicks.csv", "label": "clicked", "categorical": ["user"], "context": ["country"]}
DATASET = Dataset.model_validate({"task": "click", "slices": ["country"], "tables": {"interactions": CLICKS}}).spec()
RATINGS = known_dataset("movielens-100k").spec()
INTERACTIONS = DataConfig(dataset="movielens-100k", task="retrieval").described().spec()


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
    assert set(found) == {"log_loss", "log_loss_lift", "auc"}
    assert found["log_loss_lift"].value_threshold.lower_bound.value == 0.0
    assert found["log_loss"].value_threshold.upper_bound.value == 0.5
    assert found["log_loss"].change_threshold.absolute.value == 0.01
    assert found["auc"].value_threshold.lower_bound.value == 0.7
    assert not found["auc"].HasField("change_threshold")
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["country"]]
    assert config.model_specs[0].label_key == "clicked"


def test_without_an_upper_bound_the_log_loss_is_only_compared():
    found = thresholds(eval_config(EvaluationConfig(), DATASET))
    assert not found["log_loss"].HasField("value_threshold")
    assert set(found) == {"log_loss", "log_loss_lift"}


def test_ratings_are_judged_by_rmse():
    found = thresholds(eval_config(EvaluationConfig(max_rmse=1.5), RATINGS))
    assert set(found) == {"rmse", "rmse_lift"}
    assert found["rmse"].value_threshold.upper_bound.value == 1.5
    assert found["rmse_lift"].value_threshold.lower_bound.value == 0.0


def test_no_bound_depends_on_the_scale_of_ratings_by_default():
    found = thresholds(eval_config(EvaluationConfig(), RATINGS))
    assert not found["rmse"].HasField("value_threshold")
    assert set(thresholds(eval_config(EvaluationConfig(beat_baseline=False), RATINGS))) == {"rmse"}


def test_each_head_is_judged_by_the_metrics_of_its_task():
    heads = (LabelSpec(name="clicked", task="click"), LabelSpec(name="dwell", task="rating"))
    dataset = DATASET.model_copy(update={"further_labels": heads[1:]})
    gates = EvaluationConfig(heads={"clicked": {"min_auc": 0.6}, "dwell": {"max_rmse": 20.0, "max_regression": 1.5}})
    config = eval_config(gates, dataset, heads)
    by_head = {spec.output_names[0]: thresholds(SimpleNamespace(metrics_specs=[spec])) for spec in config.metrics_specs}
    assert {head: set(found) for head, found in by_head.items()} == {
        "clicked": {"log_loss", "log_loss_lift", "auc"},
        "dwell": {"rmse", "rmse_lift"},
    }
    assert by_head["clicked"]["auc"].value_threshold.lower_bound.value == 0.6
    assert by_head["clicked"]["log_loss"].change_threshold.absolute.value == 0.005
    assert by_head["dwell"]["rmse"].value_threshold.upper_bound.value == 20.0
    assert by_head["dwell"]["rmse"].change_threshold.absolute.value == 1.5
    assert by_head["dwell"]["rmse_lift"].value_threshold.lower_bound.value == 0.0
    # Labels that rows may lack come from the extractors.
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["country"]]
    assert not config.model_specs[0].label_key


def test_calibration_is_judged_only_if_asked_for():
    clicks = thresholds(eval_config(EvaluationConfig(max_miscalibration=0.1, max_calibration_error=0.02), DATASET))
    assert set(clicks) == {"log_loss", "log_loss_lift", "calibration", "calibration_error"}
    bounds = clicks["calibration"].value_threshold
    assert (bounds.lower_bound.value, bounds.upper_bound.value) == (0.9, 1.1)
    assert clicks["calibration_error"].value_threshold.upper_bound.value == 0.02
    assert not any(clicks[name].HasField("change_threshold") for name in ("calibration", "calibration_error"))
    assert set(thresholds(eval_config(EvaluationConfig(max_miscalibration=0.1), RATINGS))) == {
        *("rmse", "rmse_lift", "calibration")
    }
    heads = (LabelSpec(name="clicked", task="click"), LabelSpec(name="dwell", task="rating"))
    gates = EvaluationConfig(heads={"clicked": {"max_calibration_error": 0.02}, "dwell": {"max_miscalibration": 0.5}})
    of_heads = eval_config(gates, DATASET.model_copy(update={"further_labels": heads[1:]}), heads).metrics_specs
    by_head = {spec.output_names[0]: thresholds(SimpleNamespace(metrics_specs=[spec])) for spec in of_heads}
    assert "calibration_error" in by_head["clicked"] and "calibration" not in by_head["clicked"]
    assert by_head["dwell"]["calibration"].value_threshold.lower_bound.value == 0.5


def test_retrieval_is_judged_by_ndcg_and_against_popularity():
    config = eval_config(EvaluationConfig(min_ndcg=0.3, max_regression=0.01), INTERACTIONS)
    found = thresholds(config)
    assert set(found) == {"ndcg_at_10", "ndcg_at_10_lift"}
    assert found["ndcg_at_10"].value_threshold.lower_bound.value == 0.3
    assert found["ndcg_at_10"].change_threshold.absolute.value == -0.01
    assert found["ndcg_at_10_lift"].value_threshold.lower_bound.value == 0.0
    assert config.model_specs[0].signature_name == "evaluate"
    alone = thresholds(eval_config(EvaluationConfig(beat_baseline=False), INTERACTIONS))
    assert set(alone) == {"ndcg_at_10"}


def test_every_cutoff_has_its_metrics_and_the_first_one_decides():
    config = eval_config(EvaluationConfig(cutoffs=(20, 5)), INTERACTIONS)
    names = [json.loads(metric.config)["name"] for metric in config.metrics_specs[0].metrics]
    assert len(set(names)) == len(names)
    for k in (20, 5):
        of_k = {f"recall_at_{k}", f"ndcg_at_{k}", f"hit_rate_at_{k}", f"popularity_recall_at_{k}"}
        assert of_k <= set(names)
    assert "recall_at_10" not in names
    assert set(thresholds(config)) == {"ndcg_at_20", "ndcg_at_20_lift"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"evaluation.cutoffs": [101]}, "at most 100"),
        ({"evaluation.cutoffs": []}, "at least 1 entries"),
        ({"evaluation.cutoffs": [10, 10]}, "a cutoff stands twice"),
        ({"evaluation.beat_popularity": False}, "beat_popularity is now called beat_baseline"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(Path("movielens-100k-two-tower"), overrides)


@pytest.mark.parametrize(
    ("preset", "key", "value", "task"),
    [
        ("criteo-dlrm", "max_rmse", 1.0, "click"),
        ("movielens-100k-ranking", "min_auc", 0.6, "rating"),
        ("movielens-100k-two-tower", "max_log_loss", 0.6, "retrieval"),
        ("movielens-100k-ranking", "cutoffs", [10, 20], "rating"),
        ("movielens-100k-ranking", "max_calibration_error", 0.1, "rating"),
        ("movielens-100k-two-tower", "max_miscalibration", 0.1, "retrieval"),
    ],
)
def test_a_key_of_another_task_is_refused(preset, key, value, task):
    with pytest.raises(
        ConfigError, match=rf"evaluation.{key}: belongs to task \w+, but this experiment's task is {task}"
    ):
        load_config(Path(preset), {f"evaluation.{key}": value})


@pytest.mark.parametrize("dataset", [RATINGS, DATASET, INTERACTIONS], ids=["rating", "click", "retrieval"])
def test_a_quantized_model_is_measured_beside_the_float32_one(dataset):
    """By metrics of the float32 model that carry the quantized one's names, without a threshold of their own."""
    names = {
        quantized: [
            json.loads(metric.config)["name"]
            for metric in eval_config(EvaluationConfig(), dataset, quantized=quantized).metrics_specs[0].metrics
        ]
        for quantized in (False, True)
    }
    more = set(names[True]) - set(names[False])
    assert len(more) >= 2 and {name.removeprefix("float32_") for name in more} <= set(names[False])
    assert not more & set(thresholds(eval_config(EvaluationConfig(), dataset, quantized=True)))
