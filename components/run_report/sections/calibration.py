"""Whether predictions are right on average, by how high they are."""

import numpy as np

_GROUPS = 10

GROUPS_NOTE = f"{_GROUPS} groups of equally many test rows; on the dashed line predictions are right on average."


def calibration(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> tuple[list[float], list[float]]:
    """Weighted mean prediction and mean label of equally large groups, from low to high predictions.

    Args:
        labels: `[rows]`.
        predictions: `[rows]`.
        weights: `[rows]`; a group without weight is left out.
    """
    groups = np.array_split(np.argsort(predictions, kind="stable"), min(_GROUPS, len(labels)))
    weighty = [rows for rows in groups if weights[rows].sum() > 0]
    predicted, observed = (
        [float(np.average(values[rows], weights=weights[rows])) for rows in weighty] for values in (predictions, labels)
    )
    return predicted, observed
