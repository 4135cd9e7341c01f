"""Metrics of ranked lists. Free numpy functions over the full corpus.

`hits` marks the relevant items of each query's list, best first: bool `[queries, length]`. `num_relevant` counts each
query's relevant items, listed or not: `[queries]`. A query without relevant items has the value NaN.
"""

from collections.abc import Callable, Mapping

import numpy as np

PerQuery = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def find_places(ids: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Finds each listed item among the relevant ones.

    Args:
        ids: Listed items, `[queries, length]`; a short list ends in empty texts.
        relevant: Relevant items, `[queries, n]`, filled up with empty texts.

    Returns:
        Its place in the query's row of `relevant`, -1 for an item that is not relevant; int32 `[queries, length]`.
    """
    places = np.full(ids.shape, -1, np.int32)
    for row, (listed, wanted) in enumerate(zip(ids, relevant, strict=True)):
        known = {item: place for place, item in enumerate(wanted.tolist()) if item}
        places[row] = [known.get(item, -1) for item in listed.tolist()]
    return places


def find_hits(ids: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Marks the relevant items of each list, bool `[queries, length]`; arguments as in `find_places`."""
    return find_places(ids, relevant) >= 0


def recall(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the relevant items that are among the first `k`, `[queries]`."""
    return _share(hits[:, :k].sum(axis=1), num_relevant)


def precision(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the first `k` that is relevant, `[queries]`."""
    return _where_relevant(hits[:, :k].sum(axis=1) / k, num_relevant)


def hit_rate(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Whether any of the first `k` is relevant, 0 or 1, `[queries]`."""
    return _where_relevant(hits[:, :k].any(axis=1).astype(float), num_relevant)


def reciprocal_rank(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """One over the rank of the first relevant item; 0 if it is not among the first `k`, `[queries]`."""
    cut = hits[:, :k]
    first = cut.argmax(axis=1) + 1
    return _where_relevant(np.where(cut.any(axis=1), 1 / first, 0.0), num_relevant)


def ndcg(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Normalized discounted cumulative gain with binary gains and log2 discounts, `[queries]`.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002. The ideal list has all relevant
    items first and is cut at `k` as well.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(num_relevant, k)]
    cut = hits[:, :k]
    return _share(cut @ discounts[: cut.shape[1]], ideal)


# Metrics of a query by their names, to which `_at_K` is added.
PER_QUERY: Mapping[str, PerQuery] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "hit_rate": hit_rate,
    "mrr": reciprocal_rank,
}


def confidence_interval(values: np.ndarray, level: float = 0.95, resamples: int = 1000) -> tuple[float, float]:
    """Percentile bootstrap of the mean over queries (Efron and Tibshirani, 1993), with a fixed seed.

    Args:
        values: `[queries]`, in any order.
        level: Confidence level.
        resamples: Number of samples that are drawn with replacement.
    """
    values = np.sort(values)
    random = np.random.default_rng(0)
    means = [random.choice(values, len(values)).mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _where_relevant(values: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    return np.where(num_relevant > 0, values, np.nan)
