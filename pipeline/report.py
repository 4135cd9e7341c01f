"""The tables at the end of a run."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(summary: dict[str, Any]) -> None:
    """Prints seconds per component, metrics by slice, the verdict and where things lie."""
    console = Console()
    console.print(_components(summary["components"]), _metrics(summary["evaluation"]["slices"]))
    verdict = summary["blessing"]
    colour = "green" if verdict["push"] else "yellow"
    console.print(f"[bold {colour}]{'pushed' if verdict['push'] else 'not pushed'}[/]: {verdict['reason']}")
    for failure in summary["evaluation"]["failures"]:
        console.print(f"  {failure}", markup=False)
    if "pushed_to" in summary:
        console.print(f"model: {summary['pushed_to']}", soft_wrap=True, highlight=False)
    console.print(f"log: {summary['log']}", soft_wrap=True, highlight=False)


def _components(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="components", title_justify="left")
    table.add_column("component")
    table.add_column("seconds", justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(row["component"], f"{row['seconds']:.1f}", "cached" if row["cached"] else "")
    table.add_section()
    table.add_row("sum", f"{sum(row['seconds'] for row in rows):.1f}", "")
    return table


def _metrics(rows: list[dict[str, Any]]) -> Table:
    names = [name for name in rows[0] if name != "slice"]  # with a baseline, differences from it too
    table = Table(title="test split", title_justify="left")
    table.add_column("slice")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(row["slice"], *(_number(name, row[name]) for name in names))
    return table


def _number(name: str, value: float) -> str:
    return f"{value:.0f}" if name == "example_count" else f"{value:.4f}"
