"""What the Evaluator measures and when it blesses."""

import json
from collections.abc import Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components.columnar_evaluation.metrics import ClickMetric, RegressionMetric
from pipeline.config import EvaluationConfig
from trainer_module.datasets.spec import DatasetSpec


def rating_eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """RMSE and MAE of predicted ratings, overall and by slice; thresholds on the overall RMSE.

    Args:
        config: The thresholds. The one against the last blessed model is ignored where there is none.
        dataset: Gives the label and the slices.
    """
    threshold = _threshold(config_pb2.GenericValueThreshold(upper_bound={"value": config.max_rmse}), config)
    metrics = [
        _metric(RegressionMetric, "rmse", threshold),
        _metric(RegressionMetric, "mae"),
        _metric(RegressionMetric, "example_count"),
    ]
    return _eval_config(metrics, dataset)


def click_eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """Log loss, AUC and calibration of click probabilities, overall and by slice; thresholds on the overall ones.

    Args:
        config: The thresholds, as for ratings; what is compared with the last blessed model is the log loss.
        dataset: Gives the label and the slices.
    """
    most = None if config.max_log_loss is None else {"value": config.max_log_loss}
    least = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": config.min_auc})
    )
    log_loss = _threshold(most and config_pb2.GenericValueThreshold(upper_bound=most), config)
    metrics = [
        _metric(ClickMetric, "log_loss", log_loss),
        _metric(ClickMetric, "baseline_log_loss"),
        _metric(ClickMetric, "auc", least),
        _metric(ClickMetric, "calibration"),
        _metric(ClickMetric, "example_count"),
    ]
    return _eval_config(metrics, dataset)


def _eval_config(metrics: Sequence[config_pb2.MetricConfig], dataset: DatasetSpec) -> config_pb2.EvalConfig:
    options = config_pb2.Options()
    options.include_default_metrics.value = False  # TFMA's own count would count batches
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(signature_name="serving_default", label_key=dataset.features.label.name)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in dataset.slices),
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
        options=options,
    )


def _threshold(value: config_pb2.GenericValueThreshold | None, config: EvaluationConfig) -> config_pb2.MetricThreshold:
    """A bound on a metric that should be low, and on how much it may grow against the last blessed model."""
    return config_pb2.MetricThreshold(
        value_threshold=value,
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.LOWER_IS_BETTER, absolute={"value": config.max_regression}
        ),
    )


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
