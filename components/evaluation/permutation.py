"""Permutation importance: how much worse a model predicts once the values of a column are exchanged among test rows.

Breiman, "Random Forests", Machine Learning 45, 2001; Fisher, Rudin and Dominici, "All Models are Wrong, but Many are
Useful", JMLR 20, 2019. Exchanging values keeps a column's distribution and breaks its ties to the label and to all
other columns. Free of Beam.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.evaluation.click_metrics import exact_auc, log_losses
from components.evaluation.importance import REPEATS, Importance, SampleMetric, Unit, UnitChange
from components.evaluation.ranking_metrics import find_hits, ndcg
from components.retrieval_index.exact import CANDIDATES, IDS
from trainer_module.data.dataset import HISTORY, RATED, RATERS
from trainer_module.data.example_files import concatenated, single_or_missing
from trainer_module.data.features import Categorical
from trainer_module.data.spec import RELEVANT, SEEN, DatasetSpec, Task

_SEED = 0
# All requests of a measurement together; the sample is as large as that allows, within these bounds.
_MOST_REQUESTS = {"rating": 50_000, "click": 50_000, "retrieval": 4_000}
_MOST_ROWS, _FEWEST_ROWS = 1000, 100
# Scores of all candidates for all permuted queries together.
_MOST_SCORES = 200_000_000

USER, ITEM = "the user", "the item"

Answers = Mapping[str, np.ndarray]
"""Predictions by head, `[rows]`, under an empty name where the model has one; or a retrieval index's answers."""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        dataset: Gives columns, task and label.
        heads: For a model of several goals, tasks by label.
        cutoff: For retrieval, length of the lists.
    """

    dataset: DatasetSpec
    heads: Mapping[str, Task]
    cutoff: int

    @property
    def units(self) -> tuple[Unit, ...]:
        return units_of(self.dataset)

    @property
    def schema(self) -> pa.Schema:
        """Columns of the sample."""
        whole = self.dataset.features.arrow_schema()
        if self.dataset.task == "retrieval":
            whole = self.dataset.query_schema()
            return pa.schema([whole.field(name) for name in (*self.dataset.query_columns, SEEN, RELEVANT)])
        inputs = (column.name for column in self.dataset.features.inputs)
        return pa.schema([whole.field(name) for name in dict.fromkeys((*inputs, *self._labels.values()))])

    @property
    def most_rows(self) -> int:
        """Largest size of the sample."""
        variants = max(REPEATS * len(self.units), 1)
        return int(np.clip(_MOST_REQUESTS[self.dataset.task] // variants, _FEWEST_ROWS, _MOST_ROWS))

    @property
    def _labels(self) -> dict[str, str]:
        """Label columns by head."""
        return {head: head for head in self.heads} or {"": self.dataset.features.label.name}

    def measure(self, sample: pa.RecordBatch, ask: Callable[[pa.RecordBatch], Answers], size: int) -> Importance:
        """Measures the importance of all units.

        Args:
            sample: Test rows or queries, in random order, under `schema`.
            ask: From requests to the model's answers.
            size: Largest number of requests in one call.
        """
        if self.dataset.task == "retrieval":
            return self._measure_queries(sample, ask, size)
        metrics = list(self._metrics_of_rows(sample))
        if not metrics:
            return Importance(refusal=f"None of {sample.num_rows:,} test rows has a label.")
        return _measure(sample, self.units, metrics, ask(sample), ask, size)

    def _measure_queries(
        self, sample: pa.RecordBatch, ask: Callable[[pa.RecordBatch], Answers], size: int
    ) -> Importance:
        # Slicing a sample in random order makes a smaller one.
        (candidates, *_) = ask(sample.slice(0, 1))[CANDIDATES].tolist()
        allowed = _MOST_SCORES // (candidates * max(REPEATS * len(self.units), 1))
        if allowed < min(_FEWEST_ROWS, sample.num_rows):
            return Importance(
                refusal=f"With {candidates:,} items to score for each of them, fewer than {_FEWEST_ROWS} queries could "
                "be asked again in a few seconds; their metric would say little."
            )
        sample = sample.slice(0, allowed)
        k = self.cutoff
        metric = _Metric(f"ndcg_at_{k}", lambda answers: _mean_ndcg(answers, k), higher_is_better=True)
        (answers,) = _asked([sample], ask, size)
        return _measure(sample, self.units, [metric], answers, ask, size)

    def _metrics_of_rows(self, sample: pa.RecordBatch) -> Iterator["_Metric"]:
        for head, label in self._labels.items():
            labels = single_or_missing(sample, label)
            known = ~np.isnan(labels)
            if not known.any():
                continue
            prefix = f"{head}." if head else ""
            if (self.heads.get(head) or self.dataset.task) == "rating":
                yield _Metric(f"{prefix}rmse", _on(_rmse, labels, known, head))
                continue
            yield _Metric(f"{prefix}log_loss", _on(_log_loss, labels, known, head))
            if len(np.unique(labels[known])) > 1:
                auc = _on(exact_auc, labels, known, head)
                yield _Metric(f"{prefix}auc", auc, higher_is_better=True, gates=False)


def units_of(dataset: DatasetSpec) -> tuple[Unit, ...]:
    """What is exchanged: each input (a column of weights with the columns that it weighs), then user and item.

    For retrieval, only inputs of the query.
    """
    features = dataset.features
    names = dataset.query_columns if dataset.task == "retrieval" else [column.name for column in features.inputs]
    weights = {column.name: column.weights for column in features.categorical if column.weights}
    weighed: dict[str, list[str]] = {}
    for name, of_column in weights.items():
        weighed.setdefault(of_column, []).append(name)
    units = []
    for column in features.inputs:
        if column.name not in names or column.name in weights:
            continue
        # Weights are counted by tokens, so that neither can be exchanged without the other.
        together = (*weighed.get(column.name, ()), column.name) if not isinstance(column, Categorical) else ()
        units.append(Unit(name=" + ".join(together or (column.name,)), columns=together or (column.name,)))
    described = ((USER, (*dataset.user_columns, HISTORY, RATED)), (ITEM, (*dataset.item_columns, RATERS)))
    for name, columns in described:
        of_entity = [unit for unit in units if set(unit.columns) & set(columns)]
        if len(of_entity) > 1:
            together = tuple(column for unit in of_entity for column in unit.columns)
            units.append(Unit(name=name, columns=together, is_group=True))
    return tuple(units)


@dataclass(frozen=True)
class _Metric:
    name: str
    of: Callable[[Answers], float]
    higher_is_better: bool = False
    gates: bool = True


def _measure(
    sample: pa.RecordBatch,
    units: Sequence[Unit],
    metrics: Sequence[_Metric],
    unpermuted: Answers,
    ask: Callable[[pa.RecordBatch], Answers],
    size: int,
) -> Importance:
    values = {metric.name: metric.of(unpermuted) for metric in metrics}
    random = np.random.default_rng(_SEED)
    # The same exchanges for all units, so that chance treats them alike.
    orders = [random.permutation(sample.num_rows) for _ in range(REPEATS)]
    variants = [_permuted(sample, unit, order) for unit in units for order in orders]
    answers = iter(_asked(variants, ask, size))
    changes = []
    for unit in units:
        of_unit = [next(answers) for _ in orders]
        by_metric = {
            metric.name: tuple(metric.of(each) - values[metric.name] for each in of_unit) for metric in metrics
        }
        changes.append(UnitChange(unit=unit, changes=by_metric))
    return Importance(
        rows=sample.num_rows,
        metrics=tuple(
            SampleMetric(
                name=metric.name,
                value=values[metric.name],
                higher_is_better=metric.higher_is_better,
                gates=metric.gates,
            )
            for metric in metrics
        ),
        units=tuple(changes),
    )


def _permuted(sample: pa.RecordBatch, unit: Unit, order: np.ndarray) -> pa.RecordBatch:
    """The sample with the values of a unit's columns in another order of the rows."""
    places = pa.array(order)
    columns = [
        column.take(places) if name in unit.columns else column
        for name, column in zip(sample.schema.names, sample.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=sample.schema)


def _asked(
    batches: Sequence[pa.RecordBatch], ask: Callable[[pa.RecordBatch], Answers], size: int
) -> list[dict[str, np.ndarray]]:
    """The answers to batches of equally many rows, many batches in one call."""
    if not batches:
        return []
    together = concatenated(batches)
    parts = [ask(together.slice(start, size)) for start in range(0, together.num_rows, size)]
    whole = {name: _stacked([part[name] for part in parts]) for name in parts[0]}
    count = batches[0].num_rows
    return [
        {name: values[start : start + count] for name, values in whole.items()}
        for start in range(0, together.num_rows, count)
    ]


def _stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several arrays, whose lists of texts are filled up to one length."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=b"") for part in parts])


def _on(
    metric: Callable[[np.ndarray, np.ndarray], float], labels: np.ndarray, known: np.ndarray, head: str
) -> Callable[[Answers], float]:
    """A metric of the rows that have a head's label."""
    return lambda answers: float(metric(labels[known], answers[head].astype(np.float64)[known]))


def _rmse(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predictions - labels) ** 2)))


def _log_loss(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(log_losses(labels, predictions).mean())


def _mean_ndcg(answers: Answers, k: int) -> float:
    relevant = answers[RELEVANT]
    hits = find_hits(answers[IDS][:, :k], relevant)
    return float(np.nanmean(ndcg(hits, (relevant != b"").sum(axis=1), k)))
