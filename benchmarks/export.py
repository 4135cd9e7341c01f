"""Measures peak memory and time of every export route and compares peak memory with the forecast.

python -m benchmarks.export --gigabytes 4
"""

import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import tensorflow as tf
import typer

from benchmarks.machine import measured_on
from trainer_module.blueprint import Blueprint
from trainer_module.data.features import Categorical, FeatureSpec, Label, Table
from trainer_module.data.inputs import ModelInputs
from trainer_module.data.spec import DatasetSpec
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.initializers import Uniform
from trainer_module.experiment import Experiment
from trainer_module.export.config import ExportConfig
from trainer_module.export.routes import Trained, export, make_forecast
from trainer_module.models.objectives import Rating
from trainer_module.optimizers.config import Adagrad
from trainer_module.training.config import TrainingConfig
from trainer_module.training.split_optimizer import SplitOptimizer

_RESULT = Path(__file__).parent / "results" / "export.md"
_TABLES, _DIM = 4, 32
_ROUTES = ("checkpoint", "direct", "subset")
_LIMIT = 1.3

app = typer.Typer(add_completion=False)


@app.command()
def main(
    gigabytes: Annotated[float, typer.Option(help="Total size of the tables, in 10^9 bytes.", min=0.01)] = 4.0,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
    route: Annotated[str, typer.Option(help="Route to measure in this process; internal.", hidden=True)] = "",
    scratch: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Write a checkpoint, export it by every route, print a table and write it to a file."""
    blueprint = _blueprint(gigabytes)
    if route:
        print(json.dumps(_measure(route, blueprint, Path(scratch))))
        return
    measured = {}
    with tempfile.TemporaryDirectory() as directory:
        # The process with the training model runs first: it writes the checkpoint for the others.
        for each in ("direct", "checkpoint", "subset"):
            command = [sys.executable, "-m", "benchmarks.export", "--gigabytes", str(gigabytes), "--route", each]
            process = subprocess.run([*command, "--scratch", directory], stdout=subprocess.PIPE, text=True, check=True)
            measured[each] = json.loads(process.stdout.splitlines()[-1])
            print(each, measured[each], file=sys.stderr)
    table = _table(gigabytes, measured)
    print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table + "\n")


def _blueprint(gigabytes: float) -> Blueprint:
    names = [f"feature{number}" for number in range(_TABLES)]
    spec = FeatureSpec(
        columns=(*(Categorical(name=name, dtype="int64", table=name) for name in names), Label(name="rating")),
        tables=tuple(Table(name=name) for name in names),
    )
    rows = int(gigabytes * 1e9 / _TABLES / _DIM / 4)
    experiment = Experiment(
        dataset=DatasetSpec(name="small", features=spec),
        embeddings=EmbeddingsConfig(dim=_DIM, initializer=Uniform(limit=0.1)),
        training=TrainingConfig(embedding_optimizer=Adagrad(learning_rate=0.1)),
    )
    return Blueprint(experiment, spec, dict.fromkeys(names, rows), Rating((1.0, 5.0)))


def _measure(route: str, blueprint: Blueprint, scratch: Path) -> dict:
    """Exports by one route and returns its memory use and time."""
    logging.basicConfig(level=logging.INFO)
    names = [column.name for column in blueprint.spec.categorical]
    features = {name: tf.constant([[0], [1]], tf.int64) for name in names}
    trained = Trained(str(scratch / "checkpoint"))
    if route == "direct":
        trained = _train(blueprint, features, trained.checkpoint)
    config = ExportConfig(route=route, features=(names[0],) if route == "subset" else ())
    model_inputs = ModelInputs(blueprint.spec, lambda ids: ids)
    slots = make_forecast(config, blueprint).slot_bytes if route == "direct" else 0
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        report = export(config, blueprint, trained, model_inputs, features, directory)
    return dataclasses.asdict(report) | {"slot_bytes": slots}


def _train(blueprint: Blueprint, features: dict[str, tf.Tensor], checkpoint: str) -> Trained:
    """Creates a trained model with all optimizer slots, and a checkpoint of both."""
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    model, optimizer = blueprint.for_training(strategy, 3.0)
    strategy.run(tf.function(model), args=(features,))
    with strategy.scope():
        optimizer.make_slots(model.trainable_variables, model.embedding.trainable_tables)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.per_example_loss(features, tf.constant([1.0, 5.0]), tf.constant([0, 0])))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables, model.embedding.trainable_tables)

    # After a sparse update, TensorFlow copies a table on every dense read. The measurement must include this.
    strategy.run(step)
    tf.train.Checkpoint(model=model, optimizer=optimizer).write(checkpoint)
    return _Kept(checkpoint, model, strategy, optimizer)


@dataclasses.dataclass(frozen=True)
class _Kept(Trained):
    """Keeps the optimizer and its slots in memory, as the Trainer does."""

    optimizer: SplitOptimizer | None = None


def _table(gigabytes: float, measured: dict[str, dict]) -> str:
    rows = [_row(measured[route] | {"route": route}) for route in _ROUTES]
    lines = [
        f"# Export of {gigabytes:g} GB of embedding tables",
        "",
        f"Measured with `python -m benchmarks.export --gigabytes {gigabytes:g}`.",
        "",
        f"- {_TABLES} tables of equal size, width {_DIM}, float32, trained with Adagrad. The checkpoint also contains",
        "  one slot per table.",
        "- Each route ran in its own process. The process of `direct` holds the training model and its slots. `subset`",
        "  exports one of the tables.",
        "- GB are 10^9 bytes of resident memory, including the interpreter and TensorFlow.",
        f"- Peak / tables excludes the slots. The target is at most {_LIMIT} for `checkpoint` and `direct`.",
        "",
        "| route | tables GB | slots GB | before GB | forecast peak GB | measured peak GB | forecast / measured | "
        "peak / tables | seconds per GB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        measured_on(["tensorflow"]),
    ]
    return "\n".join(lines)


def _row(of: dict) -> str:
    gigabytes = {name: of[f"{name}_bytes"] / 1e9 for name in ("table", "slot", "resident", "forecast", "peak")}
    cells = [f"{number:.2f}" for number in gigabytes.values()]
    cells += [
        f"{of['forecast_bytes'] / of['peak_bytes']:.2f}",
        f"{(of['peak_bytes'] - of['slot_bytes']) / of['table_bytes']:.2f}",
        f"{of['seconds'] / gigabytes['table']:.1f}",
    ]
    return f"| {of['route']} | {' | '.join(cells)} |"


if __name__ == "__main__":
    app()
