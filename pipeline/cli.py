"""The `recspan` command: parses, calls, and turns errors into messages and exit codes.

TensorFlow and TFX take seconds to import, so each verb imports what it needs only when it runs.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.interruption import FAILED, RESULTS_OF_COMPONENTS, end_when_asked_to, exit_code, keeps
from pipeline.streams import prepare_streams
from trainer_module.errors import ConfigError, RecspanError

NOT_PUSHED = 3

app = typer.Typer(
    help="Recommenders with large embedding tables, from raw ratings to a pushed model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Get or generate datasets.", no_args_is_help=True)
pipeline_app = typer.Typer(help="Run the pipeline, here or on Vertex AI.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(pipeline_app, name="pipeline")

_DATA_HOME = Path("data")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Experiment file in YAML, or a preset's name; without it, movielens-100k-ranking."),
]
Root = Annotated[Path, typer.Option(help="Directory for artifacts, logs and pushed models.")]
DataDir = Annotated[Path | None, typer.Option(help="Directory of the raw files; data/NAME OF THE FILES if not given.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in training.epochs=3."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all random numbers.")]


def main() -> None:
    """Runs the command line.

    A failure prints one message and exits with 1. Nothing else turns exceptions into messages; tracebacks go to a log.
    A command that is asked to stop exits with 75 (SIGTERM) or 130 (Ctrl-C).
    """
    prepare_streams()
    end_when_asked_to()
    try:
        app()
    except BrokenPipeError:
        # The reader of a pipe has ended, as in `recspan ... | head`; Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        sys.exit(_fail(error))


def _fail(error: Exception) -> int:
    """Prints the message of an exception and returns the exit code."""
    from rich.console import Console

    from pipeline.failures import describe, write_traceback

    message = str(error) if isinstance(error, RecspanError) else describe(error)
    if not isinstance(error, RecspanError):
        log = write_traceback(error)
        message += f"\n(log: {log})" if log else "\n(no directory for a log can be written to; set XDG_STATE_HOME)"
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("[bold red]error:[/bold red]", end=" ")
    console.print(message, markup=False)
    return exit_code(error)


@app.command()
def doctor() -> None:
    """Check that this machine and environment can run the product; exits with 1 if not."""
    from rich.console import Console

    from pipeline.doctor import print_report, run_checks

    if not print_report(run_checks(), Console()):
        raise typer.Exit(FAILED)


Values = Annotated[
    list[str] | None,
    typer.Option("--value", metavar="NAME=TEXT", help="An attribute or the context of the request; may be repeated."),
]
History = Annotated[
    str | None, typer.Option("--history", metavar="ITEM,ITEM", help="Items that the user had, the latest last.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def predict(
    user: Annotated[str | None, typer.Option(help="Identifier of the user.")] = None,
    item: Annotated[str | None, typer.Option(help="Identifier of the item.")] = None,
    values: Values = None,
    history: History = None,
    as_json: AsJson = False,
    model: Annotated[Path | None, typer.Option(help="A pushed version; the last one if not given.")] = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Predict one rating, or the probability of one click, with a pushed model."""
    from pipeline.console import chatter_to

    with chatter_to(Path(os.devnull)) as console:
        from pipeline.ask.answers import predict_one
        from pipeline.ask.versions import last_pushed

        predict_one(console, model or last_pushed(root), data_dir, user, item, values or (), history, as_json)


