"""Metrics of predicted click probabilities, as sums that add up over batches. Free functions on numpy arrays."""

import math

import numpy as np

from components.evaluation.row_weights import checked_weights

# Number of bins of the log odds between -_LIMIT and _LIMIT. Two predictions in one bin, which is 0.001 wide, count as
# tied in the AUC. Bins of log odds resolve rare clicks as finely as frequent ones; bins of probabilities would not.
AUC_BINS = 30_000
_LIMIT = 15.0

# Probabilities are clipped to [_EPSILON, 1 - _EPSILON], so that one wrong answer does not make the log loss infinite.
_EPSILON = 1e-7

# Of the expected calibration error.
_GROUPS = 10

NUM_SUMS = 6


def click_sums(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Weighted sums of log losses, predictions, labels and 1, and the numbers of clicks and of examples.

    Args:
        labels: 0 or 1, `[batch]`, or any shape with one value per example.
        probabilities: The same number of values.
        weights: Of the examples, `[batch]`; None weighs all alike.

    Returns:
        float64 `[6]`.

    Raises:
        ValueError: The numbers of values differ, a label is neither 0 nor 1, or a prediction is not a probability.
    """
    labels, probabilities = _checked(labels, probabilities)
    weights = checked_weights(weights, labels.size)
    weighted = [weights @ each for each in (log_losses(labels, probabilities), probabilities, labels)]
    return np.array([*weighted, weights.sum(), labels.sum(), labels.size])


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Log loss of every example in nats, `[examples]` float64.

    Args:
        labels: 0 or 1, `[examples]` float64.
        probabilities: `[examples]` float64.
    """
    clipped = np.clip(probabilities, _EPSILON, 1 - _EPSILON)
    return -(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped))


def click_metrics(sums: np.ndarray) -> dict[str, float]:
    """Metrics from `click_sums`.

    Returns:
        `log_loss`, NaN where no example has weight; `calibration`, the mean prediction over the mean label, NaN where
        no click has weight; `click_count`; and `example_count`.
    """
    loss, predicted, clicked, weight, clicks, count = (float(value) for value in sums)
    return {
        "log_loss": loss / weight if weight else math.nan,
        "calibration": predicted / clicked if clicked else math.nan,
        "click_count": clicks,
        "example_count": count,
    }


def calibration_sums(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Weights, weighted predictions and weighted labels by bin of the predicted log odds: float64 `[3, AUC_BINS]`.

    Arguments and errors are those of `click_sums`.
    """
    labels, probabilities = _checked(labels, probabilities)
    weights, bins = checked_weights(weights, labels.size), _bins(probabilities)
    parts = (weights, weights * probabilities, weights * labels)
    return np.stack([np.bincount(bins, part, AUC_BINS) for part in parts])


def calibration_error(sums: np.ndarray) -> float:
    """Expected calibration error: mean distance between predicted and observed share of clicks in groups of examples.

    Groups are of about equal weight, from low to high predictions (Nguyen and O'Connor, "Posterior calibration and
    exploratory analysis for natural language processing models", EMNLP 2015), because clicks are rare: nearly all
    examples would be in the first of several groups of equally wide probabilities.

    Args:
        sums: The total of `calibration_sums`.

    Returns:
        NaN where no example has weight.
    """
    weight, predicted, clicked = sums
    total = weight.sum()
    if not total:
        return math.nan
    # A bin belongs to the group in which its middle lies.
    middle = np.cumsum(weight) - weight / 2
    group = np.minimum((middle * (_GROUPS / total)).astype(np.int64), _GROUPS - 1)
    distances = np.bincount(group, predicted, _GROUPS) - np.bincount(group, clicked, _GROUPS)
    return float(np.abs(distances).sum() / total)


def auc_sums(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Weights of examples without and with a click by bin of their predicted log odds: float64 `[2, AUC_BINS]`.

    Arguments and errors are those of `click_sums`.
    """
    labels, probabilities = _checked(labels, probabilities)
    places = _bins(probabilities) + AUC_BINS * labels.astype(np.int64)
    return np.bincount(places, checked_weights(weights, labels.size), 2 * AUC_BINS).reshape(2, AUC_BINS)


def auc(sums: np.ndarray) -> float:
    """Share of the pairs of a click and a non-click in which the click has the higher prediction; ties count half.

    A pair weighs the product of the weights of its examples.

    Args:
        sums: The total of `auc_sums`.

    Returns:
        NaN if all labels are alike.
    """
    others, clicks = sums
    pairs = others.sum() * clicks.sum()
    below = np.cumsum(others) - others
    return float(clicks @ (below + others / 2) / pairs) if pairs else math.nan


def exact_auc(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The AUC without bins; arguments and errors are those of `click_sums`."""
    labels, probabilities = _checked(labels, probabilities)
    weights = checked_weights(weights, labels.size)
    distinct, ranks = np.unique(probabilities, return_inverse=True)
    of_labels = [labels == label for label in (0, 1)]
    return auc(np.stack([np.bincount(ranks[rows], weights[rows], len(distinct)) for rows in of_labels]))


def _bins(probabilities: np.ndarray) -> np.ndarray:
    """Bin of the log odds of each probability, `[examples]` int64."""
    clipped = np.clip(probabilities, _EPSILON, 1 - _EPSILON)
    log_odds = np.log(clipped) - np.log1p(-clipped)
    return np.clip((log_odds + _LIMIT) * (AUC_BINS / (2 * _LIMIT)), 0, AUC_BINS - 1).astype(np.int64)


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = (np.asarray(values, np.float64).reshape(-1) for values in (labels, probabilities))
    if labels.shape != probabilities.shape:
        raise ValueError(f"{labels.size} labels but {probabilities.size} predictions")
    if not np.all((labels == 0) | (labels == 1)):
        raise ValueError("a label is neither 0 nor 1")
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise ValueError("a prediction is no probability")
    return labels, probabilities
