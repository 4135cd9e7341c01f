"""Compares models of two goals with models of one, on generated views whose best reachable metrics are known.

python -m benchmarks.multi_task --choose && python -m benchmarks.multi_task

All models have the same inputs, tables, widths, optimizers and number of steps per epoch, and are trained on the same
rows: a model of one goal is a `multi_task` model with one head. Reader, model and loop are the Trainer's. A fifth of
the rows is test, and a twentieth of the others chooses the weights.

`--choose` tries the same rates and regularizations for the models of one goal and for `shared_bottom`, on a draw of its
own, and reads its eval split alone. What it found best is written below. A training that ended is not repeated, so that
an interrupted benchmark goes on.
"""

import json
import math
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from trainer_module.source_hash import source_hash
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
BEST = "best reachable"
_ROWS, _SEEDS, _SEED_OF_CHOICE = 100_000, (0, 1, 2), 100
_ROOT = Path("runs/multi-task")


@dataclass(frozen=True)
class Rates:
    """What is chosen for each model.

    Attributes:
        tables: Learning rate of the embedding tables.
        dense: Of everything else.
        l2: Weight of the squared norm of the looked-up rows in the loss.
    """

    tables: float
    dense: float
    l2: float

    def __str__(self) -> str:
        return f"{self.tables:g} / {self.dense:g} / {self.l2:g}"


TRIES = tuple(Rates(tables, 0.002, l2) for tables in (0.005, 0.01) for l2 in (0.001, 0.003, 0.01, 0.03))
# Found by `--choose`; mixtures of experts take the rates of `shared_bottom`.
_OF_ONE, _OF_BOTH = Rates(0.005, 0.002, 0.03), Rates(0.01, 0.002, 0.01)


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

    def config(self, l2: float) -> MultiTaskConfig:
        """The model's section of an experiment."""
        heads = tuple(_HEADS[label] for label in self.labels)
        return MultiTaskConfig(heads=heads, mixing=self.mixing, tower=(16,), embedding_l2=l2)


VARIANTS = (
    *(Variant(f"{label} alone", (label,), _MIXINGS["shared_bottom"]) for label in _HEADS),
    *(Variant(name, tuple(_HEADS), mixing) for name, mixing in _MIXINGS.items()),
)
_NAMES = tuple(variant.name for variant in VARIANTS)
_TRIED = VARIANTS[: len(_HEADS) + 1]
CHOSEN: Mapping[str, Rates] = {variant.name: _OF_ONE if len(variant.labels) == 1 else _OF_BOTH for variant in VARIANTS}


def split(views: Views, seed: int) -> dict[str, Views]:
    """Splits views into train, eval and test."""
    random = np.random.default_rng([seed, 1])
    is_test, chooses = random.random(len(views.clicked)) < 0.2, random.random(len(views.clicked)) < 0.05
    chosen = (~is_test & ~chooses, ~is_test & chooses, is_test)
    return {name: views.rows(rows) for name, rows in zip(_SPLITS, chosen, strict=True)}


def measure(
    variant: Variant, rates: Rates, parts: Mapping[str, Views], seed: int, directory: Path, on: str
) -> dict[str, float]:
    """Trains a model and evaluates it.

    Args:
        variant: The model.
        rates: Of its training.
        parts: Views by split.
        seed: Of the training.
        directory: For files; must not exist.
        on: The split.

    Returns:
        Metrics by name.
    """
    training = TrainingConfig(
        strategy="cpu",
        batch_size=512,
        epochs=30,
        patience=4,
        seed=seed,
        embedding_optimizer=Adam(learning_rate=rates.tables),
        dense_optimizer=Adam(learning_rate=rates.dense),
    )
    dataset = SYNTHETIC_GOALS.spec()
    embeddings = EmbeddingsConfig(dim=8)
    config = variant.config(rates.l2)
    experiment = Experiment(dataset=dataset, model=config, embeddings=embeddings, training=training)
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
    for head in config.heads:
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
    return loop.evaluate(readers[on])


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


class Trainings:
    """Trainings on one draw of views, each of which is done once."""

    def __init__(self, rows: int, seed: int, root: Path):
        """Draws the views.

        Args:
            rows: Number of views.
            seed: Of data, split and training.
            root: Directory of what has been measured with this code.
        """
        self._name, self._seed = f"{rows}-{seed}", seed
        self.parts = split(draw(rows, seed), seed)
        self._directory = root / source_hash("trainer_module.run_fn", "components.example_gen.generated.goals")

    def metrics(self, variant: Variant, rates: Rates, on: str) -> dict[str, float]:
        """Metrics of a model on a split."""
        name = f"{self._name} {variant.name} {rates} {on}.json".replace(" / ", " ").replace(" ", "-")
        file = self._directory / name
        if not file.exists():
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as scratch:
                metrics = measure(variant, rates, self.parts, self._seed, Path(scratch, "run"), on)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(metrics))
            shown = ", ".join(f"{name} {metrics[name]:.4f}" for name in ("loss", *_METRICS) if name in metrics)
            seconds = f"{time.monotonic() - started:.0f} s"
            print(f"seed {self._seed}, {variant.name}, {rates}, {on}: {shown}; {seconds}", flush=True)
        return json.loads(file.read_text())


