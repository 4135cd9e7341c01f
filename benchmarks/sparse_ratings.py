"""Compares the default rating model with user and item biases on sparse ratings: some six per user, from 0 to 10.

python -m benchmarks.sparse_ratings

The data sets are generated, but for MovieLens 100K, which is thinned to six ratings per user if it is there. Reader,
naive baseline, model and loop are the Trainer's; batch size and epochs are those that `recspan data inspect` proposes.
A fifth of the rows is test, and a twentieth of the others chooses the weights, as in the split `random`.
"""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer

import trainer_module  # noqa: F401 (selects Keras 2)

import tensorflow as tf  # isort: skip

from components.example_gen.config import DataConfig
from trainer_module.blueprint import Blueprint
from trainer_module.data.example_files import write_parquet
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.spec import DatasetSpec
from trainer_module.experiment import Experiment
from trainer_module.models.objectives import Rating
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import make_strategy
from trainer_module.training.loop import TrainingLoop
from trainer_module.training.naive_baseline import NaiveBaseline, fit_naive_baseline, initial_biases

_RESULT = Path(__file__).parent / "results" / "sparse_ratings.md"
_RANGE = (0.0, 10.0)
_LABEL = "rating"


@dataclass(frozen=True)
class Ratings:
    """Rows of ratings.

    Attributes:
        tokens: By column, `[rows]` texts; `user`, `item` and attributes.
        labels: 0 to 10, float32 `[rows]`.
        attributes: Those columns that describe the item.
    """

    tokens: Mapping[str, np.ndarray]
    labels: np.ndarray
    attributes: tuple[str, ...] = ()

    @property
    def dataset(self) -> DatasetSpec:
        """As the pipeline would describe it."""
        section = {
            "interactions": {"files": "ratings.csv", "user": "user", "item": "item", "label": _LABEL},
            "task": "rating",
            "label_range": _RANGE,
            "slices": [],
        }
        if self.attributes:
            section["items"] = {"files": "items.csv", "key": "item", "categorical": list(self.attributes)}
        return DataConfig.model_validate(section).described().spec()

    def rows(self, chosen: np.ndarray) -> "Ratings":
        """The chosen rows."""
        return Ratings({name: of[chosen] for name, of in self.tokens.items()}, self.labels[chosen], self.attributes)


@dataclass(frozen=True)
class Kind:
    """How ratings are generated: biases of users and items, tastes, attributes, noise; rounded and clipped to 0..10.

    Attributes:
        users: Number of users.
        items: Number of items.
        popularity: The item of rank r is drawn with probability proportional to `r ** -popularity`.
        heavy_tail: Users have 1 to 60 ratings, most of them few, rather than 6.
        mean: Of ratings before clipping.
        taste: Standard deviation of what user and item explain together.
        rank: Of the tastes.
        genre: Standard deviation of the bias of the item's genre, which is an attribute; None has no attribute.
        noise: Standard deviation of what nothing explains.
    """

    users: int = 3000
    items: int = 1000
    popularity: float = 0.6
    heavy_tail: bool = False
    mean: float = 6.0
    taste: float = 0.0
    rank: int = 4
    genre: float | None = None
    noise: float = 1.6

    def generate(self, seed: int) -> Ratings:
        """Draws ratings; no user rates an item twice."""
        random = np.random.default_rng(seed)
        popularity = np.arange(1, self.items + 1) ** -self.popularity
        counts = np.full(self.users, 6)
        if self.heavy_tail:
            counts = np.clip(random.pareto(1.1, self.users) * 1.5, 1, 60).astype(int)
        rated = [
            np.unique(random.choice(self.items, count, p=popularity / popularity.sum())) for count in counts.tolist()
        ]
        user, item = np.repeat(np.arange(self.users), [len(items) for items in rated]), np.concatenate(rated)
        of_user, of_item = random.normal(0, 0.9, self.users), random.normal(0, 0.7, self.items)
        tastes, traits = random.normal(size=(self.users, self.rank)), random.normal(size=(self.items, self.rank))
        genre = random.integers(0, 12, self.items)
        score = self.mean + of_user[user] + of_item[item]
        score += self.taste * (tastes[user] * traits[item]).sum(axis=1) / math.sqrt(self.rank)
        score += (self.genre or 0.0) * random.normal(size=12)[genre][item]
        labels = np.clip(np.round(score + random.normal(0, self.noise, len(user))), *_RANGE).astype(np.float32)
        tokens = {"user": _texts(user), "item": _texts(item)}
        if self.genre is not None:
            tokens["genre"] = _texts(genre[item])
        return Ratings(tokens, labels, ("genre",) if self.genre is not None else ())


