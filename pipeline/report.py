"""Prints the tables at the end of a run."""

import re
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from components.drift.findings import Measured
from components.pusher.comparison import Comparison

# Number of metrics that fit side by side. Where there are more, those of `_BY_SLICE` are shown by slice.
_WIDEST = 7
_FINDINGS_SHOWN = 8
_BY_SLICE = re.compile(
    r"(popularity_)?ndcg_at_\d+|(recall|hit_rate)_at_\d+|(baseline_)?(rmse|log_loss)|auc|example_count"
    r"|\w+\.(rmse|log_loss|auc)"
)


def print_report(summary: dict[str, Any]) -> None:
    """Prints seconds per component, metrics by slice, the verdict, baselines, drift, and where model and log are."""
    console = Console()
    console.print(_components(summary["components"]), *_metrics(summary["evaluation"]["slices"]))
    verdict = summary["blessing"]
    colour = "green" if verdict["push"] else "yellow"
    console.print(f"[bold {colour}]{'pushed' if verdict['push'] else 'not pushed'}[/]: {verdict['reason']}")
    for pair in summary["evaluation"]["baselines"]:
        console.print(f"  {Comparison(**pair)}", markup=False, highlight=False)
    for failure in summary["evaluation"]["failures"]:
        console.print(f"  {failure}", markup=False)
    for line in _drift(summary.get("drift")):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if "pushed_to" in summary:
        console.print(f"model: {summary['pushed_to']}", soft_wrap=True, highlight=False)
    if "report" in summary:
        console.print(f"report: {summary['report']}", soft_wrap=True, highlight=False)
    console.print(f"log: {summary['log']}", soft_wrap=True, highlight=False)


def _drift(drift: dict[str, Any] | None) -> Iterator[str]:
    """What is above its threshold; says so where nothing is, or where there was nothing to compare with."""
    if drift is None:
        return
    findings = [Measured(**each) for each in drift["findings"]]
    against = " and ".join(drift["compared_with"])
    if not findings:
        if against:
            yield f"drift: none in {drift['name']}, against {against}"
        else:
            # Summaries of earlier versions have no notes.
            notes = "; ".join(drift.get("notes", ())) or "nothing to compare with yet"
            yield f"drift: not compared: {notes}"
        return
    yield f"drift: {drift['name']} differs from earlier data"
    for each in findings[:_FINDINGS_SHOWN]:
        yield f"  {each.sentence}"
    if more := len(findings[_FINDINGS_SHOWN:]):
        yield f"  and {more} more, in the report"


def _components(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="components", title_justify="left")
    table.add_column("component")
    table.add_column("seconds", justify="right")
    table.add_column("peak GB", justify="right")
    table.add_column("")
    for row in rows:
        # Not measured where nothing ran, and of a rehearsal's tasks, which are processes of their own.
        peak = f"{row['peak_memory_gb']:.2f}" if "peak_memory_gb" in row else ""
        table.add_row(row["component"], f"{row['seconds']:.1f}", peak, "cached" if row["cached"] else "")
    table.add_section()
    table.add_row("sum", f"{sum(row['seconds'] for row in rows):.1f}", "", "")
    return table


def _metrics(rows: list[dict[str, Any]]) -> list[Table]:
    """Makes one table; where it would be too wide, one of the overall metrics and one of the main metrics by slice."""
    overall, *_ = rows
    names = [name for name in overall if name != "slice"]  # also differences from the last blessed model
    if len(names) <= _WIDEST:
        return [_by_slice(rows, names)]
    table = Table(title="test split", title_justify="left")
    table.add_column("metric")
    table.add_column("overall", justify="right")
    for name in names:
        table.add_row(name, _number(name, overall[name]))
    shown = [name for name in names if _BY_SLICE.fullmatch(name)]
    return [table, _by_slice(rows, shown[:_WIDEST])]


def _by_slice(rows: list[dict[str, Any]], names: list[str]) -> Table:
    table = Table(title="test split", title_justify="left")
    table.add_column("slice", no_wrap=True)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(row["slice"], *(_number(name, row[name]) for name in names))
    return table


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name.endswith(("example_count", "click_count")) else f"{value:.4f}"
