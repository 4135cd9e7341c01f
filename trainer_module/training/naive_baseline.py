"""The naive baseline of a task: what a model must beat to be worth serving.

For ratings it is user and item biases, or the mean where a dataset has no users and items; for clicks it is the mean,
beside which a logistic regression is fitted for comparison. The Trainer fits it on the training split, chooses its
regularization on the eval split and writes it beside the SavedModel. The Evaluator reads it there.

For retrieval the naive baseline is popularity, which the retrieval index holds.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from trainer_module.data.example_files import concatenated, write_parquet
from trainer_module.data.features import Column, FeatureSpec, Label
from trainer_module.data.spec import DatasetSpec
from trainer_module.data.token_index import TokenIndex
from trainer_module.errors import DataError
from trainer_module.training import biases, logistic

# Directory beside the SavedModel.
NAIVE_BASELINE = "naive_baseline"

# Names of predictions.
BASELINE = "baseline"
LOGISTIC = "logistic"

BIASES_NAME = "user and item biases"
MEAN_NAME = "mean of the training split"

# More rows do not change a mean or a logistic regression enough to be worth their time.
_CLICK_ROWS = 200_000


class Split(Protocol):
    """Raw examples of one split.

    Attributes:
        num_examples: Of the split.
    """

    num_examples: int

    def batches(self, columns: Sequence[Column], every: int = 1) -> Iterator[pa.RecordBatch]:
        """Columns of lists of one in `every` examples."""
        ...


@dataclass(frozen=True)
class EntityBiases:
    """The biases of the users or of the items.

    Attributes:
        key: Column that identifies them.
        tokens: Values of the column in the training split, `[entities]`.
        biases: float64 `[entities]`.
    """

    key: str
    tokens: pa.Array
    biases: np.ndarray

    def of(self, batch: pa.RecordBatch) -> np.ndarray:
        """The bias of each row's entity, float64 `[rows]`; 0 for an unknown one."""
        return self.of_tokens(_single_values(batch, self.key))

    def of_tokens(self, tokens: pa.Array) -> np.ndarray:
        """The bias of each token, float64 `[tokens]`; 0 for an unknown one."""
        return biases.row_biases(self._index.places(tokens), self.biases)

    @cached_property
    def _index(self) -> TokenIndex:
        return TokenIndex(self.tokens)


