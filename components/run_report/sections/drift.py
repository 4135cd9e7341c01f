"""How the newest data differ from earlier data, and where each threshold comes from."""

from components.drift.findings import ADVICE, Drawing, Measured
from components.run_report import charts
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Block, Cell, Chart, Column, Section, Table, Text

_HEADS = (
    Column(name="column"),
    Column(name="measure"),
    Column(name="value", digits=3),
    Column(name="threshold", digits=3),
    Column(name="threshold from"),
    Column(name="against"),
    Column(name="what has changed"),
)


def section(run: RunArtifacts) -> Section | None:
    """What is above its threshold, charts of the columns that changed most, and all measures."""
    report = run.drift
    if report is None:
        return None
    found = report.drift
    blocks: list[Block] = []
    if not report.compared_with:
        blocks.append(Text(text=f"{report.name}: not compared with earlier data."))
    elif not found:
        blocks.append(Text(text=f"{report.name}: no drift against {' and '.join(report.compared_with)}.", tone="good"))
    else:
        stopped = run.stop is not None and run.stop.drift is not None
        outcome = (
            "The run was stopped: validation.drift.action is stop."
            if stopped
            else "The run went on, as validation.drift.action says or for want of a history."
        )
        blocks.append(
            Text(
                text=f"{report.name} differs from earlier data: {len(found)} of {len(report.measured)} measures are "
                f"above their thresholds. {outcome}",
                tone="bad" if stopped else "warn",
            )
        )
        blocks.append(_table("drift", found))
        blocks += [
            Text(text=f"{measure}: {ADVICE[measure]}") for measure in dict.fromkeys(each.measure for each in found)
        ]
    blocks += [Text(text=note) for note in report.notes]
    blocks += [_chart(report.name, drawing) for drawing in report.drawings]
    if report.measured:
        blocks.append(_table("all measures, those nearest to their thresholds first", report.measured))
    return Section(id="drift", title="Drift", blocks=tuple(blocks))


def _table(title: str, measured: tuple[Measured, ...]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (each.column, each.measure, each.value, each.threshold, each.origin, each.against, each.change)
        for each in measured
    ]
    return Table(title=title, columns=_HEADS, rows=tuple(rows))


def _chart(name: str, drawing: Drawing) -> Chart:
    series = {
        drawing.against: dict(zip(drawing.values, drawing.earlier, strict=True)),
        name: dict(zip(drawing.values, drawing.newer, strict=True)),
    }
    return charts.bars(drawing.column, series, "", "share", percent=True)