def choose(rows: int, root: Path) -> dict[str, Rates]:
    """The rates of models with the least loss on the eval split of a draw of its own."""
    trainings = Trainings(rows, _SEED_OF_CHOICE, root)

    def loss(variant: Variant, rates: Rates) -> float:
        return trainings.metrics(variant, rates, "eval")["loss"]

    return {variant.name: min(TRIES, key=lambda rates, of=variant: loss(of, rates)) for variant in _TRIED}


def compare(
    rows: int = _ROWS, seeds: Sequence[int] = _SEEDS, root: Path = _ROOT, models: Collection[str] = _NAMES
) -> dict[str, list[dict[str, float]]]:
    """Metrics on the test split by seed, of the planted functions under `best reachable` and of some models."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    by_seed = [Trainings(rows, seed, root) for seed in seeds]
    measured = {BEST: [trainings.parts["test"].optimum() for trainings in by_seed]}
    for variant in (each for each in VARIANTS if each.name in models):
        rates = CHOSEN[variant.name]
        measured[variant.name] = [trainings.metrics(variant, rates, "test") for trainings in by_seed]
    return measured


@dataclass(frozen=True)
class Compared:
    """A metric of a model of several goals.

    Attributes:
        model: Its name.
        metric: Its name.
        best: Of the planted functions, mean over the seeds.
        alone: Of the model of this goal alone, mean over the seeds.
        values: By seed.
    """

    model: str
    metric: str
    best: float
    alone: float
    values: tuple[float, ...]


def compared(root: Path) -> Iterator[Compared]:
    """The metrics of all models of several goals."""
    measured = compare(root=root)
    for variant in VARIANTS:
        for metric in _METRICS if len(variant.labels) > 1 else ():
            head, _, _ = metric.partition(".")
            best, alone, values = (
                [of_seed[metric] for of_seed in measured[name]] for name in (BEST, f"{head} alone", variant.name)
            )
            yield Compared(variant.name, metric, float(np.mean(best)), float(np.mean(alone)), tuple(values))


def _cells(values: Sequence[Mapping[str, float]]) -> str:
    """Means over the seeds of each metric, with the figures by seed; `-` for a head that the model lacks."""
    cells = []
    for metric in _METRICS:
        by_seed = [of_seed[metric] for of_seed in values if metric in of_seed]
        each = " ".join(f"{value:.4f}" for value in by_seed)
        cells.append(f"{np.mean(by_seed):.4f} ({each})" if by_seed else "-")
    return " | ".join(cells)


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Number of views.")] = _ROWS,
    seeds: Annotated[str, typer.Option(help="Comma-separated seeds of data, split and training.")] = "0,1,2",
    tries: Annotated[bool, typer.Option("--choose", help="Print the best rates of each model and end.")] = False,
    model: Annotated[list[str] | None, typer.Option(help=f"Model: {', '.join(_NAMES)}. Default: all.")] = None,
    root: Annotated[Path, typer.Option(help="Directory for what has been measured.")] = _ROOT,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Measure all models, print a table and write it to a file."""
    if tries:
        for name, rates in choose(rows, root).items():
            print(f"{name}: {rates}")
        return
    if unknown := set(model or ()) - set(_NAMES):
        raise typer.BadParameter(f"no model {', '.join(sorted(unknown))}; there are {', '.join(_NAMES)}")
    measured = compare(rows, [int(seed) for seed in seeds.split(",")], root, model or _NAMES)
    report = "\n".join(
        [
            "# Several goals in one model",
            "",
            f"`python -m benchmarks.multi_task --rows {rows} --seeds {seeds}`",
            "",
            "Metrics on the test split: means over the seeds of data, split and training, and each seed's. Rates are",
            f"the learning rate of the tables, that of the rest, and `embedding_l2`: the best of {len(TRIES)} tries by",
            f"the loss on the eval split of another draw (seed {_SEED_OF_CHOICE}, `--choose`), for each model of one",
            "goal and for `shared_bottom`; `mmoe` and `ple` take the rates of `shared_bottom`.",
            "",
            f"| model | rates | {' | '.join(_METRICS)} |",
            "|---|---|---|---|---|",
            *(f"| {name} | {CHOSEN.get(name, '-')} | {_cells(values)} |" for name, values in measured.items()),
        ]
    )
    print(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report + "\n")


if __name__ == "__main__":
    typer.run(main)
