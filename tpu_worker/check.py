"""Lowers the training step of every model to HLO for TPUs, without a TPU: `python -m tpu_worker.check`."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

# Outside a TPU VM, the TPU library would wait for the cloud's metadata server.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import trainer_module  # noqa: F401 (selects Keras 2)

# isort: split
import tensorflow as tf

from tpu_worker.described_tpu import EmbeddingFeature, cpu_backed_tpu_strategy, uninitialized_embedding_engine
from tpu_worker.models import BAG_LENGTH, MODELS, SmallModel
from tpu_worker.tpu_lowering import XLA_TPU, step_as_function, tpu_hlo, without_kernel
from trainer_module.errors import ModelError
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS, Adagrad, TableOptimizerConfig
from trainer_module.training.loop import TrainingLoop

BATCH_SIZE = 32
OPTIMIZERS: tuple[Any, ...] = tuple(each(learning_rate=0.1) for each in EMBEDDING_OPTIMIZERS.values())


@dataclass(frozen=True)
class Engine:
    """Embedding engine of a TPU.

    Attributes:
        feature: TensorFlow's name of the engine.
        sparse_cores_per_chip: Number of SparseCores per chip for V2; 0 for other engines.
        title: Column title in the report.
    """

    feature: EmbeddingFeature
    sparse_cores_per_chip: int
    title: str


ENGINES = (
    Engine("V1", 0, "V1"),
    Engine("V2", 4, "V2, SparseCores"),
    Engine("UNSUPPORTED", 0, "no engine"),
)


@dataclass(frozen=True)
class Lowered:
    """Size of a lowered step.

    Attributes:
        operations: Number of TensorFlow operations in the traced step.
        hlo_bytes: Length of the HLO text in bytes.
    """

    operations: int
    hlo_bytes: int


def main(
    model: Annotated[
        list[str] | None,
        typer.Option(help=f"Model to lower, of {', '.join(MODELS)}; may be repeated. All models by default."),
    ] = None,
) -> None:
    """Lower the training step of models to HLO for TPUs, without a TPU.

    Every model is lowered with Adagrad for all embedding engines, and the first one with every optimizer of the tables.
    Exits with 1 if a step cannot be lowered.
    """
    if unknown := sorted({*(model or ())} - MODELS.keys()):
        raise typer.BadParameter(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}", param_hint="--model")
    chosen = {name: small for name, small in MODELS.items() if not model or name in model}
    if not report(chosen, Console()):
        raise typer.Exit(1)


def traced_step(
    model: SmallModel, engine: Engine, optimizer: TableOptimizerConfig
) -> tf.types.experimental.ConcreteFunction:
    """Traces the training loop's step for one core of a TPU with this engine."""
    with uninitialized_embedding_engine(), tempfile.TemporaryDirectory() as directory:
        strategy = cpu_backed_tpu_strategy(1, engine.feature, engine.sparse_cores_per_chip)
        blueprint = model.blueprint(BATCH_SIZE, optimizer)
        trained, optimizers = blueprint.for_training(strategy, 3.0)
        loop = TrainingLoop(strategy, trained, optimizers, blueprint.experiment.training, directory, directory)

        def step(features, labels):
            return strategy.run(loop.train_step, args=(features, labels))

        return tf.function(step, autograph=False).get_concrete_function(*model.batch(BATCH_SIZE))


def lower(model: SmallModel, engine: Engine, optimizer: TableOptimizerConfig) -> Lowered:
    """Traces and lowers a step.

    Raises:
        ModelError: The step contains operations that a TPU cannot run (the message lists them), or lowering failed.
    """
    step = traced_step(model, engine, optimizer)
    function = step_as_function(step, bags=(BATCH_SIZE, BAG_LENGTH))
    refuse_host_only_operations(step)
    try:
        hlo = tpu_hlo(function)
    except tf.errors.OpError as error:
        raise ModelError(f"XLA cannot compile the step for TPUs: {error.message}") from error
    return Lowered(len(step.graph.get_operations()), len(hlo))


def refuse_host_only_operations(step: tf.types.experimental.ConcreteFunction, device: str = XLA_TPU) -> None:
    """Refuses a step whose device part contains operations that only a host can run.

    Raises:
        ModelError: The step contains such operations; the message lists them.
    """
    if host_only := without_kernel(step, device):
        named = ", ".join(f"{kind} ({name})" for name, kind in host_only.items())
        raise ModelError(
            f"operations in the training step that a TPU cannot run: {named}. Move them into the input pipeline or the "
            "preprocessing."
        )


def combinations(models: Mapping[str, SmallModel]) -> list[tuple[str, TableOptimizerConfig]]:
    """Returns the pairs of model name and embedding optimizer that the report lowers for every engine.

    All models have the same tables, and an embedding optimizer adds the same operations to the step of each model. So
    every model is lowered with Adagrad, and the first model with every optimizer.
    """
    first = next(iter(models))
    return [
        (name, optimizer)
        for name in models
        for optimizer in OPTIMIZERS
        if name == first or isinstance(optimizer, Adagrad)
    ]


def report(models: Mapping[str, SmallModel], console: Console) -> bool:
    """Lowers all combinations, prints a table and returns whether all succeeded."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model, tables' optimizer")
    for engine in ENGINES:
        table.add_column(engine.title)
    failures = []
    for name, optimizer in combinations(models):
        cells = []
        for engine in ENGINES:
            title = f"{name}, {optimizer.name}, {engine.title}"
            with console.status(title):
                cells.append(_cell(title, models[name], engine, optimizer, failures))
        table.add_row(f"{name}, {optimizer.name}", *cells)
    console.print(f"training steps lowered for TPUs by TensorFlow {tf.__version__}; nothing ran on a TPU")
    console.print(table)
    for failure in failures:
        console.print(f"[bold red]error:[/] {failure}", highlight=False)
    return not failures


def _cell(title: str, model: SmallModel, engine: Engine, optimizer: TableOptimizerConfig, failures: list[str]) -> str:
    try:
        lowered = lower(model, engine, optimizer)
    except ModelError as error:
        failures.append(f"{title}: {error}")
        return "[bold red]fails[/]"
    return f"[green]ok[/] {lowered.operations} ops, {lowered.hlo_bytes >> 10} KiB HLO"


if __name__ == "__main__":
    typer.run(main)
