"""How many rows users and items have."""

import numpy as np

from components.run_report import charts
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Column, Section, Table

_SHARES = (0.01, 0.1, 0.5)


def section(run: RunArtifacts) -> Section | None:
    """Rows by rank on logarithmic axes, and how concentrated they are; None where rows are of no user and no item."""
    names = {"users": run.dataset.user_key, "items": run.dataset.item_key}
    known = {column.name for column in run.tokens}
    counts = {what: run.counts(name)[1] for what, name in names.items() if name in known}
    if not counts:
        return None
    series = {what: _ranked(of_kind) for what, of_kind in counts.items()}
    rows = tuple(
        (
            what,
            float(len(of_kind)),
            float(np.median(of_kind)),
            float(of_kind.max()),
            *(float(of_kind[: max(1, round(share * len(of_kind)))].sum() / of_kind.sum()) for share in _SHARES),
        )
        for what, of_kind in counts.items()
    )
    columns = (
        Column(name="of"),
        Column(name="number", digits=0),
        Column(name="median rows", digits=0),
        Column(name="most rows", digits=0),
        *(Column(name=f"rows of the first {share:.0%}", digits=1, percent=True) for share in _SHARES),
    )
    read, total = run.train_rows_read, run.summary["examples"]["rows"]["train"]
    note = f"First {read:,} of {total:,} training rows." if read < total else ""
    return Section(
        id="activity",
        title="Activity of users and items",
        blocks=(
            charts.lines(
                "rows of each user and item, the most active first",
                series,
                "rank",
                "rows in the training split",
                log_x=True,
                log_y=True,
                note=note,
            ),
            Table(title="concentration", columns=columns, rows=rows),
        ),
    )


def _ranked(counts: np.ndarray) -> tuple[list[int], list[int]]:
    """Ranks, evenly spaced on a logarithmic axis, and the numbers there."""
    ranks = np.unique(np.geomspace(1, len(counts), 120).round().astype(int))
    return ranks.tolist(), counts[ranks - 1].tolist()
