"""Asks a pushed model for the ratings of users and items."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders import example_coder

from components.example_gen.catalog import ROWS_SCHEMA, Catalog, resolve
from components.example_gen.examples import ExampleBuilder, Examples
from components.example_gen.interactions import Interactions
from components.example_gen.layout import RATINGS_FILE
from components.example_gen.neighbour_examples import NeighbourExampleBuilder
from components.example_gen.neighbours import RATED, Neighbours
from components.example_gen.ratings import parse_ratings
from components.example_gen.transforms import load_catalog
from components.flat_example_gen.config import DESCRIBED_DATASETS, NAMED_DATASETS
from components.pusher.component import SUMMARY_FILE_NAME
from components.pusher.publish import latest_version
from components.pusher.verify import request_columns
from trainer_module.data.datasets import dataset_spec
from trainer_module.errors import DataError, ModelError


def last_pushed(root: Path, retrieval: bool = False) -> Path:
    """The version that was pushed last, by any pipeline below `root`.

    Args:
        root: Directory of runs.
        retrieval: Whether a retrieval model is wanted, or one that ranks.

    Raises:
        ModelError: There is none.
    """
    versions = [version for name in (root / "serving").glob("*") if (version := latest_version(name))]
    of_kind = [version for version in versions if _is_retrieval(read_summary(version)) == retrieval]
    if not of_kind:
        kind, command = ("retrieval", " --config movielens-100k-two-tower") if retrieval else ("ranking", "")
        raise ModelError(f"no pushed {kind} model below {root / 'serving'}; `recspan pipeline run{command}` makes one")
    return max(of_kind, key=lambda version: (version / SUMMARY_FILE_NAME).stat().st_mtime_ns)


def read_summary(model_dir: Path) -> dict[str, Any]:
    """The summary of the run that pushed a version."""
    return json.loads((model_dir / SUMMARY_FILE_NAME).read_text())


def raw_directory(summary: Mapping[str, Any], data_dir: Path | None) -> Path:
    """Where the raw files lie: in `data_dir`, or where the model's data came from.

    Raises:
        DataError: They are not there.
    """
    directory = data_dir or Path(summary["data_dir"])
    if not directory.is_dir():
        raise DataError(f"{directory} is not there; name the directory of the raw files with --data-dir")
    return directory


def read_interactions(directory: Path, catalog: Catalog, label_range: tuple[float, float]) -> Interactions:
    """All ratings of a directory; bad rows are left out, and all are as if in one split.

    Args:
        directory: Of the raw files.
        catalog: Of the same directory.
        label_range: Smallest and largest rating.
    """
    data = (directory / RATINGS_FILE).read_bytes()
    parsed, _ = parse_ratings(data, 1, label_range)
    rows, _ = resolve(parsed, catalog, data, 1)
    return Interactions.of(rows, np.zeros(rows.num_rows, np.int8))


def _is_retrieval(summary: Mapping[str, Any]) -> bool:
    return summary["config"]["model"]["type"] == "two_tower"


class RatingPredictor:
    """A pushed rating model beside the raw files that its inputs come from."""

    def __init__(self, model_dir: Path, data_dir: Path | None = None):
        """Reads the files; the model is loaded by the first question.

        Args:
            model_dir: A pushed version.
            data_dir: Holds the raw files; None means where the model's data came from.

        Raises:
            DataError: The data is not there.
            ModelError: The model knows no users and items.
        """
        summary = read_summary(model_dir)
        name = summary["config"]["data"]["dataset"]
        if name in (*DESCRIBED_DATASETS, *NAMED_DATASETS):
            raise ModelError(
                f"{model_dir} was trained on a table ({name}), whose rows are no pairs of a user and an item; call its "
                "signature `predict` with one value per column"
            )
        self._model_dir = model_dir
        self._dataset = dataset_spec(name)
        directory = raw_directory(summary, data_dir)
        self._catalog, _ = load_catalog(str(directory))
        self._build = self._builder(directory, summary["config"]["data"].get("neighbours"))

    def _builder(self, directory: Path, length: int) -> Callable[[pa.RecordBatch], Examples]:
        """What makes examples of rows: for a dataset with neighbours, from all ratings that there are now."""
        # What a user did in training only tells evaluation slices apart.
        nothing = np.zeros(self._catalog.users.num_rows, np.int64)
        if RATED not in self._dataset.features.arrow_schema().names:
            rows = ExampleBuilder(self._dataset, self._catalog)
            return lambda batch: rows.build(batch, nothing)
        known = read_interactions(directory, self._catalog, self._dataset.label_range)
        sample = Neighbours.of(known.user, known.item, length)
        with_neighbours = NeighbourExampleBuilder(self._dataset, self._catalog)
        return lambda batch: with_neighbours.build(batch, sample, length, nothing)

    @cached_property
    def _model(self) -> Any:
        return tf.saved_model.load(str(self._model_dir))

    def title(self, item: str) -> str:
        """What people call an item."""
        return self._catalog.items["title"][self._catalog.item_index[item]].as_py()

    def examples(self, users: Sequence[str], items: Sequence[str]) -> pa.RecordBatch:
        """The columns of pairs, joined as ingestion joins them.

        Raises:
            DataError: There is no such user or item.
        """
        for what, tokens, index in (
            ("user", users, self._catalog.user_index),
            ("item", items, self._catalog.item_index),
        ):
            if unknown := [token for token in tokens if token not in index]:
                raise DataError(f"the dataset {self._dataset.name} has no {what} {unknown[0]!r}")
        # A request has neither a rating nor a time yet; the model reads neither.
        nothing = [0] * len(users)
        columns = {
            "user": [self._catalog.user_index[user] for user in users],
            "item": [self._catalog.item_index[item] for item in items],
            "rating": nothing,
            "timestamp": nothing,
            "line": nothing,
        }
        return self._build(pa.RecordBatch.from_pydict(columns, schema=ROWS_SCHEMA)).to_batch()

    def ratings(self, users: Sequence[str], items: Sequence[str]) -> np.ndarray:
        """What users would rate items, float32 `[pairs]`, by the model's `predict` signature.

        Raises:
            DataError: There is no such user or item.
        """
        signature = self._model.signatures["predict"]
        serialized = example_coder.RecordBatchToExamplesEncoder().encode(self.examples(users, items))
        request = request_columns(serialized, signature.structured_input_signature[1])
        return signature(**request)["rating"].numpy()
