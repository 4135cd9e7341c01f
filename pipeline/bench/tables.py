"""Measurements as a table for a person or as JSON for a program."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Row = Mapping[str, str | float | int | None]


def print_rows(console: Console, rows: Sequence[Row], facts: Mapping[str, Any], as_json: bool) -> None:
    """Prints measurements.

    Args:
        console: Where to.
        rows: All with the same keys, which head the columns; numbers from 100 up are shown without decimals. None is
            what could not be measured.
        facts: What holds for all rows.
        as_json: As one object, with the rows under `measurements`.
    """
    if as_json:
        console.print(json.dumps({**facts, "measurements": list(rows)}), soft_wrap=True, highlight=False, markup=False)
        return
    table = Table()
    for name, value in rows[0].items():
        title = name.replace("_per_second", "/s").replace("_", " ")
        table.add_column(title, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*map(shown, row.values()))
    console.print(table)
    for name, value in facts.items():
        console.print(f"{name.replace('_', ' ')}: {shown(value)}", soft_wrap=True, highlight=False, markup=False)


def shown(value: Any) -> str:
    """A cell."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
