"""TFMA metrics of ratings and clicks, of the model and of the references beside it. Their inputs are batches."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.evaluation.added_features import ROW_WEIGHT, label_feature, naive_feature, predictions_of
from components.evaluation.click_metrics import (
    auc,
    auc_sums,
    calibration_error,
    calibration_sums,
    click_metrics,
    click_sums,
)
from components.evaluation.float32 import FLOAT32, float32_feature
from components.evaluation.off_policy import policy_metrics, policy_sums
from components.evaluation.policies import POLICIES, weight_feature
from components.evaluation.rating_metrics import error_sums, regression_metrics
from trainer_module.training.naive_baseline import BASELINE, LOGISTIC

_MODEL = "model"

# Largest relative difference of two losses that counts as none: what predictions in float32 may differ by.
_TIE = 1e-6


@dataclass(frozen=True)
class _RowMetric:
    """A metric of one or several predictions for the same rows.

    Attributes:
        sums: From labels, predictions and weights of a batch to an array that adds up over batches.
        value: From the totals of `sums`, one per source, to the metric.
        sources: Whose predictions: the model's, the baseline's, the logistic regression's, the float32 model's; or
            a policy, whose importance weights take the place of predictions.
    """

    sums: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    value: Callable[..., float]
    sources: tuple[str, ...] = (_MODEL,)


def _rmse(sums: np.ndarray) -> float:
    return regression_metrics(sums)["rmse"]


def _log_loss(sums: np.ndarray) -> float:
    return click_metrics(sums)["log_loss"]


def _lead(model: float, naive: float) -> float:
    """How much lower the model's loss is than the naive baseline's.

    A rating model that finds nothing beyond the baseline predicts as the baseline does, in float32. That is a tie.
    """
    return 0.0 if math.isclose(model, naive, rel_tol=_TIE) else naive - model


_RATING_METRICS: Mapping[str, _RowMetric] = {
    "rmse": _RowMetric(error_sums, _rmse),
    "baseline_rmse": _RowMetric(error_sums, _rmse, (BASELINE,)),
    "rmse_lift": _RowMetric(error_sums, lambda model, naive: _lead(_rmse(model), _rmse(naive)), (_MODEL, BASELINE)),
    "mae": _RowMetric(error_sums, lambda sums: regression_metrics(sums)["mae"]),
    "calibration": _RowMetric(error_sums, lambda sums: regression_metrics(sums)["calibration"]),
    "example_count": _RowMetric(error_sums, lambda sums: regression_metrics(sums)["example_count"]),
}
_CLICK_METRICS: Mapping[str, _RowMetric] = {
    "log_loss": _RowMetric(click_sums, _log_loss),
    "baseline_log_loss": _RowMetric(click_sums, _log_loss, (BASELINE,)),
    "log_loss_lift": _RowMetric(
        click_sums, lambda model, naive: _lead(_log_loss(model), _log_loss(naive)), (_MODEL, BASELINE)
    ),
    "logistic_log_loss": _RowMetric(click_sums, _log_loss, (LOGISTIC,)),
    "auc": _RowMetric(auc_sums, auc),
    "logistic_auc": _RowMetric(auc_sums, auc, (LOGISTIC,)),
    "calibration": _RowMetric(click_sums, lambda sums: click_metrics(sums)["calibration"]),
    "calibration_error": _RowMetric(calibration_sums, calibration_error),
    "click_count": _RowMetric(click_sums, lambda sums: click_metrics(sums)["click_count"]),
    "example_count": _RowMetric(click_sums, lambda sums: click_metrics(sums)["example_count"]),
}

RATING_METRICS = tuple(_RATING_METRICS)
CLICK_METRICS = tuple(_CLICK_METRICS)


def _in_float32(metrics: Mapping[str, _RowMetric], names: Iterable[str]) -> Mapping[str, _RowMetric]:
    """Some metrics of the float32 model beside a quantized one."""
    return {f"{FLOAT32}_{name}": replace(metrics[name], sources=(FLOAT32,)) for name in names}


_FLOAT32_RATING_METRICS = _in_float32(_RATING_METRICS, ("rmse", "mae", "calibration"))
_FLOAT32_CLICK_METRICS = _in_float32(_CLICK_METRICS, ("log_loss", "auc", "calibration", "calibration_error"))

_OF_POLICY = (
    *("ips_value", "ips_value_low", "ips_value_high", "snips_value", "snips_value_low", "snips_value_high"),
    *("importance_weight", "effective_rows"),
)


def _policy_metric(policy: str, name: str) -> _RowMetric:
    # Importance weights estimate what a policy would earn per row that was logged, so that rows count alike.
    return _RowMetric(
        lambda clicks, importance, _: policy_sums(clicks, importance),
        lambda sums: policy_metrics(sums)[name],
        (policy,),
    )


_POLICY_METRICS: Mapping[str, _RowMetric] = {
    "logged_value": _policy_metric("greedy", "logged_value"),
    **{f"{policy}_{name}": _policy_metric(policy, name) for policy in POLICIES for name in _OF_POLICY},
}

POLICY_METRICS = tuple(_POLICY_METRICS)
FLOAT32_RATING_METRICS = tuple(_FLOAT32_RATING_METRICS)
FLOAT32_CLICK_METRICS = tuple(_FLOAT32_CLICK_METRICS)


class _SumsCombiner(beam.CombineFn):
    """Adds up the sums of one metric over batches; TFMA wants a combiner per metric key."""

    def __init__(self, key: metric_types.MetricKey, metric: _RowMetric):
        self._key = key
        self._metric = metric

    def create_accumulator(self) -> tuple[np.ndarray, ...]:
        return tuple(np.zeros(()) for _ in self._metric.sources)

    def add_input(
        self, accumulator: tuple[np.ndarray, ...], element: metric_types.StandardMetricInputs
    ) -> tuple[np.ndarray, ...]:
        labels = self._labels(element)
        # Only heads of several goals skip rows without a label; elsewhere such a row is an error.
        known = ~np.isnan(labels) if self._key.output_name else slice(None)
        weights = np.asarray(element[tfma.FEATURES_KEY][ROW_WEIGHT])[known]
        return tuple(
            total + self._metric.sums(labels[known], self._predictions(element, source)[known], weights)
            for total, source in zip(accumulator, self._metric.sources, strict=True)
        )

    def merge_accumulators(self, accumulators: Iterable[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        return tuple(sum(parts, np.zeros(())) for parts in zip(self.create_accumulator(), *accumulators, strict=True))

    def extract_output(self, accumulator: tuple[np.ndarray, ...]) -> dict[metric_types.MetricKey, float]:
        return {self._key: self._metric.value(*accumulator)}

    def _labels(self, element: metric_types.StandardMetricInputs) -> np.ndarray:
        """`[batch]`; NaN where a row lacks the label of a head."""
        head = self._key.output_name
        labels = element[tfma.FEATURES_KEY][label_feature(head)] if head else element.get_labels(self._key.model_name)
        return np.asarray(labels, np.float64).reshape(-1)

    def _predictions(self, element: metric_types.StandardMetricInputs, source: str) -> np.ndarray:
        """`[batch]`."""
        head = self._key.output_name
        if source == _MODEL:
            return predictions_of(element.get_predictions(self._key.model_name), head)
        return np.asarray(element[tfma.FEATURES_KEY][_feature(source, head)])


def _feature(source: str, head: str) -> str:
    """The feature that holds the predictions of a reference, or the importance weights of a policy."""
    if source in POLICIES:
        return weight_feature(source)
    return float32_feature(head) if source == FLOAT32 else naive_feature(source, head)


def _computations(metrics: Mapping[str, _RowMetric]) -> Callable[..., metric_types.MetricComputations]:
    def of_key(name: str, model_name: str = "", output_name: str = "") -> metric_types.MetricComputations:
        key = metric_types.MetricKey(name=name, model_name=model_name, output_name=output_name)
        metric = metrics[name]
        added = [_feature(source, output_name) for source in metric.sources if source != _MODEL]
        added += [label_feature(output_name)] if output_name else []
        preprocessors: list[metric_types.Preprocessor] = [metric_types.FeaturePreprocessor([ROW_WEIGHT, *added])]
        combiner = _SumsCombiner(key, metric)
        return [metric_types.MetricComputation(keys=[key], preprocessors=preprocessors, combiner=combiner)]

    return metric_util.merge_per_key_computations(of_key)


class RegressionMetric(tfma.metrics.Metric):
    """One of `RATING_METRICS` or `FLOAT32_RATING_METRICS`, by its name.

    `baseline_rmse` is that of the naive baseline; `rmse_lift` is the baseline's RMSE minus the model's, and 0
    if they differ by no more than float32 does.
    """

    def __init__(self, name: str):
        """Names the metric."""
        super().__init__(_computations({**_RATING_METRICS, **_FLOAT32_RATING_METRICS}), name=name)


class ClickMetric(tfma.metrics.Metric):
    """One of `CLICK_METRICS`, `FLOAT32_CLICK_METRICS` or `POLICY_METRICS`, by its name.

    `baseline_log_loss` is that of predicting the training split's mean; `log_loss_lift` is the baseline's log loss
    minus the model's; `logistic_log_loss` and `logistic_auc` are those of a logistic regression.
    """

    def __init__(self, name: str):
        """Names the metric."""
        super().__init__(_computations({**_CLICK_METRICS, **_FLOAT32_CLICK_METRICS, **_POLICY_METRICS}), name=name)


metric_types.register_metric(RegressionMetric)
metric_types.register_metric(ClickMetric)
