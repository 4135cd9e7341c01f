"""Metrics of predicted ratings, as sums that add up over batches. Free functions on numpy arrays."""

import math

import numpy as np


def error_sums(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Sum of squared errors, sum of absolute errors and number of examples: float64 `[3]`.

    Args:
        labels: `[batch]`, or any shape with one value per example.
        predictions: The same number of values.

    Raises:
        ValueError: The numbers of values differ, or a value is not finite.
    """
    labels, predictions = (np.asarray(values, np.float64).reshape(-1) for values in (labels, predictions))
    if labels.shape != predictions.shape:
        raise ValueError(f"{labels.size} labels but {predictions.size} predictions")
    error = predictions - labels
    if not np.all(np.isfinite(error)):
        raise ValueError("a label or prediction is not finite")
    return np.array([error @ error, np.abs(error).sum(), error.size])


def regression_metrics(sums: np.ndarray) -> dict[str, float]:
    """`rmse` and `mae`, NaN without an example, and `example_count` from the sums of `error_sums`."""
    squared, absolute, count = (float(value) for value in sums)
    if not count:
        return {"rmse": math.nan, "mae": math.nan, "example_count": 0.0}
    return {"rmse": float(np.sqrt(squared / count)), "mae": absolute / count, "example_count": count}
