"""Metrics of predicted ratings, as sums that add up over batches. Free functions on numpy arrays."""

import math

import numpy as np

from components.evaluation.row_weights import checked_weights

NUM_SUMS = 6


def error_sums(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Weighted sums of squared errors, absolute errors, predictions, labels and 1, and the number of examples.

    Args:
        labels: `[batch]`, or any shape with one value per example.
        predictions: The same number of values.
        weights: Of the examples, `[batch]`; None weighs all alike.

    Returns:
        float64 `[6]`.

    Raises:
        ValueError: The numbers of values differ, or a value is not finite.
    """
    labels, predictions = (np.asarray(values, np.float64).reshape(-1) for values in (labels, predictions))
    if labels.shape != predictions.shape:
        raise ValueError(f"{labels.size} labels but {predictions.size} predictions")
    error = predictions - labels
    if not np.all(np.isfinite(error)):
        raise ValueError("a label or prediction is not finite")
    weights = checked_weights(weights, labels.size)
    weighted = [weights @ each for each in (np.square(error), np.abs(error), predictions, labels)]
    return np.array([*weighted, weights.sum(), error.size])


def regression_metrics(sums: np.ndarray) -> dict[str, float]:
    """Metrics from `error_sums`.

    Returns:
        `rmse` and `mae`, NaN where no example has weight; `calibration`, the mean prediction over the mean label, NaN
        where that is 0; and `example_count`.
    """
    squared, absolute, predicted, observed, weight, count = (float(value) for value in sums)
    return {
        "rmse": math.sqrt(squared / weight) if weight else math.nan,
        "mae": absolute / weight if weight else math.nan,
        "calibration": predicted / observed if observed else math.nan,
        "example_count": count,
    }
