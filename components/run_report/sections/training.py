"""What happened in training."""

from collections.abc import Mapping

from components.run_report import charts
from components.run_report.artifacts import RunArtifacts, Series
from components.run_report.page import Block, Facts, Section, Tile, Tiles

_EVALUATION, _RATE, _NORM = "eval/", "learning_rate/", "row_norm/"
_NAMES = 3


def section(run: RunArtifacts) -> Section | None:
    """Loss, metrics of the selection split, learning rates, speed, and norms of tables."""
    curves, report = run.curves, run.summary["training"]
    if not curves:
        return None
    tiles = (
        Tile(label="steps", value=f"{report['steps']:,}", note=f"best weights at step {report['best_step']:,}"),
        Tile(label="examples per second", value=f"{report['examples_per_second']:,.0f}"),
        Tile(label="waiting for input", value=f"{report['input_bound_percent']:.0f}%", note="share of the steps' time"),
        Tile(
            label="table rows",
            value=f"{sum(report['table_rows'].values()):,}",
            note=f"{len(report['table_rows'])} tables",
        ),
    )
    blocks: list[Block] = [Tiles(tiles=tiles)]
    loss = curves.get("loss")
    if loss:
        blocks.append(charts.lines("training loss", {"loss": (loss.steps, loss.values)}, "step", "loss"))
    for tag, series in curves.items():
        if tag.startswith(_EVALUATION):
            name = tag.removeprefix(_EVALUATION)
            title = f"{name} of the selection split"
            blocks.append(charts.lines(title, {name: (series.steps, series.values)}, "step", name, points=True))
    for prefix, title, axis in (
        (_RATE, "learning rates", "learning rate"),
        (_NORM, "mean norm of tables' first rows", "norm"),
    ):
        found = {tag.removeprefix(prefix): each for tag, each in curves.items() if tag.startswith(prefix)}
        if any(len(set(each.values)) > 1 for each in found.values()):
            blocks.append(charts.lines(title, _merged(found), "step", axis))
        elif found:
            facts = tuple((name, f"{each.values[0]:.4g}") for name, each in found.items())
            blocks.append(Facts(title=f"{title}, the same in all steps", facts=facts))
    speed, wait = curves.get("examples_per_second"), curves.get("input_bound_percent")
    if speed and len(speed.steps) > 1:
        series = {"examples/s": (speed.steps, speed.values)}
        blocks.append(charts.lines("speed", series, "step", "examples per second", zero=True))
    if wait and len(wait.steps) > 1:
        blocks.append(
            charts.lines("waiting for input", {"share": (wait.steps, wait.values)}, "step", "percent", zero=True)
        )
    return Section(id="training", title="Training", blocks=tuple(blocks))


def _merged(series: Mapping[str, Series]) -> dict[str, tuple[tuple[int, ...], tuple[float, ...]]]:
    """Lines that hide each other are drawn once, under all their names."""
    names: dict[Series, list[str]] = {}
    for name, each in series.items():
        names.setdefault(each, []).append(name)
    return {
        ", ".join(of_line) if len(of_line) <= _NAMES else f"{of_line[0]} and {len(of_line) - 1} others": (
            each.steps,
            each.values,
        )
        for each, of_line in names.items()
    }