KINDS: Mapping[str, Kind] = {
    "biases and noise": Kind(),
    "biases and weak tastes": Kind(taste=0.5),
    "biases and strong tastes": Kind(users=6000, items=200, taste=1.5, rank=1, noise=1.2),
    "heavy tails, 1 to 60 ratings a user": Kind(items=10_000, popularity=1.0, heavy_tail=True, mean=7.2, taste=0.5),
    "an attribute with signal": Kind(items=3000, genre=1.0),
    "an attribute without signal": Kind(genre=0.0),
}
_MOVIELENS = "MovieLens 100K, six ratings a user"


@dataclass(frozen=True)
class Outcome:
    """RMSE on the test split, and what training came to.

    Attributes:
        baseline: RMSE of the biases.
        model: RMSE of the model.
        shrinkage: How much of the correction the selection split believed.
        seconds: Of the training.
    """

    baseline: float
    model: float
    shrinkage: float
    seconds: float

    @property
    def change(self) -> float:
        """The model's RMSE relative to the biases', in percent."""
        return 100 * (self.model / self.baseline - 1)


def movielens(directory: Path, seed: int) -> Ratings:
    """Six ratings of each user of MovieLens 100K, drawn at random, with stars stretched to 0..10."""
    rows = np.loadtxt(directory / "u.data", dtype=int)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    order = np.argsort(rows[:, 0], kind="stable")
    users, first = np.unique(rows[order, 0], return_index=True)
    nth = np.arange(len(rows)) - first[np.searchsorted(users, rows[order, 0])]
    rows = rows[order][nth < 6]
    tokens = {"user": _texts(rows[:, 0]), "item": _texts(rows[:, 1])}
    return Ratings(tokens, ((rows[:, 2] - 1) * 2.5).astype(np.float32))


