"""Differences of two models' metrics over the same test rows, with bootstrap intervals. Free functions on numpy arrays.

A metric is a function of sums over units, test rows or queries. Drawing units with replacement and computing both
models' metrics on the same draw gives the distribution of the difference (paired bootstrap; Koehn, "Statistical
significance tests for machine translation evaluation", EMNLP 2004; Smucker et al., CIKM 2007, for retrieval).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.evaluation import row_files
from components.evaluation.ranking_metrics import PER_QUERY
from components.evaluation.row_files import EvaluatedRows
from trainer_module.errors import DataError

# What `paired_differences` looks at, whatever the task.
PAIRED_COLUMNS = (row_files.ROW, row_files.LOSS, row_files.WEIGHT, row_files.RANKS)

LEVEL = 0.95
_RESAMPLES = 1000
# More units are added up to so many groups at random: the sum over groups varies as that over units does, and a
# resample costs no more than a few milliseconds.
_MOST_GROUPS = 20_000
_LONGEST_LIST = 100


@dataclass(frozen=True)
class RowMetric:
    """A metric of sums over rows.

    Attributes:
        name: As in the summary of a run.
        sums: From rows to what adds up, `[rows, n]`; the last column counts.
        value: From sums `[..., n]` to the metric `[...]`.
        higher_is_better: Its direction.
    """

    name: str
    sums: Callable[[EvaluatedRows], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    higher_is_better: bool = False


@dataclass(frozen=True)
class Difference:
    """A metric of two models.

    Attributes:
        metric: Its name.
        first: Of the first model.
        second: Of the second model.
        low: Lower end of the 95% interval of `second - first`.
        high: Upper end.
        units: Number of test rows or queries.
        higher_is_better: Direction of the metric.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float
    units: int
    higher_is_better: bool

    @property
    def difference(self) -> float:
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """`better` or `worse` says that of the second model; `no difference` that the interval holds 0."""
        if self.low <= 0 <= self.high:
            return "no difference"
        return "better" if (self.difference > 0) == self.higher_is_better else "worse"


def metrics_of(rows: EvaluatedRows, cutoff: int = 10) -> tuple[RowMetric, ...]:
    """The metrics of a task that are sums over rows.

    Args:
        rows: Give the task.
        cutoff: For retrieval, length of the lists.
    """
    if rows.task == "rating":
        return (
            RowMetric("rmse", lambda each: _weighted(each, each.column(row_files.LOSS)), lambda s: np.sqrt(_mean(s))),
            RowMetric("mae", lambda each: _weighted(each, np.sqrt(each.column(row_files.LOSS))), _mean),
        )
    if rows.task == "click":
        return (RowMetric("log_loss", lambda each: _weighted(each, each.column(row_files.LOSS)), _mean),)
    return tuple(_list_metric(name, cutoff) for name in ("ndcg", "recall"))


def paired_differences(
    first: EvaluatedRows, second: EvaluatedRows, cutoff: int = 10, seed: int = 0
) -> list[Difference]:
    """Compares two models on the same test rows.

    Models of several goals are compared by each head that both have, on the rows with its label, and with a model of
    one goal by the head that predicts the same label; names of metrics then begin with the head.

    Args:
        first: Rows of the first model's evaluation.
        second: Rows of the second model's evaluation.
        cutoff: For retrieval, length of the lists.
        seed: Of the draws.

    Raises:
        DataError: The models were not judged on the same test rows, or predict different labels.
    """
    if not first.heads and not second.heads:
        return _differences(first, second, cutoff, seed)
    return [
        replace(difference, metric=f"{head}.{difference.metric}")
        for head in _shared_heads(first, second)
        for difference in _differences(_of_head(first, head), _of_head(second, head), cutoff, seed)
    ]


def _shared_heads(first: EvaluatedRows, second: EvaluatedRows) -> list[str]:
    """The labels that both models predict, in the order of the first model with several."""
    one, other = (tuple(rows.heads) or (rows.label,) for rows in (first, second))
    shared = [label for label in (one if first.heads else other) if label and label in one and label in other]
    if not shared:
        known = [", ".join(filter(None, labels)) or "a label whose name was not kept" for labels in (one, other)]
        raise DataError(f"the models share no label: one predicts {known[0]}, the other {known[1]}")
    return shared


def _of_head(rows: EvaluatedRows, head: str) -> EvaluatedRows:
    return rows.of_head(head) if rows.heads else rows


