"""How much of a learned correction is believed, chosen on held-out rows.

A model that corrects a baseline predicts `baseline + shrinkage * correction`. Least squares on rows that neither was
fitted to gives

    fitted = sum(correction * (label - baseline)) / sum(correction ** 2),

as stacking weighs models by held-out predictions (Breiman, "Stacked Regressions", Machine Learning 1996). On few rows
this number is uncertain, and half of all worthless corrections get a positive one. It is therefore drawn to 0, as in
Breiman's non-negative garrote (Technometrics 1995), which is the positive part of the rule of James and Stein:

    shrinkage = fitted * max(1 - (2 * standard error / fitted) ** 2, 0)

A correction within two standard errors of nothing is not believed at all; a certain one is hardly shrunk.
"""

from collections.abc import Sequence

import tensorflow as tf

# Distance from 0 within which a fitted share is taken for noise. Over the evaluations of a training, the largest of
# several is chosen, so one would not do.
_STANDARD_ERRORS = 2.0


def shrinkage_sums(baseline: tf.Tensor, correction: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """What adds up over batches and replicas to what `best_shrinkage` takes, float32 `[4]`.

    Args:
        baseline: Predictions of the baseline, `[batch]`.
        correction: What is to be added to them, `[batch]`.
        labels: `[batch]`.
        weights: `[batch]`; 0 for rows that do not count.
    """
    missing = labels - baseline
    products = (correction * correction, correction * missing, missing * missing, tf.ones_like(missing))
    return tf.stack([tf.reduce_sum(weights * product) for product in products])


def best_shrinkage(sums: Sequence[float]) -> float:
    """The share of a correction that is believed, 0 to 1.

    Args:
        sums: Over the rows: correction squared, correction times what the baseline misses, the latter squared, 1.
    """
    squared, shared, missed, rows = (float(value) for value in sums)
    if squared <= 0 or shared <= 0:
        return 0.0
    fitted = shared / squared
    unexplained = max(missed - fitted * shared, 0.0) / rows
    squared_error = unexplained / squared
    return min(fitted * max(1 - _STANDARD_ERRORS**2 * squared_error / fitted**2, 0.0), 1.0)
