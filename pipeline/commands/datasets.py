"""Datasets: `data fetch`, `data inspect`, `data generate`, `data generate-clicks` and
`data generate-days`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import DATA_HOME, DataDir, Seed


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

    directory = data_dir or DATA_HOME / dataset
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


def inspect(
    files: Annotated[list[str], typer.Argument(help="Files of interactions, items and users, or quoted patterns.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Experiment file to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the experiment file if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what files and columns are, warn of common faults, and propose an experiment."""
    from pipeline.inspection.start import inspect_data

    inspect_data(files, output, force, json)


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

    directory = data_dir or DATA_HOME / "synthetic"
    require_place(directory, "--data-dir")
    truth = write_synthetic(directory, num_ratings=ratings, num_users=users, num_items=items, seed=seed)
    typer.echo(f"{ratings} ratings in {directory}; no model can beat an RMSE of {truth.noise_floor:.4f}")


def generate_clicks(
    rows: Annotated[int, typer.Option(min=1000, help="Number of rows.")] = 1_000_000,
    seed: Seed = 0,
    data_dir: DataDir = None,
) -> None:
    """Generate clicks in Criteo's format, whose best reachable log loss and AUC are known."""
    from components.example_gen.generated.clicks import write_synthetic_criteo
    from pipeline.roots import require_place

    directory = data_dir or DATA_HOME / "synthetic-criteo"
    require_place(directory, "--data-dir")
    best = write_synthetic_criteo(directory, rows, seed).test
    typer.echo(
        f"{rows} rows in {directory}; on their test split no model can be expected to beat a log loss of "
        f"{best.log_loss:.4f} and an AUC of {best.auc:.4f}"
    )


def generate_days(
    days: Annotated[int, typer.Option(min=1, max=1000, help="Number of days, one file each.")] = 5,
    rows: Annotated[int, typer.Option(min=1000, help="Rows of a day.")] = 20_000,
    drift_on: Annotated[int, typer.Option(min=0, help="Day whose collector is broken, from 1; 0 breaks none.")] = 4,
    seed: Seed = 0,
    data_dir: DataDir = None,
) -> None:
    """Generate clicks of some days, with new users and items every day and one day that differs from the others."""
    from components.example_gen.generated.days import write_synthetic_days
    from pipeline.roots import require_place

    directory = data_dir or DATA_HOME / "synthetic-days"
    require_place(directory, "--data-dir")
    written = write_synthetic_days(directory, days, rows, drift_on or None, seed)
    typer.echo(f"{len(written)} days of {rows} rows in {directory}; {days - len(written)} were there already")
