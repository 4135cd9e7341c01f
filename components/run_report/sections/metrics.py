"""Metrics beside those of baselines and of the last blessed model, overall and by slice, with intervals."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from components.evaluation import paired, row_files
from components.evaluation.row_files import EvaluatedRows
from components.run_report import charts
from components.run_report.artifacts import ROWS_JUDGED, Goal, RunArtifacts
from components.run_report.page import Block, Cell, Column, Section, Table, Text

# Of a normal distribution; intervals of slices are approximated by it.
_Z95 = 1.959964
_FEWEST = 2
_SLICES_DRAWN = 30
_COUNTS = ("example_count", "click_count")
_OF_REFERENCES = ("baseline_", "popularity_", "logistic_", "float32_")
_LARGE = "average_popularity"


def section(run: RunArtifacts) -> Section:
    """A table of all metrics, the interval of the change, and slices, the worst first."""
    blocks: list[Block] = [_overall(run)]
    for goal in run.goals:
        blocks += _of_goal(run, goal)
    return Section(id="metrics", title="Metrics", blocks=tuple(blocks))


def _of_goal(run: RunArtifacts, goal: Goal) -> Iterator[Block]:
    if change := _change(run, goal):
        yield Text(text=change)
    rows = sorted(_slices(run, goal), key=lambda row: row.value, reverse=not run.higher_is_better)
    if not rows:
        return
    name = goal.main_metric.replace("_", " ")
    drawn = rows[:_SLICES_DRAWN]
    yield charts.intervals(
        f"{name} by slice, the worst first",
        [(row.label, row.value, row.low, row.high) for row in drawn],
        name,
        float(run.overall[goal.main_metric] or 0),
        note="Lines are 95% intervals (normal approximation over test rows or queries); dashed: overall.",
    )
    yield _table(run, goal, rows)


class _Slice:
    """The main metric of a slice with its interval."""

    def __init__(self, column: str, value: str, count: int, metric: float, low: float, high: float):
        self.label = f"{column}={value}"
        self.count, self.value, self.low, self.high = count, metric, low, high


def _overall(run: RunArtifacts) -> Table:
    references: dict[str, dict[str, float | None]] = {}
    for pair in run.summary["evaluation"]["baselines"]:
        references.setdefault(pair["reference"], {})[pair["metric"]] = pair["reference_value"]
    has_blessed = any(name.endswith("_diff") for name in run.overall)
    heads = ["metric", "this model", *references, *(["last blessed model", "change"] if has_blessed else [])]
    rows: list[tuple[Cell, ...]] = []
    for name, value in run.overall.items():
        own_name = name.rpartition(".")[2]
        if name.endswith("_diff") or own_name in _COUNTS or own_name.startswith(_OF_REFERENCES):
            continue
        cells: list[Cell] = [name, value, *(of_reference.get(name) for of_reference in references.values())]
        if has_blessed:
            change = run.overall.get(f"{name}_diff")
            cells += [None if change is None or value is None else value - change, change]
        rows.append(tuple(cells))
    columns = [Column(name=head, digits=None if number == 0 else 4) for number, head in enumerate(heads)]
    return Table(title="test split", columns=tuple(columns), rows=tuple(rows))


def _change(run: RunArtifacts, goal: Goal) -> str:
    """Whether the change against the last blessed model is more than chance; empty without one."""
    rows = goal.rows
    column = row_files.BLESSED_RANKS if rows.task == "retrieval" else row_files.BLESSED
    if not rows.table.num_rows or rows.table[column].null_count:
        return ""
    earlier = rows.table
    if rows.task == "retrieval":
        earlier = _with(earlier, row_files.RANKS, earlier[column])
    else:
        losses = row_files.losses(rows.task, rows.column(row_files.LABEL), rows.column(column))
        earlier = _with(earlier, row_files.LOSS, pa.chunked_array([losses]))
    first, *_ = paired.paired_differences(EvaluatedRows(rows.task, rows.keys, earlier), rows, run.cutoff)
    return (
        f"{goal.main_metric} against the last blessed model on the same test rows: {first.difference:+.4f}, 95% "
        f"interval from {first.low:+.4f} to {first.high:+.4f} (paired bootstrap): {first.verdict}."
    )


def _with(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def _slices(run: RunArtifacts, goal: Goal) -> list[_Slice]:
    metric, *_ = paired.metrics_of(goal.rows, run.cutoff)
    sums = metric.sums(goal.rows)
    # A row without weight says nothing.
    counts = sums[:, 1] > 0
    found = []
    for column in goal.rows.slices:
        values = goal.rows.table[row_files.slice_column(column)].combine_chunks().dictionary_encode()
        codes, names = values.indices.to_numpy(), values.dictionary.to_pylist()
        for code, name in enumerate(names):
            of_slice = sums[(codes == code) & counts]
            if len(of_slice) >= _FEWEST:
                found.append(_Slice(column, name, len(of_slice), *_interval(of_slice, metric)))
    return found


def _interval(sums: np.ndarray, metric: paired.RowMetric) -> tuple[float, float, float]:
    """A metric of a weighted mean with its 95% interval, by the central limit theorem for ratios.

    Args:
        sums: Weighted values and weights first, `[rows, n]`.
        metric: Of them.
    """
    weighted, weights = sums[:, 0], sums[:, 1]
    mean = weighted.sum() / weights.sum()
    spread = np.square(weighted - weights * mean).sum() * len(sums) / (len(sums) - 1)
    half = _Z95 * np.sqrt(spread) / weights.sum()
    ends = np.array([mean, max(mean - half, 0.0), mean + half])
    value, low, high = (float(each) for each in metric.value(np.stack([ends, np.ones(3)], axis=1)))
    return value, low, high


def _sampled(run: RunArtifacts) -> str:
    """Says so where not all test rows are looked at."""
    read = run.rows.table.num_rows
    if read < ROWS_JUDGED:
        return ""
    return f" Numbers of rows and intervals are of the first {read:,} test rows."


def _table(run: RunArtifacts, goal: Goal, rows: list[_Slice]) -> Table:
    by_label: Mapping[str, Mapping[str, Any]] = {row["slice"]: row for row in run.summary["evaluation"]["slices"]}
    own = [name.removeprefix(goal.metric_of_run("")) for name in run.overall if name.startswith(goal.metric_of_run(""))]
    others = [
        name
        for name in own
        if name not in (goal.metric, *_COUNTS) and not name.endswith(("_low", "_high")) and _LARGE not in name
    ]
    columns = [
        Column(name="slice"),
        Column(name="test rows" if run.dataset.task != "retrieval" else "queries", digits=0),
        *(Column(name=name.replace("_", " "), digits=4) for name in (goal.metric, "low", "high", *others)),
    ]
    overall: tuple[Cell, ...] = (
        "overall",
        run.overall[goal.metric_of_run("example_count")],
        run.overall[goal.main_metric],
        None,
        None,
        *(run.overall[goal.metric_of_run(name)] for name in others),
    )
    cells = [
        (
            *(row.label, float(row.count), row.value, row.low, row.high),
            *(by_label.get(row.label, {}).get(goal.metric_of_run(name)) for name in others),
        )
        for row in rows
    ]
    return Table(
        title=goal.titled("by slice"),
        columns=tuple(columns),
        rows=(overall, *cells),
        pinned=1,
        sorted_by=2,
        descending=not run.higher_is_better,
        note=f"Small slices have wide intervals; a slice never decides whether a model is pushed.{_sampled(run)}",
    )
