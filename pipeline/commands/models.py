"""Pushed models: which versions there are, and the way back to an earlier one."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import AsJson, Root

_WIDTH_OF_PIPES = 200


def list_models(root: Root = Path("runs"), as_json: AsJson = False) -> None:
    """List the pushed versions with their metrics; servers take the newest version of each name."""
    from dataclasses import asdict

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from pipeline.pushed_models import pushed_versions

    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width, and what reads it wants whole lines.
        console.width = _WIDTH_OF_PIPES
    versions = list(pushed_versions(root))
    if as_json:
        console.print_json(json.dumps([asdict(each) | {"pushed_at": each.pushed_at.isoformat()} for each in versions]))
        return
    if not versions:
        console.print(f"nothing has been pushed below {root}", markup=False)
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("name", "version", "pushed at (UTC)", "model", "test metrics", ""):
        table.add_column(column, justify="right" if column == "version" else "left")
    for each in versions:
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in each.metrics.items())
        note = ["served"] * each.is_served + [f"copy of {each.copy_of}"] * (each.copy_of is not None)
        table.add_row(
            escape(each.name),
            str(each.version),
            f"{each.pushed_at:%Y-%m-%d %H:%M}",
            each.model,
            metrics,
            ", ".join(note),
        )
    console.print(table)


def rollback(
    name: Annotated[str, typer.Argument(help="Name of the model, as `recspan models list` shows it.")],
    version: Annotated[int, typer.Argument(help="The version to go back to.")],
    root: Root = Path("runs"),
) -> None:
    """Publish an earlier version again under the next number, which servers then take; nothing is removed."""
    from rich.console import Console

    from pipeline.pushed_models import roll_back

    published = roll_back(root, name, version)
    Console(soft_wrap=True, highlight=False).print(f"version {version} is served again as {published}", markup=False)
