"""Metrics of ratings and clicks for TFMA whose inputs are batches."""

from collections.abc import Callable, Iterable

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.evaluation.clicks import auc, auc_sums, click_metrics, click_sums


def error_sums(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Sum of squared errors, sum of absolute errors and number of examples: float64 `[3]`.

    Args:
        labels: `[batch]`, or any shape with one value per example.
        predictions: As many.

    Raises:
        ValueError: Their numbers differ, or something is not finite.
    """
    labels, predictions = (np.asarray(values, np.float64).reshape(-1) for values in (labels, predictions))
    if labels.shape != predictions.shape:
        raise ValueError(f"{labels.size} labels but {predictions.size} predictions")
    error = predictions - labels
    if not np.all(np.isfinite(error)):
        raise ValueError("a label or prediction is not finite")
    return np.array([error @ error, np.abs(error).sum(), error.size])


def regression_metrics(sums: np.ndarray) -> dict[str, float]:
    """`rmse`, `mae` and `example_count` from the sums of `error_sums`."""
    squared, absolute, count = (float(value) for value in sums)
    return {"rmse": float(np.sqrt(squared / count)), "mae": absolute / count, "example_count": count}


Sums = Callable[[np.ndarray, np.ndarray], np.ndarray]


class _SumsCombiner(beam.CombineFn):
    """Adds up sums over batches and reports one metric of them; TFMA wants a combiner per metric key."""

    def __init__(self, key: metric_types.MetricKey, sums: Sums, metric: Callable[[np.ndarray], float]):
        self._key = key
        self._sums = sums
        self._metric = metric

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(())

    def add_input(self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs) -> np.ndarray:
        predictions = element.get_predictions(self._key.model_name, self._key.output_name)
        labels = element.get_labels(self._key.model_name, self._key.output_name)
        return accumulator + self._sums(labels, predictions)

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, float]:
        return {self._key: self._metric(accumulator)}


def _regression(name: str, model_name: str = "", output_name: str = "") -> metric_types.MetricComputations:
    key = metric_types.MetricKey(name=name, model_name=model_name, output_name=output_name)
    combiner = _SumsCombiner(key, error_sums, lambda sums: regression_metrics(sums)[name])
    return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=combiner)]


def _click(name: str, model_name: str = "", output_name: str = "") -> metric_types.MetricComputations:
    key = metric_types.MetricKey(name=name, model_name=model_name, output_name=output_name)
    combiner = (
        _SumsCombiner(key, auc_sums, auc)
        if name == "auc"
        else _SumsCombiner(key, click_sums, lambda sums: click_metrics(sums)[name])
    )
    return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=combiner)]


class RegressionMetric(tfma.metrics.Metric):
    """One of `rmse`, `mae`, `example_count`, by its name."""

    def __init__(self, name: str):
        """Names the metric."""
        super().__init__(metric_util.merge_per_key_computations(_regression), name=name)


class ClickMetric(tfma.metrics.Metric):
    """One of `log_loss`, `baseline_log_loss`, `calibration`, `example_count` and `auc`, by its name; see `clicks`."""

    def __init__(self, name: str):
        """Names the metric."""
        super().__init__(metric_util.merge_per_key_computations(_click), name=name)


metric_types.register_metric(RegressionMetric)
metric_types.register_metric(ClickMetric)
