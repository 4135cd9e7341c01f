"""Asks a pushed model for the rating of one user and one item."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.example_gen.catalog import ROWS_SCHEMA, Catalog
from components.example_gen.examples import ExampleBuilder
from components.example_gen.transforms import load_catalog
from components.flat_example_gen.config import DESCRIBED_DATASETS, NAMED_DATASETS
from components.pusher.component import SUMMARY_FILE_NAME
from components.pusher.publish import latest_version
from trainer_module.datasets import dataset_spec
from trainer_module.datasets.spec import DatasetSpec
from trainer_module.errors import DataError, ModelError


@dataclass(frozen=True)
class Prediction:
    """What a model says.

    Attributes:
        model: Directory of the pushed version.
        rating: The predicted rating.
        columns: What was sent, by column.
        title: Of the item.
    """

    model: Path
    rating: float
    columns: Mapping[str, list[Any]]
    title: str


def last_pushed(root: Path) -> Path:
    """The version that was pushed last, by any pipeline below `root`.

    Raises:
        ModelError: There is none.
    """
    newest = [version for name in (root / "serving").glob("*") if (version := latest_version(name))]
    if not newest:
        raise ModelError(f"no pushed model below {root / 'serving'}; `recspan pipeline run` makes one")
    return max(newest, key=lambda version: (version / SUMMARY_FILE_NAME).stat().st_mtime_ns)


def predict(model_dir: Path, user: str, item: str, data_dir: Path | None = None) -> Prediction:
    """Calls the model's `predict` signature with the attributes of a user and an item.

    Args:
        model_dir: A pushed version.
        user: Identifier.
        item: Identifier.
        data_dir: Holds the attribute files; None means where the model's data came from.

    Raises:
        DataError: The data is not there, or knows no such user or item.
    """
    summary = json.loads((model_dir / SUMMARY_FILE_NAME).read_text())
    name = summary["config"]["data"]["dataset"]
    if name in (*DESCRIBED_DATASETS, *NAMED_DATASETS):
        raise ModelError(
            f"{model_dir} was trained on a table ({name}), whose rows are no pairs of a user and an item; call its "
            "signature `predict` with one value per column"
        )
    dataset = dataset_spec(name)
    directory = data_dir or Path(summary["data_dir"])
    if not directory.is_dir():
        raise DataError(f"{directory} is not there; name the directory of the raw files with --data-dir")
    catalog, _ = load_catalog(str(directory))
    columns = _columns(dataset, catalog, user, item)
    signature = tf.saved_model.load(str(model_dir)).signatures["predict"]
    specs = signature.structured_input_signature[1]
    request = {name: _tensor(columns[name], spec) for name, spec in specs.items()}
    rating = float(signature(**request)["rating"][0])
    title = catalog.items["title"][catalog.item_index[item]].as_py()
    return Prediction(model_dir, rating, {name: columns[name] for name in specs}, title)


def _columns(dataset: DatasetSpec, catalog: Catalog, user: str, item: str) -> dict[str, list[Any]]:
    """The values of all columns of one example, joined as ingestion joins them."""
    for what, token, index in (("user", user, catalog.user_index), ("item", item, catalog.item_index)):
        if token not in index:
            raise DataError(f"the dataset {dataset.name} has no {what} {token!r}")
    row = {"user": [catalog.user_index[user]], "item": [catalog.item_index[item]]}
    # A request has neither a rating nor a time yet; the model reads neither.
    row |= {"rating": [0.0], "timestamp": [0], "line": [0]}
    rows = pa.RecordBatch.from_pydict(row, schema=ROWS_SCHEMA)
    examples = ExampleBuilder(dataset, catalog).build(rows, np.zeros(catalog.users.num_rows, np.int64))
    return {name: values[0] for name, values in examples.to_batch().to_pydict().items()}


def _tensor(values: list[Any], spec: tf.TensorSpec) -> tf.Tensor:
    if spec.shape.rank == 2:
        return tf.constant([values], spec.dtype)
    return tf.constant(values or [np.nan], spec.dtype)
