"""The search for better settings: `tune`."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import Assignments, ConfigFile, DataDir, Root
from pipeline.exit_codes import FAILED, NOT_PUSHED
from pipeline.interruption import RESULTS_OF_COMPONENTS, keeps
from trainer_module.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.tuning.report import Result

# A run takes minutes at least.
_SECONDS_BETWEEN_LOOKS = 30


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
    vertex: Annotated[
        bool, typer.Option("--vertex", help="Train each trial as a run of the compiled pipeline on Vertex AI.")
    ] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="With --vertex: run the compiled pipelines here and send nothing.")
    ] = False,
    memory_gb: Annotated[float | None, typer.Option(help="Short for --set memory_gb=...")] = None,
    assignments: Assignments = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Search for settings that do better on the eval split, then run the best through the whole pipeline.

    The same command goes on with a search that was interrupted. Exits with 3 if the model was not good enough to push.
    With --vertex, it ends when the best experiment is written, which `recspan pipeline submit` takes.
    """
    if rehearse and not vertex:
        raise ConfigError("--rehearse rehearses what --vertex would submit; give that too")
    if vertex:
        if rehearse and jobs > 1:
            raise ConfigError("--jobs: a rehearsal runs one trial at a time; leave it out")
        if memory_gb is not None:
            raise ConfigError("--memory-gb is for trials on this machine; those of --vertex have machines of their own")
        _tune_in_cloud(config, trials, space, jobs, name, assignments or [], root, data_dir, rehearse)
        return
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
    settings.beam.check_local()
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
        progress.begins("importing TensorFlow and TFX")
        from pipeline.tuning.files import write_files
        from pipeline.tuning.report import EXPERIMENT, figures_of_test
        from pipeline.tuning.tune import Order, search

        result = search(Order(start, chosen, trials, jobs, resources, directory), locations, progress)
        write_files(result, directory)
    _say(result, directory)
    if not test:
        return
    keeps(RESULTS_OF_COMPONENTS)
    outcome = run_locally(load_config(directory / EXPERIMENT), locations)
    assert outcome is not None
    figures = figures_of_test(outcome.summary, result)
    write_files(result, directory, figures)
    tested = ", ".join(f"{metric}: {shown(value)}" for metric, value in figures.items())
    typer.echo(f"{result.summary()}; test {tested} with the best, the only one tested")
    if outcome.pushed_to is None:
        raise typer.Exit(NOT_PUSHED)


def _tune_in_cloud(
    config: Path | None,
    trials: int,
    space: Path | None,
    jobs: int,
    name: str | None,
    assignments: list[str],
    root: Path,
    data_dir: Path | None,
    rehearse: bool,
) -> None:
    """Searches with trials that are runs of the compiled pipeline."""
    from pipeline.config import Locations, check_name, parse_assignments, vertex_section
    from pipeline.console import ComponentProgress, output_to
    from pipeline.local.root import occupied
    from pipeline.roots import require_writable
    from pipeline.tuning.defaults import default_space
    from pipeline.tuning.space import Start, read_space, without_pruner

    start = Start.read(config, parse_assignments(assignments))
    section = vertex_section(start.config)
    chosen = without_pruner(read_space(space, start) if space else default_space(start))
    name = start.config.pipeline_name if name is None else name
    check_name(name, "--name")
    locations = Locations.resolve(start.config, root, data_dir)
    directory = locations.root / "tuning" / name
    require_writable(locations.root, "--root")
    require_writable(directory, "--root")
    keeps("trials that have ended are kept, runs go on, and the same command goes on from there")
    with (
        output_to(directory / "log.txt") as console,
        ComponentProgress(console) as progress,
        occupied(locations.root, "tune"),
    ):
        progress.begins("importing TensorFlow and TFX")
        from pipeline.tuning.cloud import CloudOrder, search_in_cloud
        from pipeline.tuning.cloud_runs import RehearsedRuns, VertexRuns
        from pipeline.tuning.files import write_files
        from pipeline.vertex.service import VertexService

        if rehearse:
            from pipeline.synthetic_data import generate_if_missing

            generate_if_missing(start.config, locations.data)
            runs = RehearsedRuns(locations.root / "rehearsal", Path(locations.data), progress)
        else:
            runs = VertexRuns(section, VertexService(section))
        order = CloudOrder(start, chosen, trials, jobs, directory)
        result = search_in_cloud(order, runs, progress, progress.noted, lambda: time.sleep(_SECONDS_BETWEEN_LOOKS))
        write_files(result, directory)
    experiment = _say(result, directory)
    typer.echo(f"test it with: recspan pipeline submit --config {experiment}")


def _say(result: "Result", directory: Path) -> Path:
    """Prints what a search found; returns the file of the best experiment."""
    from pipeline.tuning.report import EXPERIMENT, PAGE

    typer.echo(result.summary())
    typer.echo(f"page: {directory / PAGE}")
    if result.best is None:
        raise typer.Exit(FAILED)
    typer.echo(f"experiment: {directory / EXPERIMENT}")
    return directory / EXPERIMENT
