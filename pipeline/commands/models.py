"""Pushed models: which versions there are, and the way back to an earlier one."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.options import AsJson, Root
from trainer_module.errors import ConfigError

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


def export_items(
    name: Annotated[str, typer.Argument(help="Name of a retrieval model, as `recspan models list` shows it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write; must not be there.")],
    version: Annotated[int | None, typer.Option(help="Whose items are exported; the newest if not given.")] = None,
    since: Annotated[
        int | None, typer.Option(metavar="VERSION", help="Export only what differs from this version's items.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Distance of vectors that are the same.")] = 0.0,
    distance: Annotated[
        Literal["max-abs", "cosine"],
        typer.Option(help="Largest difference of a number, or 1 minus the cosine."),
    ] = "max-abs",
    root: Root = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write items' vectors as Vertex AI Vector Search imports them: all, or what has changed since a version."""
    if since is None and tolerance:
        raise ConfigError("models export-items: --tolerance goes with --since")
    if "://" in str(output) or ":/" in str(output):
        raise ConfigError(f"--output {output}: expected a local directory; copy it to the bucket with gcloud storage")
    from dataclasses import asdict

    from rich.console import Console

    from pipeline.pushed_models import items_of

    newer = items_of(root, name, version)
    earlier = None if since is None else items_of(root, name, since)
    if earlier == newer:
        raise ConfigError(f"--since {since} is the version that is exported; name an earlier one")
    from components.retrieval_index.vertex_delta import write_delta

    delta = write_delta(newer, earlier, output, tolerance, distance)
    console = Console(soft_wrap=True, highlight=False)
    if as_json:
        written = None if delta.is_empty else str(output)
        console.print_json(json.dumps(asdict(delta) | {"directory": written, "items": str(newer.path)}))
    elif delta.is_empty:
        console.print(f"no item differs from version {since}; nothing is written", markup=False)
    elif since is None:
        console.print(f"{delta.new} items in {output}", markup=False)
    else:
        console.print(
            f"{delta.new} new, {delta.changed} changed and {delta.removed} removed items in {output}; "
            f"{delta.unchanged} are as in version {since}",
            markup=False,
        )
