"""Questions to pushed models."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import AsJson, DataDir, Root
from trainer_module.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.beam import BeamOptions

Values = Annotated[
    list[str] | None,
    typer.Option("--value", metavar="NAME=TEXT", help="An attribute or the context of the request; may be repeated."),
]
History = Annotated[
    str | None, typer.Option("--history", metavar="ITEM,ITEM", help="Items that the user had, the latest last.")
]


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
    from pipeline.ask.versions import last_pushed
    from pipeline.console import output_to

    version = model or last_pushed(root)
    with output_to(Path(os.devnull)) as console:
        # Imports TensorFlow.
        from pipeline.ask.answers import predict_one

        predict_one(console, version, data_dir, user, item, values or (), history, as_json)


def recommend(
    users: Annotated[list[str] | None, typer.Option("--user", help="Identifier of a user; may be repeated.")] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Every user of the dataset.")] = False,
    output: Annotated[Path | None, typer.Option(help="Parquet file to write; needed with --all-users.")] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="With --all-users: number of files; with several, --output is their directory.")
    ] = 1,
    k: Annotated[int, typer.Option("-k", min=1, help="Items per user.")] = 10,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen", help="Leave out what the user knows.")] = False,
    values: Values = None,
    history: History = None,
    as_json: AsJson = False,
    model: Annotated[Path | None, typer.Option(help="A pushed version; the last retrieval model if not given.")] = None,
    rank: Annotated[bool, typer.Option("--rank", help="Order the items by the last pushed ranking model.")] = False,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="With --all-users: a key of section beam, as in beam.workers=2."
        ),
    ] = None,
) -> None:
    """Recommend items with a pushed retrieval model."""
    if bool(users) == all_users or all_users != (output is not None):
        raise ConfigError("recommend: give --user ID, or --all-users with --output FILE")
    if shards > 1 and not all_users:
        raise ConfigError("recommend: --shards goes with --all-users")
    if assignments and not all_users:
        raise ConfigError("recommend: --set goes with --all-users, as it says where that job runs")
    if all_users and (rank or as_json or values or history):
        raise ConfigError("recommend: --rank, --json, --value and --history go with --user")
    runner = _runner(assignments or ())
    from pipeline.ask.versions import last_pushed
    from pipeline.console import ComponentProgress, output_to

    version = model or last_pushed(root, retrieval=True)
    ranker = last_pushed(root) if rank else None
    with output_to(Path(os.devnull)) as console:
        # Imports TensorFlow.
        from pipeline.ask.answers import recommend_each
        from pipeline.ask.recommend_all import recommend_all

        if output is not None:
            with ComponentProgress(console) as progress:
                progress.begins("recommending to all users")
                count = recommend_all(version, output, k, exclude_seen, runner, data_dir, shards)
            console.print(f"{count} recommendations in {output}", soft_wrap=True, highlight=False)
            return
        recommend_each(console, version, ranker, data_dir, users or [], k, exclude_seen, values or (), history, as_json)


def explain(
    user: Annotated[str | None, typer.Option(help="Identifier of the user.")] = None,
    item: Annotated[str | None, typer.Option(help="Identifier of the item.")] = None,
    values: Values = None,
    history: History = None,
    top: Annotated[int, typer.Option("-n", min=1, help="Number of values that are shown.")] = 15,
    as_json: AsJson = False,
    model: Annotated[Path | None, typer.Option(help="A pushed version; the last ranking model if not given.")] = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Show what each value adds to a prediction, or to an item's score in a retrieval model."""
    from pipeline.ask.versions import last_pushed
    from pipeline.console import output_to

    version = model or last_pushed(root)
    with output_to(Path(os.devnull)) as console:
        # Imports TensorFlow.
        from pipeline.ask.explanations import explain_one

        explain_one(console, version, data_dir, user, item, values or (), history, top, as_json)


def neighbours(
    item: Annotated[str, typer.Option(help="Identifier of the item.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of items.")] = 10,
    as_json: AsJson = False,
    model: Annotated[Path | None, typer.Option(help="A pushed version; the last retrieval model if not given.")] = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Show the items that a retrieval model takes for the most similar ones."""
    from pipeline.ask.versions import last_pushed
    from pipeline.console import output_to

    version = model or last_pushed(root, retrieval=True)
    with output_to(Path(os.devnull)) as console:
        # Imports TensorFlow.
        from pipeline.ask.explanations import list_neighbours

        list_neighbours(console, version, data_dir, item, k, as_json)


def _runner(assignments: Iterable[str]) -> "BeamOptions":
    """Returns the section `beam` that assignments such as `beam.runner=flink` describe."""
    from pipeline.config import load_config, parse_assignments

    overrides = parse_assignments(assignments)
    if foreign := [key for key in overrides if not key.startswith("beam.")]:
        raise ConfigError(f"--set {foreign[0]}: recommend takes keys of the section beam only, as in beam.runner=flink")
    section = load_config(overrides=overrides).beam
    if section.components:
        raise ConfigError("--set beam.components: recommend is one job and no component; leave the key out")
    section.check_local()
    return section