def _differences(first: EvaluatedRows, second: EvaluatedRows, cutoff: int, seed: int) -> list[Difference]:
    """Compares two models of one goal."""
    check_same_rows(first, second)
    # One order of the rows, so that sums of equal positions belong to equal rows.
    orders = [np.argsort(rows.column(row_files.ROW), kind="stable") for rows in (first, second)]
    keys = first.column(row_files.ROW)[orders[0]]
    if first.task != "retrieval":
        weights = (_by_key(keys, rows.weights[order]) for rows, order in zip((first, second), orders, strict=True))
        if not np.allclose(*weights):
            raise DataError(
                "the weights of the test rows differ, and so do the metrics' meanings; give both runs the same "
                "interactions.weight"
            )
    found = []
    for metric in metrics_of(first, cutoff):
        sums = [metric.sums(rows)[order] for rows, order in zip((first, second), orders, strict=True)]
        units = int(sums[0][:, -1].sum())
        values, (low, high) = interval(np.stack([_by_key(keys, each) for each in sums], axis=1), metric.value, seed)
        found.append(Difference(metric.name, *values, low, high, units, metric.higher_is_better))
    return found


def check_same_rows(first: EvaluatedRows, second: EvaluatedRows) -> None:
    """Checks that two evaluations judged the same rows, each as often.

    Raises:
        DataError: They did not.
    """
    if first.task != second.task or first.keys != second.keys:
        raise DataError(
            f"the test rows differ: task {first.task}, rows told apart by {', '.join(first.keys)}; and task "
            f"{second.task}, by {', '.join(second.keys)}"
        )
    one, other = (np.sort(rows.column(row_files.ROW)) for rows in (first, second))
    if not np.array_equal(one, other):
        shared = np.isin(one, other).sum()
        raise DataError(
            f"the test rows differ: {len(one):,} and {len(other):,} rows, of the first {shared:,} are among the "
            "second's. Models are compared on the same rows only: give both the same split and the same files"
        )


def interval(
    sums: np.ndarray, value: Callable[[np.ndarray], np.ndarray], seed: int = 0
) -> tuple[list[float], tuple[float, float]]:
    """Percentile interval of the difference of two models' metrics, or of one model's metric.

    Args:
        sums: `[units, models, n]`, of one or two models.
        value: From sums `[..., n]` to the metric `[...]`.
        seed: Of the draws.

    Returns:
        The metric of each model, and both ends of the interval; of two models that of second minus first.
    """
    random = np.random.default_rng(seed)
    values = [float(each) for each in value(sums.sum(axis=0))]
    groups = _grouped(sums, random)
    flat = groups.reshape(len(groups), -1)
    draws = np.stack(
        [np.bincount(random.integers(len(flat), size=len(flat)), minlength=len(flat)) @ flat for _ in range(_RESAMPLES)]
    )
    metrics = value(draws.reshape(_RESAMPLES, *sums.shape[1:]))
    drawn = metrics[:, 1] - metrics[:, 0] if sums.shape[1] == 2 else metrics[:, 0]
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return values, (float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return values, (float(low), float(high))


def list_values(rows: EvaluatedRows, column: str, name: str, k: int) -> np.ndarray:
    """A metric of every query's list, NaN without a relevant item: `[queries]`.

    Args:
        rows: Of a retrieval evaluation.
        column: `RANKS`, `POPULAR_RANKS` or `BLESSED_RANKS`.
        name: A name of `PER_QUERY`.
        k: Length of the lists.
    """
    hits, relevant = hits_of(rows.table[column])
    return PER_QUERY[name](hits[:, :k], relevant, k)


def hits_of(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Relevant items by their places in the lists, bool `[queries, 100]`, and their number, int64 `[queries]`."""
    ranks = column.combine_chunks()
    relevant = pc.fill_null(pc.list_value_length(ranks), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    places = ranks.flatten().to_numpy(zero_copy_only=False)
    queries = np.repeat(np.arange(len(relevant)), relevant)
    hits = np.zeros((len(relevant), _LONGEST_LIST + 1), bool)
    hits[queries, places] = True
    return hits[:, 1:], relevant


def _list_metric(name: str, cutoff: int) -> RowMetric:
    def sums(rows: EvaluatedRows) -> np.ndarray:
        values = list_values(rows, row_files.RANKS, name, cutoff)
        counts = ~np.isnan(values)
        return np.stack([np.where(counts, values, 0.0), counts, counts], axis=1)

    return RowMetric(f"{name}_at_{cutoff}", sums, _mean, higher_is_better=True)


def _weighted(rows: EvaluatedRows, values: np.ndarray) -> np.ndarray:
    """Weighted values, weights and 1, `[rows, 3]`."""
    return np.stack([rows.weights * values, rows.weights, np.ones(len(values))], axis=1)


def _mean(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0] / sums[..., 1]


def _by_key(keys: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Adds up rows of equal sorted keys, which nothing tells apart."""
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return np.add.reduceat(sums, starts, axis=0)


def _grouped(sums: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if len(sums) <= _MOST_GROUPS:
        return sums
    group = random.integers(_MOST_GROUPS, size=len(sums))
    flat = sums.reshape(len(sums), -1)
    added = np.stack([np.bincount(group, column, minlength=_MOST_GROUPS) for column in flat.T], axis=1)
    return added.reshape(_MOST_GROUPS, *sums.shape[1:])
