"""The TFMA side of retrieval metrics: sums up what `extractors` made of each query."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from components.retrieval_evaluation.judged import GROUPS
from components.retrieval_evaluation.metrics import NO_ITEM, bootstrap_interval
from components.retrieval_evaluation.outcomes import INTERVAL_OF, value_names


@dataclass
class _Queries:
    """What is known of the queries of a slice: memory grows with them and with the distinct items.

    Attributes:
        values: Blocks of values per query, `[queries, names]` each.
        items: Distinct recommended identifiers.
        catalog_size: Number of items in the catalog.
    """

    values: list[np.ndarray] = field(default_factory=list)
    items: set[bytes] = field(default_factory=set)
    catalog_size: int = 0


class _QueryCombiner(beam.CombineFn):
    """Means over queries, coverage and an interval for one model."""

    def __init__(self, names: Sequence[str], k: int, resamples: int, model_name: str):
        self._names = names
        self._k = k
        self._resamples = resamples
        self._model_name = model_name

    def create_accumulator(self) -> _Queries:
        return _Queries()

    def add_input(self, accumulator: _Queries, element: metric_types.StandardMetricInputs) -> _Queries:
        accumulator.values.append(element.get_predictions(self._model_name, "values"))
        accumulator.items.update(element.get_predictions(self._model_name, "ids").reshape(-1).tolist())
        accumulator.catalog_size = int(np.asarray(element.get_labels())[0])
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Queries]) -> _Queries:
        merged = _Queries()
        for part in accumulators:
            merged.values += part.values
            merged.items |= part.items
            merged.catalog_size = max(merged.catalog_size, part.catalog_size)
        return merged

    def extract_output(self, accumulator: _Queries) -> dict[metric_types.MetricKey, float]:
        values = np.concatenate(accumulator.values)
        present = ~np.isnan(values)
        counts = present.sum(axis=0)
        means = np.divide(np.nansum(values, axis=0), counts, out=np.full(len(counts), np.nan), where=counts > 0)
        results = dict(zip(self._names, means.tolist(), strict=True))
        interval_of = f"{INTERVAL_OF}_at_{self._k}"
        low, high = bootstrap_interval(values[:, self._names.index(interval_of)], resamples=self._resamples)
        results |= {
            f"coverage_at_{self._k}": len(accumulator.items - {NO_ITEM}) / accumulator.catalog_size,
            f"{interval_of}_low": low,
            f"{interval_of}_high": high,
            "example_count": float(len(values)),
        }
        return {_key(name, self._model_name): value for name, value in results.items()}


def _computations(
    name: str, k: int, baselines: Sequence[str], resamples: int, model_names: Sequence[str] | None = None
) -> metric_types.MetricComputations:
    values = value_names(baselines, GROUPS, k)
    at_k = f"{INTERVAL_OF}_at_{k}"
    names = (*values, f"coverage_at_{k}", f"{at_k}_low", f"{at_k}_high", "example_count")
    return [
        metric_types.MetricComputation(
            keys=[_key(each, model_name) for each in names],
            preprocessors=None,
            combiner=_QueryCombiner(values, k, resamples, model_name),
        )
        for model_name in model_names or [""]
    ]


class RetrievalMetrics(tfma.metrics.Metric):
    """All metrics of retrieval in one pass, under names with k in them, as `ndcg_at_10`."""

    def __init__(self, k: int, baselines: Sequence[str], resamples: int = 1000, name: str = "retrieval"):
        """Chooses what is measured.

        Args:
            k: Length at which lists are judged.
            baselines: Names of the baselines that the queries carry.
            resamples: Of the bootstrap.
            name: Of the group; the metrics have names of their own.
        """
        super().__init__(_computations, name=name, k=k, baselines=list(baselines), resamples=resamples)


def _key(name: str, model_name: str) -> metric_types.MetricKey:
    # Thresholds under `per_slice_thresholds` are looked up by keys that leave open whether examples have weights.
    return metric_types.MetricKey(name, model_name=model_name, example_weighted=None)


def metric_arguments(eval_config: config_pb2.EvalConfig) -> dict[str, Any]:
    """The arguments that the configuration gives `RetrievalMetrics`."""
    (metric,) = eval_config.metrics_specs[0].metrics
    return json.loads(metric.config)


metric_types.register_metric(RetrievalMetrics)
