"""What a search found, as a page in the style of the run report. Free of TensorFlow."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

from components.run_report import charts
from components.run_report.page import (
    Bar,
    Bars,
    Block,
    Cell,
    Chart,
    Code,
    Column,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)
from pipeline.tuning.report import Result, experiment_text
from pipeline.tuning.space import Range, shown
from pipeline.tuning.study import FEWEST_FOR_IMPORTANCES, FINISHED, Trial

_SHOWN_AS = "as it is"


def page_of(result: Result, test: Mapping[str, float | None] | None) -> Page:
    """The page.

    Args:
        result: Of the search.
        test: Metrics on the test split, by name; None if it was not read.
    """
    finished = [trial for trial in result.trials if trial.outcome == FINISHED]
    sections = [
        Section(id="result", title="Result", blocks=tuple(_result(result, test))),
        *([Section(id="progress", title="Progress", blocks=_progress(result, finished))] if finished else []),
        *([Section(id="parameters", title="Parameters", blocks=_parameters(result))] if finished else []),
        Section(id="trials", title="Trials", blocks=tuple(_trials(result))),
    ]
    config = result.start.config
    subtitle = f"search of {len(result.space.parameters)} parameters · dataset {config.data.name} · {config.model.type}"
    return Page(title=f"Tuning of {config.pipeline_name}", subtitle=subtitle, sections=tuple(sections))


def _result(result: Result, test: Mapping[str, float | None] | None) -> list[Block]:
    best, unchanged = result.best, result.unchanged
    seconds = sum(trial.seconds for trial in result.trials)
    tiles = [
        _metric_tile(f"eval {result.metric}, {_SHOWN_AS}", unchanged, "the experiment's own values"),
        _metric_tile(f"eval {result.metric}, best", best, f"trial {best.number}" if best else "no trial finished"),
    ]
    for name, value in (test or {}).items():
        text = "unknown" if value is None else f"{value:.4f}"
        tiles.append(Tile(label=f"test {name}, best", value=text, note="the only one tested"))
    counts = [f"{sum(t.outcome == name for t in result.trials)} {name}" for name in _outcomes(result)]
    tiles.append(Tile(label="tries", value=f"{len(result.tried)}", note=", ".join(counts)))
    tiles.append(Tile(label="seconds of all trials", value=f"{seconds:,.1f}"))
    blocks: list[Block] = [Tiles(tiles=tuple(tiles))]
    warning = "The best of many tries on the eval split looks better there than it is."
    blocks.append(Text(text=f"{warning} {_on_test(test)}"))
    if best is not None and best.values:
        rows = tuple((key, shown(result.start.value(key)), shown(value)) for key, value in best.values.items())
        heads = ("parameter", "experiment", "best")
        blocks.append(Table(title="the best settings", columns=tuple(Column(name=head) for head in heads), rows=rows))
    if best is not None:
        blocks.append(Code(title="the best experiment", text=experiment_text(result, best)))
    return blocks


def _metric_tile(label: str, trial: Trial | None, note: str) -> Tile:
    value = "none" if trial is None or trial.metric is None else f"{trial.metric:.4f}"
    return Tile(label=label, value=value, note=note)


def _on_test(test: Mapping[str, float | None] | None) -> str:
    if test is None:
        return "The test split was not read."
    return "Believe the figure of the test split, which was read once, with the best experiment alone."


def _outcomes(result: Result) -> list[str]:
    return list(dict.fromkeys(trial.outcome for trial in result.trials))


def _progress(result: Result, finished: Sequence[Trial]) -> tuple[Block, ...]:
    # Also over trials that did not finish, so that the line is flat there.
    known = {trial.number: _metric(trial) for trial in finished}
    numbers = [trial.number for trial in result.trials if trial.number >= min(known)]
    best = list(accumulate((known.get(number, math.inf) for number in numbers), min))
    metric = f"eval {result.metric}"
    return (
        charts.lines("best so far", {"best": (numbers, best)}, "trial", metric, points=True),
        charts.points(
            "all trials",
            {
                name: [(trial.number, _metric(trial), _said(trial, result)) for trial in of_outcome]
                for name, of_outcome in _judged(result).items()
            },
            "trial",
            metric,
            note="Of pruned trials, the best evaluation until then.",
        ),
    )


def _judged(result: Result) -> dict[str, list[Trial]]:
    """Trials with a metric, by outcome."""
    found: dict[str, list[Trial]] = {}
    for trial in result.trials:
        if trial.metric is not None:
            found.setdefault(trial.outcome, []).append(trial)
    return found


def _metric(trial: Trial) -> float:
    assert trial.metric is not None
    return trial.metric


def _said(trial: Trial, result: Result) -> str:
    values = _SHOWN_AS if trial.is_start else ", ".join(f"{key} {shown(value)}" for key, value in trial.values.items())
    return f"trial {trial.number}, {trial.outcome}: {result.metric} {_metric(trial):.4f}; {values}"


def _parameters(result: Result) -> tuple[Block, ...]:
    charts_of_keys = [_against(result, key) for key in result.space.parameters]
    if not result.importances:
        few = f"Importances of parameters need {FEWEST_FOR_IMPORTANCES} trials that finished: raise --trials."
        return (Text(text=few), *charts_of_keys)
    said = (
        "Importances are those of PED-ANOVA (Watanabe et al., IJCAI 2023) over the trials that finished: how far the "
        "values of the best tenth are from those of all. The search tries promising values more often, so a small "
        "share says little."
    )
    return (_importances(result), Text(text=said), *charts_of_keys)


def _importances(result: Result) -> Bars:
    shares = sorted(result.importances.items(), key=lambda pair: -pair[1])
    bars = tuple(Bar(label=key, value=share, text=f"{share:.0%}") for key, share in shares)
    return Bars(title="importance of parameters", bars=bars)


def _against(result: Result, key: str) -> Chart:
    """A parameter against the metric, in the order of the values where they are no numbers."""
    parameter = result.space.parameters[key]
    series = {}
    for name, of_outcome in _judged(result).items():
        pairs = [(_value(trial, key, result), trial) for trial in of_outcome]
        series[name] = [
            (value if isinstance(parameter, Range) else shown(value), _metric(trial), _said(trial, result))
            for value, trial in pairs
            if value is not None
        ]
    order = None if isinstance(parameter, Range) else [shown(value) for value in parameter]
    log = isinstance(parameter, Range) and parameter.log
    return charts.points(key, series, key, f"eval {result.metric}", log_x=log, order=order)


def _value(trial: Trial, key: str, result: Result) -> object:
    return result.start.value(key) if trial.is_start else trial.values.get(key)


def _trials(result: Result) -> list[Block]:
    keys = list(result.space.parameters)
    columns = (
        Column(name="trial", digits=0),
        Column(name=f"eval {result.metric}", digits=4),
        Column(name="outcome"),
        Column(name="evaluations", digits=0),
        Column(name="seconds", digits=1),
        *(Column(name=key) for key in keys),
    )
    rows: list[tuple[Cell, ...]] = []
    for trial in result.ranked:
        values = [_value(trial, key, result) for key in keys]
        outcome = f"{trial.outcome} ({_SHOWN_AS})" if trial.is_start else trial.outcome
        numbers = (float(trial.number), trial.metric, outcome, float(trial.evaluations), trial.seconds)
        rows.append((*numbers, *("" if value is None else shown(value) for value in values)))
    blocks: list[Block] = [
        Table(columns=columns, rows=tuple(rows), note="The best first; then those that did not finish.")
    ]
    reasons = [
        (f"{trial.number}", trial.outcome, " ".join(trial.reason.split())) for trial in result.ranked if trial.reason
    ]
    if reasons:
        heads = tuple(Column(name=head) for head in ("trial", "outcome", "why"))
        blocks.append(Table(title="trials that did not finish", columns=heads, rows=tuple(reasons)))
    return blocks
