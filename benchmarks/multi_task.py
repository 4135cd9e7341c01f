"""Compares models of two goals with models of one, on generated views whose best reachable metrics are known.

python -m benchmarks.multi_task

All models have the same inputs, tables, widths, optimizers and number of steps per epoch, and are trained on the same
rows: a model of one goal is a `multi_task` model with one head. Reader, model and loop are the Trainer's. A fifth of
the rows is test, and a twentieth of the others chooses the weights.
"""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer

import trainer_module  # noqa: F401 (selects Keras 2)

import tensorflow as tf  # isort: skip

from components.example_gen.generated.goals import Views, draw
from trainer_module.blueprint import Blueprint
from trainer_module.data.clean import one_per_row
from trainer_module.data.datasets.goals import CLICKED, SECONDS, SYNTHETIC_GOALS
from trainer_module.data.example_files import write_parquet
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.experiment import Experiment
from trainer_module.models.config import (
    Mixing,
    MmoeMixing,
    MultiTaskConfig,
    PleMixing,
    SharedBottomMixing,
    TaskHead,
)
from trainer_module.models.goals import Goals, LabelStatistics, make_goal
from trainer_module.optimizers.config import Adam
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import make_strategy
from trainer_module.training.loop import TrainingLoop

_RESULT = Path(__file__).parent / "results" / "multi_task.md"
_HEADS = {CLICKED: TaskHead(label=CLICKED), SECONDS: TaskHead(label=SECONDS, score_weight=0.01)}
_METRICS = (f"{CLICKED}.log_loss", f"{CLICKED}.auc", f"{SECONDS}.rmse")
# Their widths give all models about as many weights.
_MIXINGS: Mapping[str, Mixing] = {
    "shared_bottom": SharedBottomMixing(widths=(64, 32)),
    "mmoe": MmoeMixing(experts=4, widths=(32, 16)),
    "ple": PleMixing(levels=2, own_experts=1, shared_experts=2, widths=(32,)),
}
_SPLITS = ("train", "eval", "test")


@dataclass(frozen=True)
class Variant:
    """A model to measure.

    Attributes:
        name: In the table.
        labels: Of its heads.
        mixing: What they share.
    """

    name: str
    labels: tuple[str, ...]
    mixing: Mixing

    @property
    def config(self) -> MultiTaskConfig:
        """The model's section of an experiment."""
        heads = tuple(_HEADS[label] for label in self.labels)
        return MultiTaskConfig(heads=heads, mixing=self.mixing, tower=(16,), embedding_l2=1e-3)


VARIANTS = (
    *(Variant(f"{label} alone", (label,), _MIXINGS["shared_bottom"]) for label in _HEADS),
    *(Variant(name, tuple(_HEADS), mixing) for name, mixing in _MIXINGS.items()),
)


def split(views: Views, seed: int) -> dict[str, Views]:
    """Splits views into train, eval and test."""
    random = np.random.default_rng([seed, 1])
    is_test, chooses = random.random(len(views.clicked)) < 0.2, random.random(len(views.clicked)) < 0.05
    chosen = (~is_test & ~chooses, ~is_test & chooses, is_test)
    return {name: views.rows(rows) for name, rows in zip(_SPLITS, chosen, strict=True)}


def measure(variant: Variant, parts: Mapping[str, Views], seed: int, directory: Path) -> dict[str, float]:
    """Trains a model and evaluates it on the test split.

    Args:
        variant: The model.
        parts: Views by split.
        seed: Of the training.
        directory: For files; must not exist.

    Returns:
        Metrics by name.
    """
    training = TrainingConfig(
        strategy="cpu",
        batch_size=512,
        epochs=30,
        patience=4,
        seed=seed,
        embedding_optimizer=Adam(learning_rate=0.01),
        dense_optimizer=Adam(learning_rate=0.002),
    )
    dataset = SYNTHETIC_GOALS.spec()
    embeddings = EmbeddingsConfig(dim=8)
    experiment = Experiment(dataset=dataset, model=variant.config, embeddings=embeddings, training=training)
    experiment.check()
    spec = experiment.features(dataset.features)
    vocabularies = {name: np.unique(of).tolist() for name, of in parts["train"].tokens.items()}
    inputs = ModelInputs(spec, _Transform(vocabularies))
    readers = {
        name: ExampleReader(spec, inputs, [_write(part, directory / f"{name}.parquet")]) for name, part in parts.items()
    }
    labels = {label.name: label for label in dataset.labels}
    columns = {column.name: (place, column) for place, column in enumerate(spec.labels)}
    goals = []
    for head in variant.config.heads:
        place, column = columns[head.label]
        statistics = LabelStatistics.of(readers["train"], column)
        goals.append(make_goal(head, place, labels[head.label], statistics))
    rows = {name: len(of) + 1 for name, of in vocabularies.items()}
    blueprint = Blueprint(experiment, spec, rows, Goals(tuple(goals)))
    tf.keras.utils.set_random_seed(seed)
    strategy = make_strategy(training)
    model, optimizer = blueprint.for_training(strategy, 0.0)
    loop = TrainingLoop(strategy, model, optimizer, training, str(directory / "checkpoints"), str(directory))
    loop.fit(readers["train"], readers["eval"])
    return loop.evaluate(readers["test"])


