"""The value of a policy from logged clicks with propensities, as sums that add up. Free functions on numpy arrays.

The logging policy showed item `a` in context `x` with the known probability `p(a | x)`, the propensity, and the click
`r` of that item alone was seen. The value of another policy `pi` is its expected clicks per row. With the importance
weights `w = pi(a | x) / p(a | x)` it is estimated by

- inverse propensity scoring (IPS), the mean of `w r` (Horvitz and Thompson, JASA 1952), which is unbiased if `p` is
  right and above 0 wherever `pi` is;
- the self-normalized estimator (SNIPS), the sum of `w r` over the sum of `w` (Swaminathan and Joachims, "The
  Self-Normalized Estimator for Counterfactual Learning", NIPS 2015), which is consistent, has less variance and stays
  between 0 and 1.

Intervals are normal, at 95%: of a mean for IPS, of a ratio by the delta method for SNIPS. They take rows as
independent, and are too narrow if few rows carry the weight. If no row varies (such as without any weighted click),
there is no interval.
"""

import math

import numpy as np

# Standard errors between the estimate and an end of its interval.
_Z = 1.959963984540054


def policy_sums(clicks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums over rows: rows, r, w, w r, w^2, w^2 r, w^2 r^2; float64 `[7]`.

    Args:
        clicks: 0 or 1, `[batch]`, or any shape with one value per row.
        weights: Importance weights, the same number of values.

    Raises:
        ValueError: The numbers of values differ, or a weight is negative or not finite.
    """
    r, w = (np.asarray(values, np.float64).reshape(-1) for values in (clicks, weights))
    if r.shape != w.shape:
        raise ValueError(f"{r.size} clicks but {w.size} importance weights")
    if not np.all((w >= 0) & (w < np.inf)):
        raise ValueError("an importance weight is negative or not finite")
    return np.array([r.size, r.sum(), w.sum(), w @ r, w @ w, w**2 @ r, w**2 @ r**2])


def policy_metrics(sums: np.ndarray) -> dict[str, float]:
    """Metrics from the total of `policy_sums`.

    Returns:
        `logged_value`, the clicks per row of the logging policy; `ips_value` and `snips_value` with the ends `_low` and
        `_high` of their intervals; `importance_weight`, the mean weight, which is 1 in expectation if propensities are
        right; and `effective_rows`, the number of equally weighted rows that would estimate as well (Kish, 1965). SNIPS
        is NaN if no row has a weight, and so are the ends of an interval of no width.
    """
    n, clicks, w, wr, ww, wwr, wwrr = (float(value) for value in sums)
    ips = wr / n
    ips_error = math.sqrt(max(0.0, wwrr / n - ips**2) / n) or math.nan
    snips, snips_error = math.nan, math.nan
    if w:
        snips = wr / w
        snips_error = math.sqrt(max(0.0, wwrr - 2 * snips * wwr + snips**2 * ww)) / w or math.nan
    return {
        "logged_value": clicks / n,
        "ips_value": ips,
        "ips_value_low": ips - _Z * ips_error,
        "ips_value_high": ips + _Z * ips_error,
        "snips_value": snips,
        "snips_value_low": snips - _Z * snips_error,
        "snips_value_high": snips + _Z * snips_error,
        "importance_weight": w / n,
        "effective_rows": w**2 / ww if ww else 0.0,
    }


def greedy(probabilities: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The probability with which the greedy policy shows what the log shows, `[rows]`.

    The policy shows a candidate with the highest predicted click probability, each of several such with the same
    probability.

    Args:
        probabilities: Predicted clicks of each candidate in each row's context, `[rows, candidates]`.
        shown: Place of the logged item among the candidates, int64 `[rows]`; -1 if it is none of them.
    """
    is_best = probabilities == probabilities.max(axis=1, keepdims=True)
    of_shown = np.take_along_axis(is_best, np.maximum(shown, 0)[:, np.newaxis], axis=1)[:, 0]
    return np.where((shown >= 0) & of_shown, 1 / is_best.sum(axis=1), 0.0)


def softmax(probabilities: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The same for the policy that draws candidates by a softmax over their log odds: proportionally to their odds.

    Args:
        probabilities: As for `greedy`; each above 0 and below 1.
        shown: As for `greedy`.
    """
    odds = probabilities / (1 - probabilities)
    of_shown = np.take_along_axis(odds, np.maximum(shown, 0)[:, np.newaxis], axis=1)[:, 0]
    return np.where(shown >= 0, of_shown / odds.sum(axis=1), 0.0)