@dataclass(frozen=True)
class NaiveBaseline:
    """A fitted baseline.

    Attributes:
        name: What it is, for people.
        mean: Mean label of the training split, weighted if rows have weights.
        label_range: Predictions are clipped to it.
        entities: Biases of users and of items; empty where the mean is the baseline.
        regression: For clicks, the logistic regression that is compared; None for ratings.
        shrinkage: Penalties on the biases of users and of items, in ratings; empty without biases.
        error: For ratings, root mean squared error on the split that chose the penalties; the labels' standard
            deviation without biases. At least a hundredth of `label_range`, and 1 where all labels are alike. None for
            clicks.
        weight: Column that weighs the rows, those that are judged as those that it was fitted on; empty weighs all
            alike.
    """

    name: str
    mean: float
    label_range: tuple[float, float]
    entities: tuple[EntityBiases, ...] = ()
    regression: logistic.Logistic | None = None
    shrinkage: tuple[float, ...] = ()
    error: float | None = None
    weight: str = ""

    def weights(self, batch: pa.RecordBatch) -> np.ndarray:
        """Weights of raw examples, float64 `[rows]`."""
        return _weights_of(batch, self.weight)

    def predict(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        """Predictions for raw examples.

        Args:
            batch: Columns of lists, one list per row, as TFX's `tf.Example` decoder makes them.

        Returns:
            float64 `[rows]` under `BASELINE`, and for clicks under `LOGISTIC`.
        """
        scores = sum((entity.of(batch) for entity in self.entities), np.full(batch.num_rows, self.mean))
        predictions = {BASELINE: np.clip(scores, *self.label_range)}
        if self.regression is not None:
            predictions[LOGISTIC] = self.regression.predict(batch)
        return predictions

    def facts(self) -> dict[str, object]:
        """What the run's summary says about it."""
        return {"name": self.name, "mean": self.mean, "shrinkage": list(self.shrinkage), "error": self.error}

    def save(self, directory: str) -> None:
        """Writes `baseline.json` and the arrays as Parquet files.

        Args:
            directory: Local or remote; made if it does not exist.
        """
        tf.io.gfile.makedirs(directory)
        facts = {
            "name": self.name,
            "mean": self.mean,
            "label_range": list(self.label_range),
            "shrinkage": list(self.shrinkage),
            "error": self.error,
            "entities": [entity.key for entity in self.entities],
            "weight": self.weight,
        }
        for number, entity in enumerate(self.entities):
            table = pa.table({"token": entity.tokens, "bias": entity.biases})
            write_parquet(os.path.join(directory, f"biases_{number}.parquet"), table)
        if self.regression is not None:
            fitted = self.regression
            write_parquet(os.path.join(directory, "weights.parquet"), pa.table({"weight": fitted.weights}))
            facts["logistic"] = {
                "spec": fitted.spec.model_dump(mode="json"),
                "means": fitted.means.tolist(),
                "deviations": fitted.deviations.tolist(),
                "intercept": fitted.intercept,
            }
        with tf.io.gfile.GFile(os.path.join(directory, "baseline.json"), "w") as file:
            json.dump(facts, file, indent=2)

    @classmethod
    def load(cls, directory: str) -> "NaiveBaseline":
        """Reads what `save` wrote.

        Raises:
            DataError: The directory holds no baseline.
        """
        path = os.path.join(directory, "baseline.json")
        if not tf.io.gfile.exists(path):
            raise DataError(
                f"{path} does not exist: the model comes from a Trainer that wrote no naive baseline. Train it again"
            )
        with tf.io.gfile.GFile(path) as file:
            facts = json.load(file)
        entities = []
        for number, key in enumerate(facts["entities"]):
            table = _read_table(os.path.join(directory, f"biases_{number}.parquet")).combine_chunks()
            entities.append(EntityBiases(key, _one_array(table["token"]), table["bias"].to_numpy()))
        regression = None
        if "logistic" in facts:
            regression = logistic.Logistic(
                spec=FeatureSpec.model_validate(facts["logistic"]["spec"]),
                means=np.array(facts["logistic"]["means"]),
                deviations=np.array(facts["logistic"]["deviations"]),
                weights=_read_table(os.path.join(directory, "weights.parquet"))["weight"].to_numpy(),
                intercept=facts["logistic"]["intercept"],
            )
        low, high = facts["label_range"]
        return cls(
            name=facts["name"],
            mean=facts["mean"],
            label_range=(low, high),
            entities=tuple(entities),
            regression=regression,
            shrinkage=tuple(facts["shrinkage"]),
            error=facts["error"],
            # Baselines that were written before rows had weights do not name one.
            weight=facts.get("weight", ""),
        )


def fit_naive_baseline(dataset: DatasetSpec, train: Split, selection: Split) -> NaiveBaseline:
    """Fits the baseline of a rating or click dataset.

    Args:
        dataset: Gives task, keys, label and columns.
        train: What the baseline is fitted on. For clicks, at most 200,000 rows at even distances.
        selection: What its regularization is chosen by.

    Raises:
        DataError: All labels of the training split of a click dataset are alike.
    """
    if dataset.task == "click":
        return _fit_clicks(dataset, train, selection)
    if dataset.user_key and dataset.item_key:
        return _fit_biases(dataset, train, selection)
    label, weight = dataset.features.label, _weight_columns(dataset)
    parts = [(_labels(batch, label.name), _weights(batch, dataset)) for batch in train.batches((label, *weight))]
    labels, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    labels = labels.astype(np.float64)
    mean, label_range = float(np.average(labels, weights=weights)), _range(dataset, labels)
    error = _usable(float(np.sqrt(np.average(np.square(labels - mean), weights=weights))), label_range)
    return NaiveBaseline(MEAN_NAME, mean, label_range, error=error, weight=_weight_name(dataset))


def fit_naive_baselines(
    dataset: DatasetSpec, predicted: Sequence[str], train: Split, selection: Split
) -> dict[str, NaiveBaseline]:
    """Fits the baseline of each prediction of a model; see `fit_naive_baseline`.

    Args:
        dataset: Of ratings or clicks, or both.
        predicted: Labels of a model of several goals; empty for a model that predicts the dataset's label alone.
        train: What the baselines are fitted on.
        selection: What their regularization is chosen by.

    Returns:
        Baselines by label, each of the rows that have the label; that of the dataset's label alone under the empty
        name.

    Raises:
        DataError: A split has no row with one of the labels, or all labels of clicks are alike.
    """
    if not predicted:
        return {"": fit_naive_baseline(dataset, train, selection)}
    baselines = {}
    for name in predicted:
        of_label = dataset.for_label(name)
        rows = (_RowsWithLabel(split, of_label.features.label) for split in (train, selection))
        baselines[name] = fit_naive_baseline(of_label, *rows)
    return baselines


class _RowsWithLabel:
    """The rows of a split that have a label."""

    def __init__(self, split: Split, label: Label):
        """Counts them.

        Raises:
            DataError: There are none.
        """
        self._split, self._name = split, label.name
        self.num_examples = sum(batch.num_rows for batch in self.batches((label,)))
        if not self.num_examples:
            raise DataError(
                f"column {label.name!r} holds no value in one of the splits train and eval, and model.heads predicts "
                "it; mend the data, split it otherwise, or leave the head out"
            )

    def batches(self, columns: Sequence[Column], every: int = 1) -> Iterator[pa.RecordBatch]:
        for batch in self._split.batches(columns, every):
            yield batch.filter(pc.greater(pc.list_value_length(batch.column(self._name)), 0))


def initial_biases(
    baseline: NaiveBaseline, features: FeatureSpec, tokens_of_table: Mapping[str, pa.Array]
) -> dict[str, np.ndarray]:
    """The biases as the rating model's embedding tables start from them.

    Args:
        baseline: Fitted.
        features: Says which table a key column looks up in.
        tokens_of_table: Tokens of each table that starts from biases, in the order of their ids.

    Returns:
        By table, float32 `[tokens]`.
    """
    columns = {column.name: column.table for column in features.categorical}
    return {
        columns[entity.key]: entity.of_tokens(tokens_of_table[columns[entity.key]]).astype(np.float32)
        for entity in baseline.entities
        if columns.get(entity.key) in tokens_of_table
    }


def _usable(error: float, label_range: tuple[float, float]) -> float:
    """An error that other errors can be divided by."""
    low, high = label_range
    return max(error, (high - low) / 100) or 1.0


def _range(dataset: DatasetSpec, labels: np.ndarray) -> tuple[float, float]:
    """The dataset's label range, or that of the training labels where the dataset names none."""
    return dataset.label_range or (float(labels.min()), float(labels.max()))


def _fit_biases(dataset: DatasetSpec, train: Split, selection: Split) -> NaiveBaseline:
    keys = (dataset.user_key, dataset.item_key)
    names = (*keys, dataset.features.label.name, _weight_name(dataset))
    columns = [column for column in dataset.features.columns if column.name in names]
    (users, user), (items, item), labels, weights = _encoded(train, columns, keys, dataset)
    known = (TokenIndex(users), TokenIndex(items))
    rows = [
        [tokens.places(_single_values(batch, key)) for key, tokens in zip(keys, known, strict=True)]
        + [_labels(batch, dataset.features.label.name), _weights(batch, dataset)]
        for batch in selection.batches(columns)
    ]
    chosen_by = biases.Ratings(*(np.concatenate(part) for part in zip(*rows, strict=True)))
    fitted = biases.fit_best(
        biases.Ratings(user, item, labels, weights / weights.mean()), chosen_by, len(users), len(items)
    )
    label_range = _range(dataset, labels)
    return NaiveBaseline(
        name=BIASES_NAME,
        mean=fitted.mean,
        label_range=label_range,
        entities=(EntityBiases(keys[0], users, fitted.user), EntityBiases(keys[1], items, fitted.item)),
        shrinkage=fitted.shrinkage,
        error=_usable(fitted.error(chosen_by), label_range),
        weight=_weight_name(dataset),
    )


def _fit_clicks(dataset: DatasetSpec, train: Split, selection: Split) -> NaiveBaseline:
    spec, label = dataset.features, dataset.features.label.name
    columns = (*spec.inputs, spec.label, *_weight_columns(dataset))
    fitted_on, chosen_by = (
        concatenated(split.batches(columns, every=-(-split.num_examples // _CLICK_ROWS)))
        for split in (train, selection)
    )
    labels = _labels(fitted_on, label)
    clicks = int(labels.sum())
    if not 0 < clicks < len(labels):
        raise DataError(
            f"column {label!r} of the training split: {clicks} of {len(labels)} rows read are clicks; a click model "
            "needs rows with label 1 and rows with label 0. Check the column, or split the data otherwise"
        )
    weights, selection_weights = _weights(fitted_on, dataset), _weights(chosen_by, dataset)
    mean = float(np.average(labels.astype(np.float64), weights=weights)) if weights.any() else math.nan
    if not 0 < mean < 1:
        raise DataError(
            f"column {label!r} of the training split: all rows with weight have one label; a click model needs rows "
            "with label 1 and rows with label 0. Check interactions.weight"
        )
    regression = logistic.fit(
        fitted_on, labels, chosen_by, _labels(chosen_by, label), spec, weights / weights.mean(), selection_weights
    )
    return NaiveBaseline(MEAN_NAME, mean, _range(dataset, labels), regression=regression, weight=_weight_name(dataset))


def _encoded(
    split: Split, columns: list[Column], keys: tuple[str, str], dataset: DatasetSpec
) -> tuple[tuple[pa.Array, np.ndarray], tuple[pa.Array, np.ndarray], np.ndarray, np.ndarray]:
    """Per key the distinct tokens and each row's place among them, `[rows]`; then labels and weights, `[rows]`."""
    tokens: tuple[list[pa.Array], list[pa.Array]] = ([], [])
    labels, weights = [], []
    for batch in split.batches(columns):
        for of_key, key in zip(tokens, keys, strict=True):
            of_key.append(_single_values(batch, key).dictionary_encode())
        labels.append(_labels(batch, dataset.features.label.name))
        weights.append(_weights(batch, dataset))
    users, items = (_one_array(pa.chunked_array(of_key).unify_dictionaries()) for of_key in tokens)
    return (
        (users.dictionary, users.indices.to_numpy(zero_copy_only=False)),
        (items.dictionary, items.indices.to_numpy(zero_copy_only=False)),
        np.concatenate(labels),
        np.concatenate(weights),
    )


def _weight_name(dataset: DatasetSpec) -> str:
    return dataset.features.example_weight.name if dataset.features.example_weight else ""


def _weight_columns(dataset: DatasetSpec) -> tuple[Column, ...]:
    return (dataset.features.example_weight,) if dataset.features.example_weight else ()


def _weights(batch: pa.RecordBatch, dataset: DatasetSpec) -> np.ndarray:
    return _weights_of(batch, _weight_name(dataset))


def _weights_of(batch: pa.RecordBatch, column: str) -> np.ndarray:
    """Weights of raw examples, float64 `[rows]`; 1 without a column of them."""
    if not column:
        return np.ones(batch.num_rows)
    return _single_values(batch, column).to_numpy(zero_copy_only=False).astype(np.float64)


def _single_values(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The values of a column that has one in every row, `[rows]`."""
    values = batch.column(name).flatten()
    if len(values) != batch.num_rows:
        raise DataError(f"column {name!r}: {len(values)} values in {batch.num_rows} rows; expected one in every row")
    return values


def _labels(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return _single_values(batch, name).to_numpy(zero_copy_only=False)


def _one_array(chunked: pa.ChunkedArray) -> pa.Array:
    combined = chunked.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _read_table(path: str) -> pa.Table:
    with tf.io.gfile.GFile(path, "rb") as file:
        return pq.read_table(pa.BufferReader(file.read()))