def measure(ratings: Ratings, seed: int, directory: Path) -> Outcome:
    """Splits, fits the biases, trains the default model, and evaluates both on the test split.

    Args:
        ratings: All rows.
        seed: Of the split.
        directory: For files; must not exist.
    """
    random = np.random.default_rng([seed, 1])
    draw, chooses = random.random(len(ratings.labels)), random.random(len(ratings.labels)) < 0.05
    is_test = draw < 0.2
    split = {"train": ~is_test & ~chooses, "eval": ~is_test & chooses, "test": is_test}
    parts = {name: ratings.rows(rows) for name, rows in split.items()}
    batch_size = 2 ** ((len(ratings.labels) // 20).bit_length() - 1)
    training = TrainingConfig(strategy="cpu", batch_size=min(max(batch_size, 32), 1024), epochs=40)
    experiment = Experiment(dataset=ratings.dataset, training=training)
    spec = experiment.features(ratings.dataset.features)
    vocabularies = {name: _vocabulary(parts["train"].tokens[name], name) for name in ratings.tokens}
    inputs = ModelInputs(spec, _Lookup(vocabularies))
    readers = {
        name: ExampleReader(spec, inputs, [_write(part, directory / f"{name}.parquet")]) for name, part in parts.items()
    }
    naive = fit_naive_baseline(ratings.dataset, readers["train"], readers["eval"])
    rows = {name: len(tokens) + 1 for name, tokens in vocabularies.items()}
    blueprint = Blueprint(experiment, spec, rows, Rating(_RANGE))
    tf.keras.utils.set_random_seed(training.seed)
    strategy = make_strategy(training)
    biases = initial_biases(naive, spec, {table: vocabularies[table] for table in blueprint.fixed_biases})
    model, optimizer = blueprint.for_training(strategy, naive.mean, biases, naive.error or 1.0)
    loop = TrainingLoop(strategy, model, optimizer, training, str(directory / "checkpoints"), str(directory))
    started = time.monotonic()
    loop.fit(readers["train"], readers["eval"])
    seconds = time.monotonic() - started
    shrinkage = float(model.shrinkage)
    return Outcome(_rmse_of(naive, parts["test"]), loop.evaluate(readers["test"])["rmse"], shrinkage, seconds)


class _Lookup:
    """From tokens to ids: what Transform's graph does."""

    def __init__(self, vocabularies: Mapping[str, pa.Array]):
        self._tables = {}
        for name, tokens in vocabularies.items():
            ids = tf.range(len(tokens), dtype=tf.int64)
            known = tf.lookup.KeyValueTensorInitializer(tf.constant(tokens.to_pylist()), ids)
            self._tables[name] = tf.lookup.StaticVocabularyTable(known, 1)

    def __call__(self, raw: Mapping[str, tf.Tensor | tf.SparseTensor]) -> dict[str, tf.Tensor]:
        dense = {
            name: tf.sparse.to_dense(value, "") if isinstance(value, tf.SparseTensor) else value
            for name, value in raw.items()
        }
        return {
            name: self._tables[name].lookup(value) if name in self._tables else value for name, value in dense.items()
        }


def _texts(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.str_)


def _vocabulary(tokens: np.ndarray, column: str) -> pa.Array:
    """Distinct tokens: all of users and items, and those of attributes that occur twice, as by default."""
    distinct, counts = np.unique(tokens, return_counts=True)
    kept = distinct if column in ("user", "item") else distinct[counts > 1]
    return pa.array([token.encode() for token in kept.tolist()], pa.binary())


def _write(ratings: Ratings, file: Path) -> str:
    """Writes the examples as a Parquet file; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [[token.encode()] for token in tokens.tolist()] for name, tokens in ratings.tokens.items()}
    columns[_LABEL] = [[label] for label in ratings.labels.tolist()]
    schema = pa.schema(
        [(name, pa.large_list(pa.float32() if name == _LABEL else pa.large_binary())) for name in columns]
    )
    write_parquet(str(file), pa.table(columns, schema=schema))
    return str(file)


def _rmse_of(naive: NaiveBaseline, ratings: Ratings) -> float:
    scores = np.full(len(ratings.labels), naive.mean)
    for entity in naive.entities:
        scores += entity.of_tokens(pa.array([token.encode() for token in ratings.tokens[entity.key].tolist()]))
    return float(np.sqrt(np.mean((np.clip(scores, *_RANGE) - ratings.labels) ** 2)))


def main(
    seeds: Annotated[str, typer.Option(help="Comma-separated seeds of data and split.")] = "0,1,2",
    kind: Annotated[list[str] | None, typer.Option(help=f"Kind: {', '.join(KINDS)}. Default: all.")] = None,
    movielens_dir: Annotated[Path, typer.Option("--movielens", help="Directory of MovieLens 100K.")] = Path(
        "data/movielens-100k"
    ),
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Measure all kinds, print a table and write it to a file."""
    makers: dict[str, Callable[[int], Ratings]] = {name: each.generate for name, each in KINDS.items()}
    if (movielens_dir / "u.data").exists():
        makers[_MOVIELENS] = lambda seed: movielens(movielens_dir, seed)
    if unknown := set(kind or ()) - set(makers):
        raise typer.BadParameter(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    lines = ["| data | rows | biases | model | difference, by seed | share believed |", "|---|---:|---:|---:|---|---|"]
    for name in kind or makers:
        outcomes, rows = [], 0
        for seed in map(int, seeds.split(",")):
            ratings = makers[name](seed)
            rows = len(ratings.labels)
            with tempfile.TemporaryDirectory() as scratch:
                outcomes.append(measure(ratings, seed, Path(scratch, "run")))
            print(f"{name}, seed {seed}: {outcomes[-1]}", flush=True)
        lines.append(
            f"| {name} | {rows:,} | {np.mean([o.baseline for o in outcomes]):.4f} | "
            f"{np.mean([o.model for o in outcomes]):.4f} | {' '.join(f'{o.change:+.2f}%' for o in outcomes)} | "
            f"{' '.join(f'{o.shrinkage:.2f}' for o in outcomes)} |"
        )
    report = "\n".join(
        [
            "# The default rating model on sparse ratings",
            "",
            f"`python -m benchmarks.sparse_ratings --seeds {seeds}`",
            "",
            "RMSE on the test split, means over the seeds of data and split; the difference is relative to the biases.",
            "",
            *lines,
        ]
    )
    print(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report + "\n")


if __name__ == "__main__":
    typer.run(main)
