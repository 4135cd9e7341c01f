"""Shows on the terminal what the loop does, and what became of each span."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pipeline.continuous.arrivals import Arrival
from pipeline.continuous.journal import Day, Verdict

_WIDEST = 400
_COLOURS: dict[Verdict, str] = {
    "pushed": "green",
    "not pushed": "yellow",
    "refused": "yellow",
    "failed": "red",
    "late": "yellow",
}


class LoopProgress:
    """Prints lines about the loop. Implements `Observer`."""

    def __init__(self, console: Console, directory: str):
        """Sets where to print, and the name of the watched directory."""
        self._console, self._directory = console, directory

    def waiting(self, after: str | None) -> None:
        what = f"the span after {after}" if after else "the first span"
        self._print(f"waiting for {what} in {self._directory}; Ctrl-C ends the loop")

    def begins(self, arrival: Arrival, left_out: tuple[str, ...]) -> None:
        without = f", without {', '.join(left_out)}" if left_out else ""
        self._console.rule(f"span {arrival.name}{without}", align="left")

    def ended(self, day: Day) -> None:
        self._console.print(f"[bold {_COLOURS[day.verdict]}]span {day.name}: {day.verdict}[/]", end="", highlight=False)
        self._print(f": {day.reason}")

    def noticed(self, day: Day) -> None:
        self._console.print(f"[bold yellow]span {day.name}[/]", end="", highlight=False)
        self._print(f": {day.reason}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_days(days: Sequence[Day], console: Console) -> None:
    """Prints one line for each span, the latest last."""
    metrics = list(dict.fromkeys(name for day in days for name in day.metrics))
    table = Table(box=None, pad_edge=False)
    for name in ("span", "verdict"):
        table.add_column(name, no_wrap=True)
    for name in (*metrics, "table rows", "new tokens", "drift"):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    for day in days:
        values = [_shown(day.metrics.get(name)) for name in metrics]
        counts = [_count(each) for each in (day.table_rows, day.new_tokens, day.drift)]
        table.add_row(day.name, f"[{_COLOURS[day.verdict]}]{day.verdict}[/]", *values, *counts, day.reason)
    # A terminal wraps long lines; a narrow last column would be many lines high.
    wide = console.options.update(width=_WIDEST)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
