"""Metrics of top-k lists over the full catalog. Free functions of arrays; nothing here knows TFMA.

Per query: `recall`, `precision`, `ndcg`, `hit_rate`, `reciprocal_rank`, `popularity`. Over queries: `coverage`,
`top_k_accuracy`, `bootstrap_interval`. All start from `hits`, which alone looks at identifiers.

Gains are binary: an item is relevant or it is not. Nothing is estimated from sampled negatives, since metrics of
samples order models otherwise than those of the whole catalog do (Krichene and Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020).
"""

import numpy as np
import pyarrow as pa

NO_ITEM = b""


def hits(recommended: np.ndarray, relevant: pa.LargeListArray) -> np.ndarray:
    """Which recommended items are relevant.

    Args:
        recommended: Identifiers `[queries, k]`, best first; `NO_ITEM` where a list is shorter. No item twice in a row.
        relevant: Identifiers of each query's relevant items, `[queries]` lists.

    Returns:
        Bool `[queries, k]`.

    Raises:
        ValueError: The numbers of queries differ.
    """
    return membership(recommended, relevant) & (recommended != NO_ITEM)


def membership(values: np.ndarray, lists: pa.LargeListArray) -> np.ndarray:
    """Whether each value of a row is in the row's list.

    Args:
        values: Bytes `[rows, n]`.
        lists: `[rows]` lists of bytes.

    Returns:
        Bool `[rows, n]`.

    Raises:
        ValueError: The numbers of rows differ.
    """
    if len(values) != len(lists):
        raise ValueError(f"{len(values)} rows of values but {len(lists)} lists")
    of_list = np.repeat(np.arange(len(lists)), list_sizes(lists))
    tokens = np.concatenate([np.asarray(values, object).reshape(-1), lists.flatten().to_numpy(zero_copy_only=False)])
    codes = pa.array(tokens, pa.large_binary()).dictionary_encode().indices.to_numpy().astype(np.int64)
    rows = np.concatenate([np.repeat(np.arange(len(values)), values.shape[1]), of_list])
    pairs = rows * (codes.max(initial=0) + 1) + codes
    return np.isin(pairs[: values.size], pairs[values.size :]).reshape(values.shape)


def list_sizes(lists: pa.LargeListArray) -> np.ndarray:
    """Number of values in each list, `[rows]` int64; a missing list is an empty one."""
    return lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)


def recall(hit: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the relevant items that are among the first `k`.

    Args:
        hit: Bool `[queries, at least k]`.
        num_relevant: `[queries]`.
        k: Length of the list.

    Returns:
        `[queries]`; NaN where nothing is relevant.
    """
    return _ratio(_first(hit, k).sum(axis=1), num_relevant)


def precision(hit: np.ndarray, k: int) -> np.ndarray:
    """Share of the first `k` places that hold relevant items, `[queries]`; an empty place counts as a miss.

    Args:
        hit: Bool `[queries, at least k]`.
        k: Length of the list.
    """
    return _first(hit, k) @ np.full(k, 1 / k)


def hit_rate(hit: np.ndarray, k: int) -> np.ndarray:
    """1 where at least one of the first `k` is relevant, else 0, `[queries]`.

    Args:
        hit: Bool `[queries, at least k]`.
        k: Length of the list.
    """
    return _first(hit, k).any(axis=1).astype(np.float64)


def ndcg(hit: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Normalized discounted cumulative gain with binary gains.

    A hit at rank r counts 1 / log2(r + 1); the ideal list has min(k, relevant items) hits in front (Jarvelin and
    Kekalainen, "Cumulated Gain-Based Evaluation of IR Techniques", TOIS 2002; so does the benchmark of Recommenders).

    Args:
        hit: Bool `[queries, at least k]`.
        num_relevant: `[queries]`.
        k: Length of the list.

    Returns:
        `[queries]`; NaN where nothing is relevant.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(num_relevant, k)]
    return _ratio(_first(hit, k) @ discount, ideal)


def reciprocal_rank(hit: np.ndarray) -> np.ndarray:
    """1 / rank of the first relevant item, 0 where the list has none; its mean over queries is MRR.

    Args:
        hit: Bool `[queries, k]`.

    Returns:
        `[queries]`.
    """
    return np.where(hit.any(axis=1), 1 / (1 + hit.argmax(axis=1)), 0.0)


def popularity(train_counts: np.ndarray, present: np.ndarray, k: int) -> np.ndarray:
    """Mean of log(1 + training rows) of the first `k` recommended items: the higher, the more a model follows fashion.

    Args:
        train_counts: Training rows of each recommended item, `[queries, at least k]`.
        present: Where there is an item at all, bool of that shape.
        k: Length of the list.

    Returns:
        `[queries]`; NaN for an empty list.
    """
    present = _first(present, k)
    logs = np.log1p(np.where(present, train_counts[:, :k], 0))
    return _ratio(logs.sum(axis=1), present.sum(axis=1))


def coverage(recommended: np.ndarray, catalog_size: int, k: int) -> float:
    """Share of the catalog that is among the first `k` of at least one query.

    Args:
        recommended: Identifiers `[queries, at least k]`; `NO_ITEM` where a list is shorter.
        catalog_size: Number of items.
        k: Length of the list.
    """
    distinct = set(recommended[:, :k].reshape(-1).tolist()) - {NO_ITEM}
    return len(distinct) / catalog_size


def top_k_accuracy(hit: np.ndarray, k: int) -> float:
    """Share of test rows whose item is among the first `k`, every row counting once.

    That is the factorized top-k accuracy of TFRS's retrieval tutorial: a user with many test rows weighs more.

    Args:
        hit: Bool `[rows, at least k]`, one row per test row.
        k: Length of the list.
    """
    return float(hit_rate(hit, k).mean())


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over queries (Efron and Tibshirani, 1993, chapter 13).

    Args:
        values: One value per query, `[queries]`; NaN is left out. Their order does not matter.
        level: Of confidence.
        resamples: Number of resamples.
        seed: Of the draws.

    Returns:
        Lower and upper end; both NaN where there is no value.
    """
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return np.nan, np.nan
    random = np.random.default_rng(seed)
    means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _first(array: np.ndarray, k: int) -> np.ndarray:
    if array.shape[1] < k:
        raise ValueError(f"metrics at {k} need lists of {k} places, got {array.shape[1]}")
    return array[:, :k]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
