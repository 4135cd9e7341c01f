"""A comparison of runs as a page."""

from collections.abc import Sequence

from components.run_report.page import Block, Cell, Column, Page, Section, Table, Text
from pipeline.history.comparison import Comparison, Row
from pipeline.history.records import Run


def page_of(comparison: Comparison) -> Page:
    """The page."""
    runs = comparison.runs
    sections = [
        Section(id="runs", title="Runs", blocks=(_texts((*comparison.facts, _reports(runs)), runs),)),
        Section(id="metrics", title="Metrics of the test split", blocks=(_numbers(comparison.metrics, runs),)),
        Section(id="differences", title="Differences from the first run", blocks=_differences(comparison)),
        Section(id="experiment", title="Experiment: what differs", blocks=(_texts_or_none(comparison.config, runs),)),
        Section(id="data", title="Data: what differs", blocks=(_texts_or_none(comparison.data, runs),)),
    ]
    return Page(title="Comparison of runs", subtitle=", ".join(run.id for run in runs), sections=tuple(sections))


def _differences(comparison: Comparison) -> tuple[Block, ...]:
    rows: list[tuple[Cell, ...]] = []
    refused: list[Block] = []
    for each in comparison.significance:
        for found in each.differences:
            values = (found.first, found.second, found.difference, found.low, found.high)
            rows.append((each.run.id, found.metric, *values, float(found.units), found.verdict))
        if each.refusal:
            refused.append(Text(text=f"{each.run.id}: {each.refusal}", tone="warn"))
    heads = ("first run", "this run", "difference", "95% low", "95% high")
    columns = (
        *(Column(name="run"), Column(name="metric")),
        *(Column(name=head, digits=4) for head in heads),
        *(Column(name="test rows", digits=0), Column(name="verdict")),
    )
    note = "Paired bootstrap over the same test rows, for retrieval over the same queries."
    return (*([Table(columns=columns, rows=tuple(rows), note=note)] if rows else []), *refused)


def _reports(runs: Sequence[Run]) -> Row:
    return Row("report", tuple("" if run.report is None else str(run.report) for run in runs))


def _numbers(rows: Sequence[Row], runs: Sequence[Run]) -> Table:
    columns = (Column(name="metric"), *(Column(name=run.id, digits=4) for run in runs))
    return Table(columns=columns, rows=tuple((row.name, *row.values) for row in rows))


def _texts(rows: Sequence[Row], runs: Sequence[Run]) -> Table:
    columns = (Column(name="what"), *(Column(name=run.id) for run in runs))
    return Table(columns=columns, rows=tuple((row.name, *(f"{value}" for value in row.values)) for row in rows))


def _texts_or_none(rows: Sequence[Row], runs: Sequence[Run]) -> Block:
    return _texts(rows, runs) if rows else Text(text="Nothing.")
