"""The columns of the splits: missing values, distributions, frequent and unknown tokens."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import statistics_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import FeatureNameStatistics as Statistics

from components.run_report import charts
from components.run_report.artifacts import ROWS_READ, SPLITS, RunArtifacts
from components.run_report.page import Block, Cell, Chart, Column, Section, Table

_MOST_CHARTS = 24
# Columns of more distinct tokens are shown by users' and items' activity, if at all.
_MOST_TOKENS = 30
_TOKENS_DRAWN = 12
_TOP = 3
_LONGEST = 24


def section(run: RunArtifacts) -> Section:
    """A table of all columns and a chart of those with few tokens or with numbers."""
    of_train = run.statistics["train"]
    unknown = _unknown_shares(run)
    rows = tuple(_row(run, name, unknown) for name in of_train)
    heads = (
        Column(name="column"),
        Column(name="type"),
        *(Column(name=f"missing, {split}", digits=1, percent=True) for split in SPLITS),
        Column(name="distinct", digits=0),
        *(Column(name=f"unknown, {split}", digits=1, percent=True) for split in SPLITS[1:]),
        Column(name="largest change", digits=1, percent=True),
        Column(name="most frequent, or mean and range, in train"),
    )
    table = Table(
        columns=heads,
        rows=rows,
        note=(
            f"Unknown: share of tokens without a row of their own in the embedding table (first {ROWS_READ:,} rows of "
            "a split). Largest change: the largest difference between train and test of a token's share."
        ),
    )
    drawn = [chart for name in of_train if (chart := _chart(run, name)) is not None]
    blocks: list[Block] = [table, *drawn[:_MOST_CHARTS]]
    return Section(id="columns", title="Columns", blocks=tuple(blocks))


def _row(run: RunArtifacts, name: str, unknown: dict[str, dict[str, float]]) -> tuple[Cell, ...]:
    by_split = [run.statistics.get(split, {}).get(name) for split in SPLITS]
    feature = run.statistics["train"][name]
    missing = [None if each is None else _missing(each) for each in by_split]
    known = [unknown.get(split, {}).get(name) for split in SPLITS[1:]]
    if feature.WhichOneof("stats") == "string_stats":
        strings = feature.string_stats
        total = sum(each.sample_count for each in strings.rank_histogram.buckets) or 1
        top = ", ".join(f"{_short(each.value)} {each.frequency / total:.1%}" for each in strings.top_values[:_TOP])
        return (name, "tokens", *missing, float(strings.unique), *known, _change(run, name), top)
    numbers = feature.num_stats
    summary = f"{numbers.mean:.4g}, from {numbers.min:.6g} to {numbers.max:.6g}"
    return (name, "numbers", *missing, None, *known, None, summary)


def _missing(feature: Statistics) -> float:
    kind = feature.WhichOneof("stats")
    common = getattr(feature, kind).common_stats
    return common.num_missing / max(common.num_missing + common.num_non_missing, 1)


def _change(run: RunArtifacts, name: str) -> float | None:
    test = run.statistics.get("test", {}).get(name)
    if test is None:
        return None
    train, other = _shares(run.statistics["train"][name]), _shares(test)
    return max((abs(train.get(token, 0) - other.get(token, 0)) for token in train | other), default=0.0)


def _shares(feature: Statistics) -> dict[str, float]:
    """Share of the most frequent tokens."""
    buckets = feature.string_stats.rank_histogram.buckets
    total = sum(each.sample_count for each in buckets) or 1
    return {each.label: each.sample_count / total for each in buckets}


def _unknown_shares(run: RunArtifacts) -> dict[str, dict[str, float]]:
    """Share of tokens that are in no vocabulary, by split and column."""
    shares: dict[str, dict[str, float]] = {}
    for split in SPLITS[1:]:
        for column in run.tokens:
            if column.table not in run.vocabularies or column.name not in run.head[split].schema.names:
                continue
            values = run.head[split].column(column.name).flatten()
            if not pa.types.is_large_binary(values.type):
                values = values.cast(pa.large_string()).cast(pa.large_binary())
            if len(values):
                known = pc.is_in(values, value_set=run.vocabularies[column.table])
                shares.setdefault(split, {})[column.name] = 1 - pc.mean(known.cast(pa.float64())).as_py()
    return shares


def _chart(run: RunArtifacts, name: str) -> Chart | None:
    by_split = {split: run.statistics[split][name] for split in SPLITS if name in run.statistics.get(split, {})}
    feature = by_split["train"]
    if feature.WhichOneof("stats") == "string_stats":
        if not 1 < feature.string_stats.unique <= _MOST_TOKENS:
            return None
        frequent = list(_shares(feature))[:_TOKENS_DRAWN]
        series = {}
        for split, of_split in by_split.items():
            shares = _shares(of_split)
            series[split] = {_short(token): shares.get(token, 0.0) for token in frequent}
        return charts.bars(name, series, "", "share", percent=True)
    histograms = {split: _histogram(of_split) for split, of_split in by_split.items()}
    known = {split: found for split, found in histograms.items() if found is not None}
    # A column of one value has nothing to draw.
    return charts.histogram(name, known, name) if feature.num_stats.min < feature.num_stats.max and known else None


def _histogram(feature: Statistics) -> tuple[np.ndarray, np.ndarray] | None:
    found = [each for each in feature.num_stats.histograms if each.type == statistics_pb2.Histogram.STANDARD]
    if not found or not found[0].buckets:
        return None
    buckets = found[0].buckets
    counts = np.array([each.sample_count for each in buckets])
    edges = np.array([*(each.low_value for each in buckets), buckets[-1].high_value])
    return edges, counts / max(counts.sum(), 1)


def _short(token: str) -> str:
    token = token or "(empty)"
    return token if len(token) <= _LONGEST else f"{token[: _LONGEST - 1]}…"
