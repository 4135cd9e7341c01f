"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

# Below it lie the raw files of known datasets.
DATA_HOME = Path("data")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Experiment file in YAML, or a preset's name; without it, movielens-100k-ranking."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all random numbers.")]
Root = Annotated[Path, typer.Option(help="Directory for artifacts, logs and pushed models.")]
DataDir = Annotated[Path | None, typer.Option(help="Directory of the raw files; data/NAME OF THE FILES if not given.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in training.epochs=3."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RuntimeParameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="KEY=VALUE", help="Runtime parameter, as in train_steps=5000."),
]