@app.command()
def recommend(
    users: Annotated[list[str] | None, typer.Option("--user", help="Identifier of a user; may be repeated.")] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Every user of the dataset.")] = False,
    output: Annotated[Path | None, typer.Option(help="Parquet file to write; needed with --all-users.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items per user.")] = 10,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen", help="Leave out what the user knows.")] = False,
    values: Values = None,
    history: History = None,
    as_json: AsJson = False,
    model: Annotated[Path | None, typer.Option(help="A pushed version; the last retrieval model if not given.")] = None,
    rank: Annotated[bool, typer.Option("--rank", help="Order the items by the last pushed ranking model.")] = False,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Recommend items with a pushed retrieval model."""
    if bool(users) == all_users or all_users != (output is not None):
        raise ConfigError("recommend: give --user ID, or --all-users with --output FILE")
    if all_users and (rank or as_json or values or history):
        raise ConfigError("recommend: --rank, --json, --value and --history go with --user")
    from pipeline.console import chatter_to

    with chatter_to(Path(os.devnull)) as console:
        from pipeline.ask.answers import recommend_each
        from pipeline.ask.recommend import recommend_all
        from pipeline.ask.versions import last_pushed

        version = model or last_pushed(root, retrieval=True)
        if output is not None:
            count = recommend_all(version, output, k, exclude_seen, data_dir)
            console.print(f"{count} recommendations in {output}", soft_wrap=True, highlight=False)
            return
        ranker = last_pushed(root) if rank else None
        recommend_each(console, version, ranker, data_dir, users or [], k, exclude_seen, values or (), history, as_json)


@app.command()
def plan(
    config: ConfigFile = None,
    tpu: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Slice, as in v4-8; may be repeated.")] = None,
    tables: Annotated[
        Path | None, typer.Option(help="Tables that have no data yet: a YAML file, or the name criteo-1tb.")
    ] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE", help="Held by the export route `subset`; the largest table if not given."),
    ] = None,
    assignments: Assignments = None,
    root: Root = Path("runs"),
    transform_graph: Annotated[
        Path | None, typer.Option(help="Where the rows are counted; the newest one below --root if not given.")
    ] = None,
) -> None:
    """Show where embedding tables go on TPU slices, what they need and whether they fit."""
    from pipeline.config import parse_assignments
    from pipeline.planning.report import report_plans

    report_plans(
        tpu or [],
        parse_assignments(assignments or []),
        table_set=tables,
        experiment=config,
        root=root,
        transform_graph=transform_graph,
        subset=subset or [],
    )


@data_app.command()
def fetch(
    dataset: Annotated[str, typer.Argument(help="movielens-100k, -1m, -10m, -20m, -25m, -32m or -latest-small.")],
    source: Annotated[
        str | None, typer.Option(help="Directory, zip file or URL to take it from, instead of the known ones.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Download a dataset into a checksummed cache, or verify what is there."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from components.example_gen.sources import fetch as fetch_dataset
    from pipeline.roots import require_place

    directory = data_dir or _DATA_HOME / dataset
    require_place(directory, "--data-dir")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), transient=True, disable=not sys.stdout.isatty()
    ) as bar:
        task = bar.add_task("downloading", total=None)
        fetch_dataset(
            dataset,
            directory,
            source=source,
            report=lambda line: bar.console.print(line, highlight=False, markup=False, soft_wrap=True),
            progress=lambda received, total: bar.update(task, completed=received, total=total),
        )


@data_app.command()
def inspect(
    files: Annotated[list[str], typer.Argument(help="Files of interactions, items and users, or quoted patterns.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Experiment file to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the experiment file if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what files and columns are, warn of common faults, and propose an experiment."""
    from pipeline.inspection.start import inspect_data

    inspect_data(files, output, force, json)


@data_app.command()
def generate(
    ratings: Annotated[int, typer.Option(min=1000, help="Number of ratings.")] = 100_000,
    users: Annotated[int, typer.Option(min=10)] = 943,
    items: Annotated[int, typer.Option(min=10)] = 1682,
    seed: Seed = 0,
    data_dir: DataDir = None,
) -> None:
    """Generate the synthetic dataset, whose best reachable RMSE is known."""
    from components.example_gen.generated.ratings import write_synthetic
    from pipeline.roots import require_place

    directory = data_dir or _DATA_HOME / "synthetic"
    require_place(directory, "--data-dir")
    truth = write_synthetic(directory, num_ratings=ratings, num_users=users, num_items=items, seed=seed)
    typer.echo(f"{ratings} ratings in {directory}; no model can beat an RMSE of {truth.noise_floor:.4f}")


@data_app.command()
def generate_clicks(
    rows: Annotated[int, typer.Option(min=1000, help="Number of rows.")] = 1_000_000,
    seed: Seed = 0,
    data_dir: DataDir = None,
) -> None:
    """Generate clicks in Criteo's format, whose best reachable log loss and AUC are known."""
    from components.example_gen.generated.clicks import write_synthetic_criteo
    from pipeline.roots import require_place

    directory = data_dir or _DATA_HOME / "synthetic-criteo"
    require_place(directory, "--data-dir")
    best = write_synthetic_criteo(directory, rows, seed).test
    typer.echo(
        f"{rows} rows in {directory}; on their test split no model can be expected to beat a log loss of "
        f"{best.log_loss:.4f} and an AUC of {best.auc:.4f}"
    )


@pipeline_app.command()
def run(
    config: ConfigFile = None,
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=...")] = None,
    split: Annotated[str | None, typer.Option(help="Short for --set data.split.by=...")] = None,
    max_bad_rows: Annotated[int | None, typer.Option(help="Short for --set data.max_bad_rows=...")] = None,
    assignments: Assignments = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
    cache: Annotated[bool, typer.Option(help="Answer unchanged steps from earlier runs.")] = True,
) -> None:
    """Run everything from raw files to a pushed model; exits with 3 if the model was not good enough to push."""
    from pipeline.config import Locations, load_config, parse_assignments
    from pipeline.local.run import run_locally

    keeps(RESULTS_OF_COMPONENTS)
    shortcuts = {"data.dataset": dataset, "data.split.by": split, "data.max_bad_rows": max_bad_rows}
    overrides = {key: value for key, value in shortcuts.items() if value is not None}
    overrides |= parse_assignments(assignments or [])
    if not cache:
        overrides["cache"] = False
    settings = load_config(config, overrides)
    outcome = run_locally(settings, Locations.resolve(settings, root, data_dir))
    if outcome is None or outcome.pushed_to is None:
        raise typer.Exit(NOT_PUSHED)


@pipeline_app.command("compile")
def compile_pipeline(
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write.")],
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Compile the pipeline for Vertex AI Pipelines; nothing is sent anywhere."""
    from pipeline.config import load_config, parse_assignments
    from pipeline.console import chatter_to
    from pipeline.roots import require_writable

    settings = load_config(config, parse_assignments(assignments or []))
    with chatter_to(Path(os.devnull)) as console:
        from pipeline.vertex.compile import compile_job, to_json

        text = to_json(compile_job(settings))
        require_writable(output.parent, "--output")
        output.write_text(text, encoding="utf-8")
        console.print(f"{settings.pipeline_name}: {output}", soft_wrap=True, highlight=False)


RuntimeParameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="KEY=VALUE", help="Runtime parameter, as in train_steps=5000."),
]
RunName = Annotated[str, typer.Argument(help="Of the run, as `pipeline submit` prints it.")]


@pipeline_app.command()
def submit(
    config: ConfigFile = None,
    assignments: Assignments = None,
    run_name: Annotated[str | None, typer.Option(help="Of the run; the pipeline's with the time if not given.")] = None,
    parameters: RuntimeParameters = None,
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Create the schedule of vertex.schedule instead.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the request as JSON and send nothing.")] = False,
) -> None:
    """Compile the pipeline and start it on Vertex AI, now or on a schedule."""
    from pipeline.config import load_config, parse_assignments
    from pipeline.console import chatter_to

    if schedule and run_name:
        raise ConfigError("--run-name is for a single run; with --schedule the service names them")
    settings = load_config(config, parse_assignments(assignments or []))
    with chatter_to(Path(os.devnull)):
        from components.vertex_deployer.requests import request_json
        from pipeline.vertex.submit import prepare_run, prepare_schedule, send

        given = parameters or []
        request = prepare_schedule(settings, given) if schedule else prepare_run(settings, run_name, given)
    typer.echo(request_json(request) if dry_run else send(settings, request))


@pipeline_app.command()
def deploy(
    config: ConfigFile = None,
    assignments: Assignments = None,
    model: Annotated[
        str | None, typer.Option(metavar="URI", help="A pushed version; the last one in the bucket if not given.")
    ] = None,
    root: Root = Path("runs"),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the requests as JSON, of the last local version, and send nothing."),
    ] = False,
) -> None:
    """Deploy a pushed version on Vertex AI: Model Registry, Endpoint, Vector Search."""
    from pipeline.config import Locations, load_config, parse_assignments
    from pipeline.console import chatter_to

    settings = load_config(config, parse_assignments(assignments or []))
    serving = Locations.resolve(settings, root).serving(settings.pipeline_name)
    with chatter_to(Path(os.devnull)) as console:
        from pipeline.vertex.deploy import deploy_version, plan_version

        if dry_run:
            text = plan_version(settings, model, serving)
        else:
            made = deploy_version(settings, model, serving).as_json()
            text = "\n".join(f"{kind.replace('_', ' ')}: {name}" for kind, name in made.items())
        console.print(text, soft_wrap=True, highlight=False, markup=False)


@pipeline_app.command()
def cost(
    prices: Annotated[Path, typer.Option(help="YAML file with your prices; prices.example.yaml shows how.")],
    config: ConfigFile = None,
    assignments: Assignments = None,
    hours: Annotated[
        list[str] | None, typer.Option(metavar="COMPONENT=HOURS", help="How long a component takes; may be repeated.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="The summary.json of a local run, for the other components.")
    ] = None,
    scale: Annotated[float, typer.Option(min=0, help="How many times as long as --like each component takes.")] = 1.0,
) -> None:
    """Estimate what a run on Vertex AI costs, component by component; nothing is sent anywhere."""
    from pipeline.config import load_config, parse_assignments
    from pipeline.console import chatter_to

    if scale != 1 and not like:
        raise ConfigError("--scale multiplies the hours of --like; give that too")
    settings = load_config(config, parse_assignments(assignments or []))
    with chatter_to(Path(os.devnull)) as console:
        from pipeline.vertex.cost import estimate_run, hours_like, parse_hours, print_estimate

        given, known = parse_hours(hours or []), hours_like(like, scale) if like else {}
        print_estimate(estimate_run(settings, prices, given, known), console)


@pipeline_app.command()
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


@pipeline_app.command()
def status(run_name: RunName, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """Show the state of a run on Vertex AI, and why it failed."""
    from rich.console import Console

    from pipeline.config import load_config, parse_assignments
    from pipeline.vertex.runs import print_run

    print_run(load_config(config, parse_assignments(assignments or [])), run_name, Console(soft_wrap=True))


@pipeline_app.command("list")
def list_runs(
    config: ConfigFile = None,
    assignments: Assignments = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of runs.")] = 20,
) -> None:
    """List the latest runs on Vertex AI."""
    from rich.console import Console

    from pipeline.config import load_config, parse_assignments
    from pipeline.vertex.runs import print_runs

    print_runs(load_config(config, parse_assignments(assignments or [])), limit, Console())


@pipeline_app.command()
def cancel(run_name: RunName, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """Ask a run on Vertex AI to stop."""
    from pipeline.config import load_config, parse_assignments
    from pipeline.vertex.runs import cancel_run

    cancel_run(load_config(config, parse_assignments(assignments or [])), run_name)
    typer.echo(f"{run_name} was asked to stop")
