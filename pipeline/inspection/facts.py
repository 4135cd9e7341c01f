"""Counts of the interactions as a whole: rows per user and item, repeated rows, time range."""

from collections.abc import Mapping

import polars as pl

from pipeline.inspection.columns import as_date
from pipeline.inspection.findings import Facts, FoundTable, Spread
from pipeline.inspection.roles import Guess


def gather(table: FoundTable, roles: Mapping[str, Guess]) -> Facts:
    """Counts rows per user and per item, repetitions, and the first and last date."""
    frame = table.frame
    user, item, time = (roles[role].column if role in roles else None for role in ("user", "item", "time"))
    scalar = [c.name for c in table.columns if c.kind not in ("list", "other")]
    pairs = frame.height - frame.select(user, item).n_unique() if user and item else None
    first, last = _range(table, time) if time else (None, None)
    return Facts(
        users=spread(frame[user]) if user else None,
        items=spread(frame[item]) if item else None,
        repeated_rows=frame.height - frame.select(scalar).n_unique() if scalar else 0,
        repeated_pairs=pairs,
        first_time=first,
        last_time=last,
    )


def spread(values: pl.Series) -> Spread | None:
    """How rows spread over the distinct values of a column; None if it has none."""
    counts = values.drop_nulls().value_counts()["count"].sort(descending=True)
    if counts.is_empty():
        return None
    top = int(counts.head(max(1, round(len(counts) / 100))).sum())
    return Spread(
        entities=len(counts),
        minimum=int(counts[-1]),
        median=float(counts.median()),  # type: ignore[arg-type]
        maximum=int(counts[0]),
        top_share=top / int(counts.sum()),
        below_three=float((counts < 3).mean()),  # type: ignore[arg-type]
    )


def _range(table: FoundTable, name: str) -> tuple[str | None, str | None]:
    column, values = table.column(name), table.frame[name]
    if column.kind == "time":
        low, high = values.min(), values.max()
        return str(low)[:10], str(high)[:10]
    if column.time_unit and column.minimum is not None and column.maximum is not None:
        return as_date(column.minimum, column.time_unit), as_date(column.maximum, column.time_unit)
    return None, None