class _Transform:
    """From tokens to ids and from labels that a row may lack to NaN: what Transform's graph does."""

    def __init__(self, vocabularies: Mapping[str, Sequence[str]]):
        """Takes the tokens by column."""
        self._tables = {}
        for name, tokens in vocabularies.items():
            ids = tf.range(len(tokens), dtype=tf.int64)
            known = tf.lookup.KeyValueTensorInitializer(tf.constant(tokens), ids)
            self._tables[name] = tf.lookup.StaticVocabularyTable(known, 1)

    def __call__(self, raw: Mapping[str, tf.Tensor | tf.SparseTensor]) -> dict[str, tf.Tensor]:
        outputs = {}
        for name, value in raw.items():
            if name in self._tables:
                outputs[name] = self._tables[name].lookup(value)
            else:
                outputs[name] = one_per_row(value, math.nan) if isinstance(value, tf.SparseTensor) else value
        return outputs


def _write(views: Views, file: Path) -> str:
    """Writes the examples as a Parquet file; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    schema = SYNTHETIC_GOALS.spec().features.arrow_schema()
    columns = {name: [[token.encode()] for token in tokens.tolist()] for name, tokens in views.tokens.items()}
    columns[CLICKED] = [[float(value)] for value in views.clicked.tolist()]
    columns[SECONDS] = [[] if np.isnan(value) else [value] for value in views.seconds.tolist()]
    write_parquet(str(file), pa.table([columns[name] for name in schema.names], schema=schema))
    return str(file)


def _cells(values: Sequence[Mapping[str, float]]) -> str:
    """Means over the seeds of each metric, with the figures by seed; `-` for a head that the model lacks."""
    cells = []
    for metric in _METRICS:
        by_seed = [of_seed[metric] for of_seed in values if metric in of_seed]
        each = " ".join(f"{value:.4f}" for value in by_seed)
        cells.append(f"{np.mean(by_seed):.4f} ({each})" if by_seed else "-")
    return " | ".join(cells)


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Number of views.")] = 100_000,
    seeds: Annotated[str, typer.Option(help="Comma-separated seeds of data, split and training.")] = "0,1,2",
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Measure all models, print a table and write it to a file."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    measured: dict[str, list[Mapping[str, float]]] = {"best reachable": []}
    for seed in map(int, seeds.split(",")):
        parts = split(draw(rows, seed), seed)
        measured["best reachable"].append(parts["test"].optimum())
        for variant in VARIANTS:
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as scratch:
                metrics = measure(variant, parts, seed, Path(scratch, "run"))
            measured.setdefault(variant.name, []).append(metrics)
            shown = ", ".join(f"{name} {metrics[name]:.4f}" for name in _METRICS if name in metrics)
            print(f"seed {seed}, {variant.name}: {shown}; {time.monotonic() - started:.0f} s", flush=True)
    report = "\n".join(
        [
            "# Several goals in one model",
            "",
            f"`python -m benchmarks.multi_task --rows {rows} --seeds {seeds}`",
            "",
            "Metrics on the test split: means over the seeds of data, split and training, and each seed's.",
            "",
            f"| model | {' | '.join(_METRICS)} |",
            "|---|---|---|---|",
            *(f"| {name} | {_cells(values)} |" for name, values in measured.items()),
        ]
    )
    print(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report + "\n")


if __name__ == "__main__":
    typer.run(main)
