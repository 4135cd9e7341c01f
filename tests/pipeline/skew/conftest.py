"""A small pushed version of a click model with its training statistics, and logs of a server that answers with it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow_data_validation.statistics import stats_impl

from components.example_gen.config import DataConfig
from tests.serving.loader import LoadedModel, answer
from tests.shared import shared_directory

DATA = {
    "interactions": {
        "files": "rows.csv",
        "label": "clicked",
        "categorical": ["color", {"name": "tags", "separator": "|"}],
        "numeric": ["price"],
    },
    "task": "click",
}
COLORS, TAGS = ("red", "green", "blue"), ("new", "sale", "last")
NUM_ROWS = 2000


class _Model(tf.Module):
    """Scores rows by their colour, their tags and their price; a version adds its own constant."""

    def __init__(self, directory: Path, version: int):
        super().__init__()
        self._tables = {}
        for name, tokens in (("color", COLORS), ("tags", TAGS)):
            file = directory / name
            file.write_text("".join(f"{token}\n" for token in tokens))
            self._tables[name] = tf.lookup.StaticVocabularyTable(
                tf.lookup.TextFileInitializer(
                    str(file),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                num_oov_buckets=1,
            )
        self._version = tf.constant(float(version))

    def _score(self, color, tags, price):
        of_tags = tf.where(
            tf.strings.strip(tags) == "", 0.0, tf.cast(self._tables["tags"].lookup(tags) + 1, tf.float32)
        )
        price = tf.where(tf.math.is_nan(price), 0.0, price)
        return {
            "probability": tf.cast(self._tables["color"].lookup(color), tf.float32)
            + tf.reduce_sum(of_tags, axis=1) / 8
            + price / 64
            + self._version
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="color"),
            tf.TensorSpec([None, None], tf.string, name="tags"),
            tf.TensorSpec([None], tf.float32, name="price"),
        ]
    )
    def predict(self, color, tags, price):
        return self._score(color, tags, price)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples):
        features = {
            "color": tf.io.FixedLenFeature([], tf.string, ""),
            "tags": tf.io.VarLenFeature(tf.string),
            "price": tf.io.FixedLenFeature([], tf.float32, float("nan")),
        }
        parsed = tf.io.parse_example(examples, features)
        return self._score(parsed["color"], tf.sparse.to_dense(parsed["tags"]), parsed["price"])


def rows(count: int, seed: int) -> dict[str, list[Any]]:
    """Columns as a client sends them: a token, a list of tokens, a number that one row in ten lacks."""
    random = np.random.default_rng(seed)
    tags = [[tag for tag in TAGS if random.random() < 0.5] or ["new"] for _ in range(count)]
    price = np.where(random.random(count) < 0.1, np.nan, random.uniform(1, 9, count).astype(np.float32))
    return {"color": random.choice(COLORS, count, p=[0.6, 0.3, 0.1]).tolist(), "tags": tags, "price": price.tolist()}


@dataclass(frozen=True)
class Pushed:
    """Two versions of the model with the training statistics of both."""

    directory: Path

    @property
    def version(self) -> Path:
        return self.directory / "2"

    @property
    def statistics(self) -> Path:
        return self.directory / "FeatureStats.pb"

    def log(
        self,
        file: Path,
        columns: Mapping[str, Sequence[Any]],
        version: int = 2,
        asked: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row,
    ) -> Path:
        """Writes a log of requests in the row format, three rows each.

        Args:
            file: To write.
            columns: What the model is asked.
            version: That answers.
            asked: What the log says of each row that was asked.
        """
        model = LoadedModel(self.directory / str(version))
        records = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        with file.open("w") as log:
            for start in range(0, len(records), 3):
                body = {"signature_name": "predict", "instances": padded(records[start : start + 3])}
                said = body | {"instances": [asked(record) for record in body["instances"]]}
                log.write(json.dumps({"request": said, "response": answer(model, body)}) + "\n")
        return file


def padded(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one request, whose lists are filled up to one length."""
    width = max(len(record["tags"]) for record in records)
    return [record | {"tags": record["tags"] + [""] * (width - len(record["tags"]))} for record in records]


def _push(directory: Path) -> None:
    for version in (1, 2):
        vocabularies = directory / f"vocabularies-{version}"
        vocabularies.mkdir()
        model = _Model(vocabularies, version)
        target = directory / str(version)
        tf.saved_model.save(model, str(target), {"predict": model.predict, "serving_default": model.serve})
        (target / "summary.json").write_text(json.dumps({"config": {"data": DATA}, "data_dir": "."}))
    trained = rows(NUM_ROWS, seed=0)
    schema = DataConfig.model_validate(DATA).described().spec().features.arrow_schema()
    lists = {
        "color": [[color.encode()] for color in trained["color"]],
        "tags": [[tag.encode() for tag in tags] for tags in trained["tags"]],
        "price": [[] if np.isnan(price) else [price] for price in trained["price"]],
        "clicked": [[1.0]] * NUM_ROWS,
    }
    batch = pa.RecordBatch.from_arrays([pa.array(lists[field.name], field.type) for field in schema], schema=schema)
    found = stats_impl.generate_statistics_in_memory(batch)
    (directory / "FeatureStats.pb").write_bytes(found.SerializeToString())


@pytest.fixture(scope="session")
def pushed(tmp_path_factory) -> Pushed:
    return Pushed(shared_directory(tmp_path_factory, "pushed-clicks", _push))
