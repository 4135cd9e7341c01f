"""How good the lists of a retrieval model are: by length, by items' popularity, by users' activity."""

import numpy as np
import pyarrow.compute as pc

from components.evaluation import row_files
from components.evaluation.paired import list_values
from components.run_report import charts
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Block, Facts, Section

_CUTOFFS = (1, 2, 3, 5, 10, 20, 50, 100)
_BANDS = ((0, 0), (1, 4), (5, 19), (20, 99), (100, 499), (500, None))


def section(run: RunArtifacts) -> Section | None:
    """Recall and nDCG of the model and of the most popular items."""
    if run.dataset.task != "retrieval":
        return None
    rows, k = run.rows, run.cutoff
    sources = {"model": row_files.RANKS, "most popular items": row_files.POPULAR_RANKS}
    if not rows.table[row_files.BLESSED_RANKS].null_count:
        sources["last blessed model"] = row_files.BLESSED_RANKS
    blocks: list[Block] = []
    for metric, name in (("recall", "recall"), ("ndcg", "nDCG")):
        series = {
            source: (_CUTOFFS, [_mean(list_values(rows, column, metric, each)) for each in _CUTOFFS])
            for source, column in sources.items()
        }
        blocks.append(
            charts.lines(f"{name} by length of the list", series, "length k", name, log_x=True, zero=True, points=True)
        )
    by_popularity = {source: _by_popularity(run, column) for source, column in sources.items()}
    blocks.append(
        charts.bars(
            f"share of relevant items found in {k}, by their training rows",
            by_popularity,
            "rows of the item in the training split",
            "share found",
            percent=True,
        )
    )
    seen = rows.column(row_files.SEEN_COUNT)
    by_activity = {}
    for source, column in sources.items():
        values = list_values(rows, column, "ndcg", k)
        by_activity[source] = {label: _mean(values[inside]) for label, inside in _bands(seen) if inside.any()}
    blocks.append(
        charts.bars(f"nDCG at {k} by the user's earlier items", by_activity, "items seen before", f"nDCG at {k}")
    )
    if report := run.index_report:
        facts = tuple(
            (name.replace("_", " "), _fact(value))
            for name, value in report.items()
            if not isinstance(value, dict | list)
        )
        blocks.append(Facts(title="retrieval index", facts=facts))
    return Section(id="lists", title="Lists", blocks=tuple(blocks))


def _by_popularity(run: RunArtifacts, column: str) -> dict[str, float]:
    """Share of all relevant pairs of a query and an item that the lists hold, by the item's training rows."""
    counts = pc.list_flatten(run.rows.table[row_files.RELEVANT_COUNTS]).to_numpy()
    ranks = pc.list_flatten(run.rows.table[column]).to_numpy()
    found = (ranks > 0) & (ranks <= run.cutoff)
    return {label: float(found[inside].mean()) for label, inside in _bands(counts) if inside.any()}


def _bands(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    bands = []
    for low, high in _BANDS:
        label = f"{low}+" if high is None else f"{low}" if low == high else f"{low}-{high}"
        bands.append((label, (values >= low) & (values <= (np.inf if high is None else high))))
    return bands


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else f"{value}"
