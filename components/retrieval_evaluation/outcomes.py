"""From a model's lists to values per query, by name; then to metrics. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from components.retrieval_evaluation import metrics

INTERVAL_OF = "ndcg"


def query_values(
    recommended: np.ndarray,
    train_counts: np.ndarray,
    relevant: pa.LargeListArray,
    relevant_group: pa.LargeListArray,
    baseline_lists: Mapping[str, pa.LargeListArray],
    groups: Sequence[str],
    k: int,
) -> dict[str, np.ndarray]:
    """Values whose means over queries are metrics.

    Args:
        recommended: Identifiers `[queries, n]`, best first, `metrics.NO_ITEM` where fewer remain; n at least `k`.
        train_counts: Of the recommended items, `[queries, n]`.
        relevant: Identifiers of the relevant items, `[queries]` lists.
        relevant_group: Indices into `groups`, one for each of `relevant`.
        baseline_lists: Identifiers of each baseline's list, best first, by its name.
        groups: Names of the groups of items.
        k: Length at which lists are judged.

    Returns:
        By name, `[queries]` float64; NaN where a query does not count.
    """
    sizes = metrics.list_sizes(relevant)
    hit = metrics.hits(recommended, relevant)
    values = {
        f"ndcg_at_{k}": metrics.ndcg(hit, sizes, k),
        f"recall_at_{k}": metrics.recall(hit, sizes, k),
        f"precision_at_{k}": metrics.precision(hit, k),
        f"hit_rate_at_{k}": metrics.hit_rate(hit, k),
        "mrr": metrics.reciprocal_rank(hit),
        f"popularity_bias_at_{k}": metrics.popularity(train_counts, recommended != metrics.NO_ITEM, k),
    }
    of_relevant = relevant_group.flatten().to_numpy()
    for number, group in enumerate(groups):
        part = _only(relevant, of_relevant == number)
        in_group = metrics.hits(recommended, part)
        values[f"recall_at_{k}_{group}"] = metrics.recall(in_group, metrics.list_sizes(part), k)
    for name, lists in baseline_lists.items():
        of_baseline = metrics.ndcg(metrics.hits(padded(lists, k), relevant), sizes, k)
        values[f"{name}_ndcg_at_{k}"] = of_baseline
        values[f"ndcg_at_{k}_over_{name}"] = values[f"ndcg_at_{k}"] - of_baseline
    return values


def value_names(baselines: Sequence[str], groups: Sequence[str], k: int) -> tuple[str, ...]:
    """Names of `query_values`, in their order."""
    empty = pa.array([], pa.large_list(pa.large_binary()))
    none = np.empty((0, k))
    lists = dict.fromkeys(baselines, empty)
    group = pa.array([], pa.large_list(pa.int64()))
    return tuple(query_values(none.astype(object), none, empty, group, lists, groups, k))


def padded(lists: pa.LargeListArray, k: int) -> np.ndarray:
    """The first `k` values of each list, `[rows, k]`, filled up with `metrics.NO_ITEM`."""
    rows = [(row or [])[:k] for row in lists.to_pylist()]
    table = np.full((len(rows), k), metrics.NO_ITEM, object)
    for row, values in enumerate(rows):
        table[row, : len(values)] = values
    return table


def _only(lists: pa.LargeListArray, kept: np.ndarray) -> pa.LargeListArray:
    """The lists with those of their values, taken together, that are kept."""
    of_list = np.repeat(np.arange(len(lists)), metrics.list_sizes(lists))
    counts = np.bincount(of_list[kept], minlength=len(lists))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, lists.flatten().filter(pa.array(kept)).cast(pa.large_binary()))
