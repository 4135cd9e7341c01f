"""Starts the loop on an experiment."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from rich.console import Console

from components.example_gen.spans import number_of
from pipeline.config import Locations, PipelineConfig
from pipeline.continuous.arrivals import check_watchable, find_arrivals
from pipeline.continuous.journal import Journal
from pipeline.continuous.loop import Order, run_continuously
from pipeline.continuous.printing import LoopProgress, print_days
from pipeline.continuous.span_process import SpanRunner, Stop
from pipeline.roots import require_writable
from pipeline.synthetic_data import generate_if_missing
from trainer_module.errors import ConfigError


def watch(
    config: PipelineConfig,
    locations: Locations,
    arguments: Sequence[str],
    overrides: Mapping[str, Any],
    first_span: str | None,
    poll_seconds: float,
    until_idle: bool,
    accepted: Sequence[str] = (),
) -> int:
    """Runs the pipeline on one span after the other, until asked to stop.

    Args:
        config: The experiment.
        locations: Where it reads and writes.
        arguments: Of `recspan pipeline run` for each span, without overrides.
        overrides: Values by dotted key.
        first_span: Where to begin if the loop has not run before: a number, or a date; None takes the newest.
        poll_seconds: Between two looks.
        until_idle: Whether to end once no span is left.
        accepted: Names of refused spans whose drift is let through; they are run on again, and so are later refused
            ones and the last one.

    Returns:
        The exit code.

    Raises:
        RecspanError: The experiment's files cannot be watched, a Beam job is to run on Dataflow, or a run could not
            begin.
    """
    config.beam.check_local()
    check_watchable(config.data, locations.data)
    first = None if first_span is None else _number(config, "--first-span", first_span)
    require_writable(locations.root, "--root")
    generate_if_missing(config, locations.data)
    data, stop = config.data.portable(), Stop()
    journal = Journal(locations, config.pipeline_name)
    order = Order(first, _accepted(config, journal, accepted), poll_seconds, until_idle)
    runner = SpanRunner(arguments, overrides, config.data, locations.root, stop)
    console = Console(highlight=False)
    progress = LoopProgress(console, locations.data)
    is_over = run_continuously(lambda: find_arrivals(data, locations.data), journal, runner, progress, stop, order)
    if journal.days:
        print_days(journal.days, console)
    if not is_over:
        console.print("stopped; finished spans are recorded, and the same command goes on from there")
    return 0 if is_over else stop.exit_code


def _number(config: PipelineConfig, option: str, name: str) -> int:
    try:
        return number_of(date.fromisoformat(name) if config.data.by_date else int(name))
    except ValueError:
        kind = "a date such as 2024-05-01" if config.data.by_date else "a number"
        raise ConfigError(f"{option} {name}: expected the name of a span, {kind}") from None


def _accepted(config: PipelineConfig, journal: Journal, names: Sequence[str]) -> frozenset[int]:
    """Numbers of spans by their names.

    Raises:
        ConfigError: One of them was not run on.
    """
    refused = [day.name for day in journal.days if day.verdict == "refused"]
    numbers = {_number(config, "--accept", name): name for name in names}
    # One that was accepted already is no mistake: the same command goes on after a stop.
    if unknown := [name for number, name in numbers.items() if journal.of(number) is None]:
        raise ConfigError(
            f"--accept {unknown[0]}: this span was not run on. Refused spans: {', '.join(refused) or 'none'}"
        )
    return frozenset(numbers)
