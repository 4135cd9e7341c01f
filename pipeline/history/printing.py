"""Prints runs to the terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.history.comparison import Comparison, Row, Significance
from pipeline.history.records import Run
from pipeline.report import print_report

_LONGEST_VALUE = 60
_WIDEST = 400
_STARTS_WITH = "%Y%m%dT%H%M%S"


def print_runs(runs: Sequence[Run], console: Console) -> None:
    """Prints one line for each run, the latest last."""
    if not runs:
        console.print("no runs yet")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "began (UTC)", "pipeline", "dataset", "model", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("metrics", no_wrap=True)
    for run in runs:
        metrics = "  ".join(f"{name} {_shown(value)}" for name, value in run.main_metrics.items())
        seconds = f"{run.seconds:.1f}"
        table.add_row(run.id, began(run), run.pipeline, run.dataset, run.model, run.verdict, seconds, metrics)
    # A terminal wraps long lines; columns cut short would hide the names that other commands take.
    wide = console.options.update(width=_WIDEST)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def print_run(run: Run, console: Console) -> None:
    """Prints what a run came to, as at its end; of a failed one, what it has executed."""
    if run.summary:
        print_report(run.summary)
    else:
        table = Table(title=f"{run.id}: {run.verdict}", title_justify="left")
        table.add_column("component")
        table.add_column("state")
        table.add_column("seconds", justify="right")
        for each in run.executions:
            table.add_row(each.component, each.state, f"{each.seconds:.1f}")
        console.print(table)
        if run.stopped:
            console.print(run.stopped["message"], markup=False, highlight=False, soft_wrap=True)
        if run.report:
            _print_path(console, "report", run.report)
        _print_path(console, "log", run.directory / "log.txt")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints runs side by side."""
    names = [run.id for run in comparison.runs]
    console.print(_table("runs", comparison.facts, names))
    console.print(_table("metrics of the test split", comparison.metrics, names))
    for title, rows in (("experiment: what differs", comparison.config), ("data: what differs", comparison.data)):
        console.print(_table(title, rows, names) if rows else f"[italic]{title}[/italic]\nnothing\n")
    for each in comparison.significance:
        _print_significance(each, comparison.runs[0], console)
    for run in comparison.runs:
        if run.report:
            _print_path(console, f"report of {run.id}", run.report)


def began(run: Run) -> str:
    """When a run began, in UTC, as people write times."""
    try:
        return datetime.strptime(run.id.partition(".")[0], _STARTS_WITH).replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def sentence(significance: Significance, first: Run) -> list[str]:
    """What the difference of two runs comes to, in words; one sentence for each metric."""
    if significance.refusal:
        return [f"no interval for {significance.run.id} beside {first.id}: {significance.refusal}"]
    return [
        f"{each.metric}: {significance.run.id} {each.second:.4f}, {first.id} {each.first:.4f}, difference "
        f"{each.difference:+.4f}, from {each.low:+.4f} to {each.high:+.4f} (95%, {each.units:,} test "
        f"{'queries' if '_at_' in each.metric else 'rows'}): {each.verdict}"
        for each in significance.differences
    ]


def _print_significance(significance: Significance, first: Run, console: Console) -> None:
    for line in sentence(significance, first):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(title: str, rows: Sequence[Row], names: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, *map(_shown, row.values))
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return _number(value)
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _number(value: float) -> str:
    """Four decimals where they say something: learning rates are smaller, seconds and counts larger."""
    if value.is_integer() and abs(value) > 1:
        return f"{value:.0f}"
    if 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def _print_path(console: Console, name: str, path: Any) -> None:
    console.print(f"{name}: {path}", soft_wrap=True, highlight=False)
