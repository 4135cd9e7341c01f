"""Names of what the extractors add to a batch's features, and the predictions of one head. Free of Beam."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer_module.errors import ModelError

# No column's name begins with an underscore.
NAIVE_PREFIX, LABEL_PREFIX = "__naive_", "__label_"
ROW_WEIGHT = "__weight"
"""The name under which the rows' weights stand among a batch's features; 1 where rows have none."""


def naive_feature(source: str, head: str = "") -> str:
    """The name under which predictions of `BASELINE` or `LOGISTIC` stand among a batch's features.

    Args:
        source: `BASELINE` or `LOGISTIC`.
        head: Label of a head; empty for a model with one prediction.
    """
    return f"{NAIVE_PREFIX}{source}__{head}"


def label_feature(head: str) -> str:
    """The name under which the labels of a head stand among a batch's features, NaN where a row lacks one."""
    return f"{LABEL_PREFIX}{head}"


def predictions_of(predictions: Any, head: str) -> np.ndarray:
    """The predictions of a head, `[batch]`.

    Args:
        predictions: Of one model: an array, or arrays by head.
        head: Label of a head; empty for a model with one prediction.

    Raises:
        ModelError: The last blessed model lacks the head. The candidate has all heads of its experiment.
    """
    if head and not (isinstance(predictions, Mapping) and head in predictions):
        raise ModelError(
            f"the last blessed model of this pipeline has no head {head!r} to compare with; give the pipeline "
            "another name"
        )
    return np.asarray(predictions[head] if head else predictions).reshape(-1)
