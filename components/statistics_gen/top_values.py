"""Most frequent and distinct values of string features, equal to those of TFDV's `TopKUniquesStatsGenerator`.

TFDV makes a Python tuple of every distinct value of every batch and has Beam sum them. Here values are counted and
their counts merged as Arrow columns, and only the most frequent ones become Python objects.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from tensorflow_data_validation import FeaturePath, StatsOptions
from tensorflow_data_validation.arrow import arrow_util
from tensorflow_data_validation.statistics.generators import stats_generator
from tensorflow_data_validation.utils import stats_util
from tensorflow_data_validation.utils.top_k_uniques_stats_util import (
    FeatureValueCount,
    make_feature_stats_proto_topk_uniques,
)
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx_bsl.arrow import array_util

from components.statistics_gen.value_counts import ValueCounts

# A slice and the steps of a feature's path.
_Key = tuple[Any, tuple[str, ...]]


class TopValues(stats_generator.TransformStatsGenerator):
    """A generator of statistics without schema and weights, in which strings are the only categories."""

    def __init__(self, options: StatsOptions):
        """Takes the number of values that are listed from `options`."""
        super().__init__("TopValues", ptransform=_TopValues(options.num_top_values, options.num_rank_histogram_buckets))


class _TopValues(beam.PTransform):
    """From (slice, record batch) to (slice, `DatasetFeatureStatistics`) for each string feature."""

    def __init__(self, num_top_values: int, num_ranks: int):
        self._num_top_values, self._num_ranks = num_top_values, num_ranks

    def expand(self, input_or_inputs: beam.PCollection) -> beam.pvalue.PValue:
        return (
            input_or_inputs
            | "CountInBatches" >> beam.FlatMapTuple(counts_of_batch)
            | "MergeCounts" >> beam.CombinePerKey(MergeCounts())
            | "ToStatistics" >> beam.Map(_statistics, self._num_top_values, self._num_ranks)
        )


def counts_of_batch(slice_key: Any, batch: pa.RecordBatch) -> Iterator[tuple[_Key, pa.StructArray]]:
    """Counts the values of each string feature in a batch; features without values are left out."""
    for path, column, _ in arrow_util.enumerate_arrays(batch, example_weight_map=None, enumerate_leaves_only=True):
        if (
            stats_util.get_feature_type_from_arrow_type(path, column.type)
            != statistics_pb2.FeatureNameStatistics.STRING
        ):
            continue
        values, _ = array_util.flatten_nested(column)
        if len(values):
            yield (slice_key, path.steps()), values.value_counts()


class MergeCounts(beam.CombineFn):
    """Merges counts of batches."""

    def create_accumulator(self) -> ValueCounts:
        return ValueCounts()

    def add_input(self, mutable_accumulator: ValueCounts, element: pa.StructArray) -> ValueCounts:
        mutable_accumulator.add(element)
        return mutable_accumulator

    def merge_accumulators(self, accumulators: Iterable[ValueCounts]) -> ValueCounts:
        first, *others = accumulators
        for other in others:
            first.merge(other)
        return first

    def compact(self, accumulator: ValueCounts) -> ValueCounts:
        accumulator.compact()
        return accumulator

    def extract_output(self, accumulator: ValueCounts) -> ValueCounts:
        return accumulator


def _statistics(
    feature: tuple[_Key, ValueCounts], num_top_values: int, num_ranks: int
) -> tuple[Any, statistics_pb2.DatasetFeatureStatistics]:
    (slice_key, steps), counts = feature
    most_frequent = counts.most_frequent(max(num_top_values, num_ranks))
    found = make_feature_stats_proto_topk_uniques(
        FeaturePath(steps),
        num_top_values=num_top_values,
        num_rank_histogram_buckets=num_ranks,
        num_unique=counts.num_distinct(),
        value_count_list=[FeatureValueCount(value, count) for value, count in most_frequent],
    )
    return slice_key, statistics_pb2.DatasetFeatureStatistics(features=[found])
