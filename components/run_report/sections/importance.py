"""Which input columns the model's predictions rest on: permutation importance."""

import numpy as np

from components.evaluation.importance import REPEATS, Importance, SampleMetric, Unit, UnitChange
from components.run_report import charts
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Block, Cell, Chart, Column, Section, Table, Text

_MOST_DRAWN = 30


def section(run: RunArtifacts) -> Section:
    """A chart for each metric that decides, and a table of all metrics."""
    found = run.importance
    if found.refusal:
        return _section((Text(text=found.refusal),))
    drawn = [_chart(found, metric) for metric in found.metrics if metric.gates]
    return _section((Text(text=_explanation(run, found)), *drawn, _table(found)))


def _section(blocks: tuple[Block, ...]) -> Section:
    return Section(id="importance", title="Permutation importance", blocks=blocks)


def _explanation(run: RunArtifacts, found: Importance) -> str:
    is_retrieval = run.dataset.task == "retrieval"
    rows = "queries" if is_retrieval else "test rows"
    text = (
        f"The values of a column are exchanged among a random sample of {found.rows:,} {rows}, {REPEATS} times, and "
        "the model is asked again: the more a metric suffers, the more the model relies on the column. 0 means that "
        "the model does not use it, or finds the same in other columns."
    )
    if any(each.unit.is_group for each in found.units):
        text += (
            " Columns of one user or one item belong together: exchanging one alone makes rows that cannot be, such as "
            "an item with another one's attributes, and where one column says what another one says, each seems less "
            "important than both are. The user or the item as a whole is therefore exchanged, too."
        )
    if is_retrieval:
        text += (
            " Only columns of the query are exchanged, because the items' vectors are fixed in the index; the items "
            "that a user has seen and is looking for stay with the query."
        )
    return text


def _chart(found: Importance, metric: SampleMetric) -> Chart:
    harm = sorted(((unit.unit, _harm(unit, metric)) for unit in found.units), key=lambda pair: -pair[1].mean())
    what = f"{'fall' if metric.higher_is_better else 'rise'} of {metric.name.replace('_', ' ')}"
    return charts.spread_bars(
        what,
        {
            "one column": _bars(harm[:_MOST_DRAWN], is_group=False),
            "user or item as a whole": _bars(harm[:_MOST_DRAWN], is_group=True),
        },
        f"{what} when exchanged",
        note=f"{metric.value:.4f} on the sample as it is. Lines: one standard deviation of {REPEATS} exchanges.",
    )


def _bars(harm: list[tuple[Unit, np.ndarray]], is_group: bool) -> dict[str, tuple[float, float]]:
    return {
        unit.name: (float(values.mean()), float(values.std(ddof=1)))
        for unit, values in harm
        if unit.is_group == is_group
    }


def _harm(unit: UnitChange, metric: SampleMetric) -> np.ndarray:
    """How much worse the metric becomes, `[repeats]`."""
    changes = np.asarray(unit.changes[metric.name])
    return -changes if metric.higher_is_better else changes


def _table(found: Importance) -> Table:
    has_groups = any(each.unit.is_group for each in found.units)
    columns = [Column(name="exchanged"), *([Column(name="columns")] if has_groups else [])]
    for metric in found.metrics:
        columns += [Column(name=f"{metric.name.replace('_', ' ')}, change", digits=4), Column(name="±", digits=4)]
    first, *_ = found.metrics
    rows: list[tuple[Cell, ...]] = []
    for each in sorted(found.units, key=lambda unit: -_harm(unit, first).mean()):
        changes = [np.asarray(each.changes[metric.name]) for metric in found.metrics]
        numbers = [number for of in changes for number in (float(of.mean()), float(of.std(ddof=1)))]
        together = [", ".join(each.unit.columns) if each.unit.is_group else ""] if has_groups else []
        rows.append((each.unit.name, *together, *numbers))
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        sorted_by=2 if has_groups else 1,
        descending=not first.higher_is_better,
        note=f"±: standard deviation over {REPEATS} exchanges. The measurement took {found.seconds:.1f} s.",
    )
