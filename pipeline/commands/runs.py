"""Runs on this machine: `pipeline run` and `pipeline rehearse`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Assignments, ConfigFile, DataDir, Root, RuntimeParameters
from pipeline.exit_codes import NOT_PUSHED
from pipeline.interruption import RESULTS_OF_COMPONENTS, keeps
from trainer_module.errors import ConfigError


def run(
    config: ConfigFile = None,
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=...")] = None,
    split: Annotated[str | None, typer.Option(help="Short for --set data.split.by=...")] = None,
    max_bad_rows: Annotated[int | None, typer.Option(help="Short for --set data.max_bad_rows=...")] = None,
    memory_gb: Annotated[
        float | None, typer.Option(help="Memory that the run may use, in GB; 80% of this machine's if not given.")
    ] = None,
    assignments: Assignments = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
    cache: Annotated[bool, typer.Option(help="Answer unchanged steps from earlier runs.")] = True,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Run on one span of the files after the other, as they arrive.")
    ] = False,
    first_span: Annotated[
        str | None,
        typer.Option(help="With --continuous: number or date of the span to begin with; the newest if not given."),
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="With --continuous: end when no span is left.")
    ] = False,
    poll_seconds: Annotated[
        float, typer.Option(min=0, help="With --continuous: between two looks at the files, and for them to settle.")
    ] = 60,
) -> None:
    """Run everything from raw files to a pushed model; exits with 3 if the model was not good enough to push."""
    if not continuous and (first_span or until_idle):
        raise ConfigError("--first-span and --until-idle belong to --continuous; add it, or leave them out")
    from pipeline.config import Locations, load_config, parse_assignments
    from pipeline.local.run import run_locally

    keeps(RESULTS_OF_COMPONENTS)
    shortcuts = {
        "data.dataset": dataset,
        "data.split.by": split,
        "data.max_bad_rows": max_bad_rows,
        "memory_gb": memory_gb,
    }
    overrides = {key: value for key, value in shortcuts.items() if value is not None}
    overrides |= parse_assignments(assignments or [])
    if not cache:
        overrides["cache"] = False
    settings = load_config(config, overrides)
    locations = Locations.resolve(settings, root, data_dir)
    if continuous:
        from pipeline.continuous.start import watch

        named = {"--config": config, "--root": root, "--data-dir": data_dir}
        arguments = [part for option, path in named.items() if path is not None for part in (option, str(path))]
        raise typer.Exit(watch(settings, locations, arguments, overrides, first_span, poll_seconds, until_idle))
    outcome = run_locally(settings, locations)
    if outcome is None or outcome.pushed_to is None:
        raise typer.Exit(NOT_PUSHED)


def rehearse(
    config: ConfigFile = None,
    spec: Annotated[
        Path | None, typer.Option(help="What `pipeline compile` has written, instead of an experiment file.")
    ] = None,
    assignments: Assignments = None,
    parameters: RuntimeParameters = None,
    root: Annotated[
        Path, typer.Option(help="Directory for what stands for the buckets, logs and pushed models.")
    ] = Path("runs/rehearsal"),
    data_dir: DataDir = None,
) -> None:
    """Run the compiled pipeline here, task by task as Vertex AI would; exits with 3 if no model was pushed."""
    if spec and (config or assignments):
        raise ConfigError("--spec is compiled already; give it without --config and --set")
    from pipeline.config import load_config, parse_assignments
    from pipeline.rehearsal.start import rehearse_experiment, rehearse_file

    given = parameters or []
    if spec:
        outcome = rehearse_file(spec, root, data_dir, given)
    else:
        outcome = rehearse_experiment(load_config(config, parse_assignments(assignments or [])), root, data_dir, given)
    if outcome.pushed_to is None:
        raise typer.Exit(NOT_PUSHED)


def combine(
    retrieval: Annotated[Path, typer.Option(help="A pushed version of a retrieval model.")],
    ranking: Annotated[Path, typer.Option(help="A pushed version of a ranking model of the same tables.")],
    name: Annotated[str, typer.Option(help="Name of the whole; versions lie in ROOT/serving/NAME.")] = "two-stage",
    candidates: Annotated[int, typer.Option(min=1, help="Items that are ranked for each query.")] = 100,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Length of the lists that are judged.")] = 10,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Put a retrieval and a ranking model into one SavedModel; exits with 3 if ranking makes its lists worse."""
    if k > candidates:
        raise ConfigError(f"-k {k}: lists cannot be longer than --candidates {candidates}")
    from pipeline.config import check_name
    from pipeline.console import output_to

    check_name(name, "--name")

    with output_to(Path(os.devnull)) as console:
        # Imports TensorFlow.
        from pipeline.two_stage.combine import combine as combine_models

        combined = combine_models(retrieval, ranking, root.absolute() / "serving" / name, candidates, k, data_dir)
        judged = combined.judgement
        low, high = judged.difference
        console.print(
            f"nDCG@{judged.k} over {judged.num_queries} queries: both stages {judged.whole:.4f}, retrieval alone "
            f"{judged.retrieval:.4f}, difference from {low:+.4f} to {high:+.4f} (95%)",
            soft_wrap=True,
            highlight=False,
        )
        if combined.pushed_to is None:
            console.print("not pushed: ranking makes the lists worse", highlight=False)
            raise typer.Exit(NOT_PUSHED)
        console.print(f"pushed to {combined.pushed_to}", soft_wrap=True, highlight=False)
