"""What a model was trained on, as far as the statistics of its training split say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.errors import DataError

# What TensorFlow Data Validation writes in place of tokens that are no text or too long.
_NO_TOKENS = ("__BYTES_VALUE__", "__LARGE_BYTES__")


@dataclass(frozen=True)
class TokenStatistics:
    """A column of tokens in the training split.

    Attributes:
        listed: The most frequent tokens and their places in `counts`, from 0.
        counts: How often each occurs, and last how often all others do, float64 `[listed + 1]`.
        missing: Rows without a token; None if the statistics do not say, as for lists of which some are empty.
        rows: Number of rows.
    """

    listed: Mapping[bytes, int]
    counts: np.ndarray
    missing: float | None
    rows: int


@dataclass(frozen=True)
class NumberStatistics:
    """A column of numbers in the training split.

    Attributes:
        edges: Ascending, the smallest number first and the largest last, float64 `[edges]`.
        counts: Numbers at most as large as each edge and above the one before, float64 `[edges]`. If no number is said
            to equal the first edge, those that do are counted with the second one.
        missing: Rows without a number.
        rows: Number of rows.
    """

    edges: np.ndarray
    counts: np.ndarray
    missing: float
    rows: int

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """The places of numbers in `counts`; -1 below all of them, `len(edges)` above."""
        found = np.searchsorted(self.edges, numbers, side="left")
        if len(self.edges) > 1 and not self.counts[0]:
            found = np.where(numbers == self.edges[0], 1, found)
        return np.where(numbers < self.edges[0], -1, found)


ColumnStatistics = TokenStatistics | NumberStatistics


def read_statistics(file: Path, features: FeatureSpec) -> dict[str, ColumnStatistics]:
    """Statistics of the model's inputs, by column.

    Args:
        file: `FeatureStats.pb` of the training split, as StatisticsGen writes it.
        features: The columns.

    Raises:
        DataError: The file cannot be read, is no such file, or lacks an input.
    """
    try:
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
    except OSError as error:
        raise DataError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (DecodeError, ValueError):
        raise DataError(f"{file} holds no statistics; expected StatisticsGen's FeatureStats.pb of a split") from None
    of_features = {feature.path.step[0]: feature for feature in dataset.features if len(feature.path.step) == 1}
    if lacking := [column.name for column in features.inputs if column.name not in of_features]:
        raise DataError(f"{file} lacks the column(s) {', '.join(lacking)}; name the statistics of the model's own run")
    return {
        column.name: _of_column(of_features[column.name], column, dataset.num_examples) for column in features.inputs
    }


def _of_column(
    feature: statistics_pb2.FeatureNameStatistics, column: object, rows: int
) -> TokenStatistics | NumberStatistics:
    is_list = bool(getattr(column, "multivalent", False))
    if isinstance(column, Categorical) and column.dtype == "string":
        common = feature.string_stats.common_stats
        buckets = [each for each in feature.string_stats.rank_histogram.buckets if each.label not in _NO_TOKENS]
        counts = [each.sample_count for each in buckets]
        rest = max(0.0, common.tot_num_values - sum(counts))
        missing = None if is_list and not common.min_num_values else _missing(common, rows, is_list)
        listed = {each.label.encode(): place for place, each in enumerate(buckets)}
        return TokenStatistics(listed, np.array([*counts, rest], np.float64), missing, rows)
    common = feature.num_stats.common_stats
    quantiles = [
        (bucket.low_value, bucket.high_value, bucket.sample_count)
        for histogram in feature.num_stats.histograms
        if histogram.type == statistics_pb2.Histogram.QUANTILES
        for bucket in histogram.buckets
    ]
    edges = np.unique([edge for low, high, _ in quantiles for edge in (low, high)]) if quantiles else np.zeros(1)
    counts = np.zeros(len(edges))
    for _, high, count in quantiles:
        counts[np.searchsorted(edges, high)] += count
    return NumberStatistics(edges, counts, _missing(common, rows, is_list), rows)


def _missing(common: statistics_pb2.CommonStatistics, rows: int, is_list: bool) -> float:
    """Rows without a value, of a column that has one value at most, or of lists that are never empty."""
    # An empty list counts as present there.
    return float(common.num_missing if is_list else max(0, rows - common.tot_num_values))
