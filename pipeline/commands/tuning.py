"""The search for better settings: `tune`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Assignments, ConfigFile, DataDir, Root
from pipeline.exit_codes import FAILED, NOT_PUSHED
from pipeline.interruption import RESULTS_OF_COMPONENTS, keeps


def tune(
    config: ConfigFile = None,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials in all, those of earlier calls included.")] = 30,
    space: Annotated[
        Path | None, typer.Option(help="Search space in YAML; around the experiment's own values if not given.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of trials that train at the same time.")] = 1,
    name: Annotated[str | None, typer.Option(help="Of the search; the pipeline's name if not given.")] = None,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Run the pipeline with the best experiment, which is tested once.")
    ] = True,
    memory_gb: Annotated[float | None, typer.Option(help="Short for --set memory_gb=...")] = None,
    assignments: Assignments = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Search for settings that do better on the eval split, then run the best through the whole pipeline.

    The same command goes on with a search that was interrupted. Exits with 3 if the model was not good enough to push.
    """
    from components.pusher.comparison import shown
    from pipeline.config import Locations, check_name, load_config, parse_assignments
    from pipeline.console import ComponentProgress, output_to
    from pipeline.local.root import occupied
    from pipeline.local.run import run_locally
    from pipeline.roots import require_writable
    from pipeline.tuning.defaults import default_space
    from pipeline.tuning.space import Start, read_space
    from pipeline.tuning.workers import Resources
    from trainer_module import memory

    overrides = parse_assignments(assignments or [])
    if memory_gb is not None:
        overrides["memory_gb"] = memory_gb
    start = Start.read(config, overrides)
    settings = start.config
    if settings.memory_gb is not None:
        memory.check(settings.memory_gb, "memory_gb")
    chosen = read_space(space, start) if space else default_space(start)
    with memory.stated(settings.memory_gb):
        resources = Resources.of_each(jobs, memory.budget(), len(os.sched_getaffinity(0)))
    name = settings.pipeline_name if name is None else name
    check_name(name, "--name")
    locations = Locations.resolve(settings, root, data_dir)
    directory = locations.root / "tuning" / name
    require_writable(locations.root, "--root")
    require_writable(directory, "--root")
    keeps("trials that have ended are kept, and the same command goes on from there")
    with (
        output_to(directory / "log.txt") as console,
        ComponentProgress(console) as progress,
        occupied(locations.root, "tune"),
    ):
        if settings.training.keep == "last":
            console.print(
                "training.keep is last: the experiment says that evaluations do not judge its weights. Trials are "
                "judged by their last evaluation all the same; see docs/tuning.md",
                style="yellow",
            )
        progress.started("importing TensorFlow and TFX")
        from components.run_report.render import render
        from pipeline.tuning.page import page_of
        from pipeline.tuning.report import (
            EXPERIMENT,
            PAGE,
            RESULT,
            TRIALS,
            figures_of_test,
            write_experiment,
            write_result,
            write_text,
            write_trials,
        )
        from pipeline.tuning.tune import Order, search

        result = search(Order(start, chosen, trials, jobs, resources, directory), locations, progress)
        write_trials(result, directory / TRIALS)
        write_text(directory / PAGE, render(page_of(result, None)))
        write_result(result, None, directory / RESULT)
        best = result.best
        if best is not None:
            write_experiment(result, best, directory / EXPERIMENT)
    typer.echo(result.summary())
    typer.echo(f"page: {directory / PAGE}")
    if best is None:
        raise typer.Exit(FAILED)
    typer.echo(f"experiment: {directory / EXPERIMENT}")
    if not test:
        return
    keeps(RESULTS_OF_COMPONENTS)
    outcome = run_locally(load_config(directory / EXPERIMENT), locations)
    assert outcome is not None
    figures = figures_of_test(outcome.summary, result)
    write_result(result, figures, directory / RESULT)
    write_text(directory / PAGE, render(page_of(result, figures)))
    tested = ", ".join(f"{metric}: {shown(value)}" for metric, value in figures.items())
    typer.echo(f"{result.summary()}; test {tested} with the best, the only one tested")
    if outcome.pushed_to is None:
        raise typer.Exit(NOT_PUSHED)
