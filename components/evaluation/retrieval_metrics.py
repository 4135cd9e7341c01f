"""The metrics as TFMA computes them: from the index's signature `evaluate`, batch by batch."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

from components.evaluation import ranking_metrics
from components.evaluation.float32 import FLOAT32_FEATURE, of_float32
from components.evaluation.ranking_metrics import find_places
from components.retrieval_index.exact import (
    CANDIDATES,
    IDS,
    IDS_WITH_SEEN,
    POPULAR_IDS,
    RELEVANT_COUNTS,
    THIRD_BOUNDS,
    TRAIN_COUNTS,
)
from trainer_module.data.spec import RELEVANT

# An item with fewer rows in the training split belongs to the tail, one without any is cold, all others are the head.
HEAD_FROM = 20

_NAME = re.compile(
    r"(?P<of_popularity>popularity_)?(?P<of_float32>float32_)?(?P<metric>[a-z_]+?)_at_(?P<k>\d+)(?P<variant>_low|_high|_lift|_kept|_head|_tail|_cold|_top_third|_middle_third|_bottom_third)?"
)
THIRDS = ("_top_third", "_middle_third", "_bottom_third")
_ITEMS = {"_head": (HEAD_FROM, math.inf), "_tail": (1, HEAD_FROM - 1), "_cold": (0, 0)}

Answers = Mapping[str, np.ndarray]

# Lists of items, by the names of the signature's outputs, and where their places among the relevant items are kept.
_PLACES = {name: f"places_of_{name}" for name in (IDS, IDS_WITH_SEEN, POPULAR_IDS)}


@dataclass(frozen=True)
class MetricName:
    """A metric, read from its name.

    - `ndcg_at_10`, and so `recall`, `precision`, `hit_rate` and `mrr`: mean over queries.
    - `ndcg_at_10_low`, `ndcg_at_10_high`: ends of the 95% bootstrap interval of that mean.
    - `popularity_ndcg_at_10`: the same metric of the list of the most popular items, seen ones left out.
    - `ndcg_at_10_lift`: mean difference from that list.
    - `recall_at_10_head`, `_tail`, `_cold`: only items of the head (`HEAD_FROM` training rows and more), the tail, or
      without any training row count as relevant.
    - `float32_ndcg_at_10`: of a quantized index, the metric of the float32 index beside it.
    - `ndcg_at_10_top_third`, `_middle_third`, `_bottom_third`: only items of that third of the catalog count as
      relevant; each third holds a third of the training rows (`components.retrieval_index.popularity`).
    - `coverage_at_10`: share of the catalog that is in any list.
    - `average_popularity_at_10`: mean number of training rows of the listed items (Yin et al., "Challenging the long
      tail recommendation", 2012).
    - `row_recall_at_100`: share of all relevant (query, item) pairs found.
    - `row_recall_at_100_kept`: the same where seen items stay in the lists, as in TFRS's `FactorizedTopK`.
    - `example_count`: number of queries.
    """

    metric: str
    k: int = 0
    of_popularity: bool = False
    variant: str = ""
    of_float32: bool = False

    @classmethod
    def parse(cls, name: str) -> "MetricName":
        """Reads a name.

        Raises:
            ValueError: It is none of the above.
        """
        if name == "example_count":
            return cls(name)
        match = _NAME.fullmatch(name)
        per_query = ranking_metrics.PER_QUERY
        known = {*per_query, "coverage", "average_popularity", "row_recall"}
        if not match or match["metric"] not in known or int(match["k"]) < 1:
            raise ValueError(f"{name!r} is no retrieval metric; known: {sorted(known)} with _at_K, and example_count")
        if match["variant"] == "_kept" and (match["of_popularity"] or match["metric"] == "average_popularity"):
            raise ValueError(f"{name!r} is no retrieval metric: what is popular is listed without seen items only")
        if match["of_float32"] and (match["of_popularity"] or match["variant"] or match["metric"] not in per_query):
            raise ValueError(f"{name!r} is no retrieval metric: float32_ goes with {sorted(per_query)} and _at_K alone")
        return cls(
            match["metric"],
            int(match["k"]),
            bool(match["of_popularity"]),
            match["variant"] or "",
            bool(match["of_float32"]),
        )

    def partial(self, answers: Answers) -> "Partial":
        """What a batch contributes; `answers` are those of `with_places`."""
        if self.metric == "example_count":
            return Partial([np.ones(len(answers[IDS]))])
        of_list = POPULAR_IDS if self.of_popularity else IDS_WITH_SEEN if self.variant == "_kept" else IDS
        if self.metric == "coverage":
            items = answers[of_list][:, : self.k].ravel().tolist()
            return Partial(items=set(items) - {b"", ""}, size=_catalog_size(answers))
        if self.metric == "average_popularity":
            listed = answers[of_list][:, : self.k] != b""
            return Partial([answers[TRAIN_COUNTS][:, : self.k][listed].astype(float)])
        is_relevant = answers[RELEVANT] != b""
        if self.variant in _ITEMS:
            low, high = _ITEMS[self.variant]
            counts = answers[RELEVANT_COUNTS]
            is_relevant &= (counts >= low) & (counts <= high)
        if self.variant in THIRDS:
            if THIRD_BOUNDS not in answers:
                # A last blessed model of an earlier version does not know its thirds.
                return Partial()
            is_relevant &= _thirds(answers) == THIRDS.index(self.variant)
        num_relevant = is_relevant.sum(axis=1)
        hits = _hits(answers[_PLACES[of_list]][:, : self.k], is_relevant)
        if self.metric == "row_recall":
            return Partial([np.repeat([1.0, 0.0], [hits.sum(), num_relevant.sum() - hits.sum()])])
        compute = ranking_metrics.PER_QUERY[self.metric]
        values = compute(hits, num_relevant, self.k)
        if self.variant == "_lift":
            popular = _hits(answers[_PLACES[POPULAR_IDS]][:, : self.k], is_relevant)
            values = values - compute(popular, num_relevant, self.k)
        return Partial([values[~np.isnan(values)]])

    def value(self, total: "Partial") -> float:
        """The metric; NaN where no query counts."""
        if self.metric == "coverage":
            return len(total.items) / total.size if total.size else math.nan
        values = np.concatenate([np.empty(0), *total.values])
        if self.metric == "example_count":
            return float(len(values))
        if not len(values):
            return math.nan
        if self.variant in ("_low", "_high"):
            return ranking_metrics.confidence_interval(values)[self.variant == "_high"]
        return float(values.mean())


@dataclass
class Partial:
    """Values of some queries (8 bytes each), or the items that they were shown.

    Attributes:
        values: Arrays `[n]`.
        items: Distinct identifiers.
        size: Of the catalog.
    """

    values: list[np.ndarray] = field(default_factory=list)
    items: set = field(default_factory=set)
    size: int = 0


class _Combiner(beam.CombineFn):
    """Collects `Partial`s of one metric."""

    def __init__(self, key: metric_types.MetricKey):
        self._key = key
        self._name = MetricName.parse(key.name)

    def create_accumulator(self) -> Partial:
        return Partial()

    def add_input(self, accumulator: Partial, element: metric_types.StandardMetricInputs) -> Partial:
        answers = element.get_predictions(self._key.model_name, self._key.output_name)
        if self._name.of_float32:
            answers = with_places(dict(answers) | {IDS: of_float32(element)})
        return self.merge_accumulators([accumulator, self._name.partial(answers)])

    def merge_accumulators(self, accumulators: Iterable[Partial]) -> Partial:
        total = Partial()
        for part in accumulators:
            total.values.extend(part.values)
            total.items |= part.items
            total.size = max(total.size, part.size)
        return total

    def extract_output(self, accumulator: Partial) -> dict[metric_types.MetricKey, float]:
        return {self._key: self._name.value(accumulator)}


def _computations(name: str, model_name: str = "", output_name: str = "") -> metric_types.MetricComputations:
    key = metric_types.MetricKey(name=name, model_name=model_name, output_name=output_name)
    preprocessors: list[metric_types.Preprocessor] | None = (
        [metric_types.FeaturePreprocessor([FLOAT32_FEATURE])] if MetricName.parse(name).of_float32 else None
    )
    return [metric_types.MetricComputation(keys=[key], preprocessors=preprocessors, combiner=_Combiner(key))]


class RetrievalMetric(tfma.metrics.Metric):
    """One of the metrics of `MetricName`, by its name."""

    def __init__(self, name: str):
        """Names the metric.

        Raises:
            ValueError: There is no such metric.
        """
        MetricName.parse(name)
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name)


def with_places(answers: Answers) -> dict[str, np.ndarray]:
    """Adds to the answers of a batch where listed items stand among the relevant ones.

    Found once, they serve all metrics of all slices.
    """
    listed = _PLACES.keys() & answers.keys()
    return {**answers, **{_PLACES[name]: find_places(answers[name], answers[RELEVANT]) for name in listed}}


def _hits(places: np.ndarray, is_relevant: np.ndarray) -> np.ndarray:
    """Marks the listed items that count as relevant, bool `[queries, length]`.

    Args:
        places: Of listed items among the relevant ones, `[queries, length]`; -1 for others.
        is_relevant: `[queries, n]`.
    """
    # Place -1 is the last one, where nothing is relevant.
    return np.take_along_axis(np.pad(is_relevant, ((0, 0), (0, 1))), places, axis=1)


def _thirds(answers: Answers) -> np.ndarray:
    """The third of each relevant item, `[queries, n]`: a place in `THIRDS`."""
    counts, bounds = answers[RELEVANT_COUNTS], answers[THIRD_BOUNDS]
    return (counts < bounds[:, :1]).astype(int) + (counts < bounds[:, 1:])


def _catalog_size(answers: Answers) -> int:
    return int(answers[CANDIDATES].max(initial=0))


metric_types.register_metric(RetrievalMetric)
