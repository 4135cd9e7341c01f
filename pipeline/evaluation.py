"""What the Evaluator measures and when it blesses."""

import json
from collections.abc import Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation.metrics import ClickMetric, RegressionMetric
from components.evaluation.retrieval_metrics import RetrievalMetric
from components.retrieval_index.exact import EVALUATE
from pipeline.config import EvaluationConfig
from trainer_module.data.spec import DatasetSpec

_RETRIEVAL_METRICS = (
    "ndcg_at_10",
    "ndcg_at_10_low",
    "ndcg_at_10_high",
    "popularity_ndcg_at_10",
    "ndcg_at_10_lift",
    "recall_at_10",
    "popularity_recall_at_10",
    "recall_at_10_head",
    "recall_at_10_tail",
    "recall_at_10_cold",
    "hit_rate_at_10",
    "mrr_at_100",
    "row_recall_at_100",
    "row_recall_at_100_kept",
    "coverage_at_10",
    "average_popularity_at_10",
    "example_count",
)


def eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """Metrics overall and by slice, and the thresholds on the overall ones, for the dataset's task.

    Args:
        config: The thresholds. The one against the last blessed model is ignored where there is none.
        dataset: Gives the task, the label and the slices.
    """
    of_task = {"rating": _rating_eval_config, "click": _click_eval_config, "retrieval": _retrieval_eval_config}
    return of_task[dataset.task](config, dataset)


def _rating_eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """RMSE and MAE of predicted ratings."""
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(upper_bound={"value": config.max_rmse}),
        change_threshold=_at_most_worse(config, config_pb2.MetricDirection.LOWER_IS_BETTER),
    )
    metrics = [_metric(RegressionMetric, name) for name in ("mae", "example_count")]
    return _eval_config(_of_rows(dataset), [_metric(RegressionMetric, "rmse", threshold), *metrics], dataset)


def _click_eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """Log loss, AUC and calibration of click probabilities."""
    log_loss = config_pb2.MetricThreshold(
        change_threshold=_at_most_worse(config, config_pb2.MetricDirection.LOWER_IS_BETTER)
    )
    if config.max_log_loss is not None:
        log_loss.value_threshold.upper_bound.value = config.max_log_loss
    auc = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": config.min_auc})
    )
    thresholds = {"log_loss": log_loss, "auc": auc}
    names = ("log_loss", "baseline_log_loss", "auc", "calibration", "example_count")
    return _eval_config(
        _of_rows(dataset), [_metric(ClickMetric, name, thresholds.get(name)) for name in names], dataset
    )


def _retrieval_eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """Metrics over the full corpus, without what the user has seen unless named `_kept`, beside those of popularity."""
    thresholds = {
        "ndcg_at_10": config_pb2.MetricThreshold(
            value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": config.min_ndcg}),
            change_threshold=_at_most_worse(config, config_pb2.MetricDirection.HIGHER_IS_BETTER),
        )
    }
    if config.beat_popularity:
        thresholds["ndcg_at_10_lift"] = config_pb2.MetricThreshold(
            value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": 0.0})
        )
    return _eval_config(
        config_pb2.ModelSpec(signature_name=EVALUATE),
        [_metric(RetrievalMetric, name, thresholds.get(name)) for name in _RETRIEVAL_METRICS],
        dataset,
    )


def _of_rows(dataset: DatasetSpec) -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(signature_name="serving_default", label_key=dataset.features.label.name)


def _eval_config(
    model: config_pb2.ModelSpec, metrics: Sequence[config_pb2.MetricConfig], dataset: DatasetSpec
) -> config_pb2.EvalConfig:
    options = config_pb2.Options()
    options.include_default_metrics.value = False  # TFMA's own count would count batches
    return config_pb2.EvalConfig(
        model_specs=[model],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in dataset.slices),
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
        options=options,
    )


def _at_most_worse(
    config: EvaluationConfig, direction: config_pb2.MetricDirection
) -> config_pb2.GenericChangeThreshold:
    sign = 1 if direction == config_pb2.MetricDirection.LOWER_IS_BETTER else -1
    return config_pb2.GenericChangeThreshold(direction=direction, absolute={"value": sign * config.max_regression})


def _metric(
    kind: type[tfma.metrics.Metric], name: str, threshold: config_pb2.MetricThreshold | None = None
) -> config_pb2.MetricConfig:
    # Slices are for people to look at; a slice of a dozen examples must not decide.
    overall = config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
    return config_pb2.MetricConfig(
        class_name=kind.__name__,
        module=kind.__module__,
        config=json.dumps({"name": name}),
        per_slice_thresholds=[overall] if threshold else [],
    )
