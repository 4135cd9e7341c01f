"""Runs on this machine: `pipeline run`, `rehearse`, `combine` and `stages`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Assignments, ConfigFile, DataDir, Root, RuntimeParameters
from pipeline.exit_codes import NOT_PUSHED
from pipeline.interruption import RESULTS_OF_COMPONENTS, keeps
from trainer_module.errors import ConfigError


class Search(StrEnum):
    """How candidates are found."""

    EXACT = "exact"
    APPROXIMATE = "approximate"


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
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="With --continuous: a span that was refused for its drift, to be run on again and let through; later "
            "refused ones and the last one are run on again, too. May be repeated."
        ),
    ] = None,
    poll_seconds: Annotated[
        float, typer.Option(min=0, help="With --continuous: between two looks at the files, and for them to settle.")
    ] = 60,
) -> None:
    """Run everything from raw files to a pushed model; exits with 3 if the model was not good enough to push."""
    if not continuous and (first_span or until_idle or accept):
        raise ConfigError("--first-span, --accept and --until-idle belong to --continuous; add it, or leave them out")
    from pipeline.config import Locations, experiment_tree, load_config, parse_assignments
    from pipeline.local.run import run_locally
    from pipeline.two_stage.config import is_two_stage, two_stage_config
    from pipeline.two_stage.run import run_two_stage

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
    if not continuous and is_two_stage(tree := experiment_tree(config, overrides)):
        outcome = run_two_stage(two_stage_config(tree, f"{config}: " if config else ""), root, data_dir)
    else:
        settings = load_config(config, overrides)
        locations = Locations.resolve(settings, root, data_dir)
        if continuous:
            from pipeline.continuous.start import watch

            named = {"--config": config, "--root": root, "--data-dir": data_dir}
            arguments = [part for option, path in named.items() if path is not None for part in (option, str(path))]
            code = watch(settings, locations, arguments, overrides, first_span, poll_seconds, until_idle, accept or ())
            raise typer.Exit(code)
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
    answers: Annotated[
        Path | None,
        typer.Option(help="Directory with interactions.parquet, items.csv and so on: answers of queries to BigQuery."),
    ] = None,
) -> None:
    """Run the compiled pipeline here, task by task as Vertex AI would; exits with 3 if no model was pushed."""
    if spec and (config or assignments):
        raise ConfigError("--spec is compiled already; give it without --config and --set")
    from pipeline.config import load_config, parse_assignments
    from pipeline.rehearsal.start import rehearse_experiment, rehearse_file

    given = parameters or []
    if spec:
        outcome = rehearse_file(spec, root, data_dir, given, answers)
    else:
        settings = load_config(config, parse_assignments(assignments or []))
        outcome = rehearse_experiment(settings, root, data_dir, given, answers)
    if outcome.pushed_to is None:
        raise typer.Exit(NOT_PUSHED)


def combine(
    retrieval: Annotated[Path, typer.Option(help="A pushed version of a retrieval model.")],
    ranking: Annotated[Path, typer.Option(help="A pushed version of a ranking model of the same tables.")],
    name: Annotated[str, typer.Option(help="Name of the whole; versions lie in ROOT/serving/NAME.")] = "two-stage",
    candidates: Annotated[int, typer.Option(min=1, help="Items that are ranked for each query.")] = 100,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Length of the lists that are judged.")] = 10,
    search: Annotated[
        Search, typer.Option(help="How candidates are found; approximate needs an index of type ivf.")
    ] = Search.EXACT,
    retrieval_weight: Annotated[
        float, typer.Option(min=0, help="Weight of the retrieval score beside the ranking score.")
    ] = 0.0,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Put a retrieval and a ranking model into one SavedModel; exits with 3 if ranking makes its lists worse."""
    if k > candidates:
        raise ConfigError(f"-k {k}: lists cannot be longer than --candidates {candidates}")
    from pipeline.config import check_name
    from pipeline.two_stage.config import TwoStageOptions
    from pipeline.two_stage.run import run_combination

    check_name(name, "--name")
    options = TwoStageOptions(candidates=candidates, k=k, search=search.value, retrieval_weight=retrieval_weight)
    if run_combination(retrieval, ranking, options, name, root, data_dir).pushed_to is None:
        raise typer.Exit(NOT_PUSHED)


def write_stages(
    config: Annotated[Path, typer.Option("--config", help="Experiment of two stages, or a preset's name.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the two files.")],
    assignments: Assignments = None,
) -> None:
    """Write each stage of an experiment to a file of its own, which every other command takes."""
    import yaml

    from pipeline.config import experiment_tree, parse_assignments
    from pipeline.two_stage.config import is_two_stage, stage_tree, two_stage_config

    tree = experiment_tree(config, parse_assignments(assignments or []))
    if not is_two_stage(tree):
        raise ConfigError(f"{config}: model.type is not two_stage, so that there are no stages to write")
    settings = two_stage_config(tree, f"{config}: ")
    output.mkdir(parents=True, exist_ok=True)
    for stage in settings.stages:
        own = stage_tree(tree, stage)
        if isinstance(own, str):
            typer.echo(f"{stage}: {own} is there already")
            continue
        file = output / f"{settings.name}-{stage}.yaml"
        file.write_text(yaml.safe_dump(own | {"name": f"{settings.name}-{stage}"}, sort_keys=False, allow_unicode=True))
        typer.echo(f"{stage}: {file}")
