"""The environment and its hardware: `doctor` and `plan`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Assignments, ConfigFile, Root
from pipeline.exit_codes import FAILED


def doctor() -> None:
    """Check that this machine and environment can run the product; exits with 1 if not."""
    from rich.console import Console

    from pipeline.doctor import print_report, run_checks

    if not print_report(run_checks(), Console()):
        raise typer.Exit(FAILED)


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
