"""Weights of examples in metrics."""

import numpy as np


def checked_weights(weights: np.ndarray | None, count: int) -> np.ndarray:
    """The weights of a batch, float64 `[count]`; 1 for None.

    Args:
        weights: Any shape with one value per example, or None.
        count: Number of examples.

    Raises:
        ValueError: There is another number of weights, or one is negative or not finite.
    """
    if weights is None:
        return np.ones(count)
    weights = np.asarray(weights, np.float64).reshape(-1)
    if weights.size != count:
        raise ValueError(f"{count} examples but {weights.size} weights")
    if not np.all((weights >= 0) & np.isfinite(weights)):
        raise ValueError("the weight of an example is negative or not finite")
    return weights
