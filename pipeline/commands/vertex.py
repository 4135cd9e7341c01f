"""Vertex AI: `pipeline compile`, `submit`, `deploy`, `cost`, `status`, `list` and `cancel`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Assignments, ConfigFile, Root, RuntimeParameters
from trainer_module.errors import ConfigError

RunName = Annotated[str, typer.Argument(help="Of the run, as `pipeline submit` prints it.")]


def compile_pipeline(
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write.")],
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Compile the pipeline for Vertex AI Pipelines; nothing is sent anywhere."""
    from pipeline.config import load_config, parse_assignments
    from pipeline.console import output_to
    from pipeline.roots import require_writable

    settings = load_config(config, parse_assignments(assignments or []))
    with output_to(Path(os.devnull)) as console:
        from pipeline.vertex.compile import compile_job, to_json

        text = to_json(compile_job(settings))
        require_writable(output.parent, "--output")
        output.write_text(text, encoding="utf-8")
        console.print(f"{settings.pipeline_name}: {output}", soft_wrap=True, highlight=False)


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
    from pipeline.console import output_to

    if schedule and run_name:
        raise ConfigError("--run-name is for a single run; with --schedule the service names them")
    settings = load_config(config, parse_assignments(assignments or []))
    with output_to(Path(os.devnull)):
        from components.vertex_deployer.requests import request_json
        from pipeline.vertex.submit import prepare_run, prepare_schedule, send

        given = parameters or []
        request = prepare_schedule(settings, given) if schedule else prepare_run(settings, run_name, given)
    typer.echo(request_json(request) if dry_run else send(settings, request))


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
    from pipeline.console import output_to

    settings = load_config(config, parse_assignments(assignments or []))
    serving = Locations.resolve(settings, root).serving(settings.pipeline_name)
    with output_to(Path(os.devnull)) as console:
        from pipeline.vertex.deploy import deploy_version, plan_version

        if dry_run:
            text = plan_version(settings, model, serving)
        else:
            made = deploy_version(settings, model, serving).as_json()
            text = "\n".join(f"{kind.replace('_', ' ')}: {name}" for kind, name in made.items())
        console.print(text, soft_wrap=True, highlight=False, markup=False)


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
    from pipeline.console import output_to

    if scale != 1 and not like:
        raise ConfigError("--scale multiplies the hours of --like; give that too")
    settings = load_config(config, parse_assignments(assignments or []))
    with output_to(Path(os.devnull)) as console:
        from pipeline.vertex.cost import estimate_run, hours_like, parse_hours, print_estimate

        given, known = parse_hours(hours or []), hours_like(like, scale) if like else {}
        print_estimate(estimate_run(settings, prices, given, known), console)


def status(run_name: RunName, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """Show the state of a run on Vertex AI, and why it failed."""
    from rich.console import Console

    from pipeline.config import load_config, parse_assignments
    from pipeline.vertex.runs import print_run

    print_run(load_config(config, parse_assignments(assignments or [])), run_name, Console(soft_wrap=True))


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


def cancel(run_name: RunName, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """Ask a run on Vertex AI to stop."""
    from pipeline.config import load_config, parse_assignments
    from pipeline.vertex.runs import cancel_run

    cancel_run(load_config(config, parse_assignments(assignments or [])), run_name)
    typer.echo(f"{run_name} was asked to stop")
