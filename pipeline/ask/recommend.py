"""Asks a pushed retrieval model what to show to users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tfx_bsl.coders import example_coder

from components.example_gen.config import DataConfig
from components.pusher.verify import request_columns
from components.retrieval_index.exact import BY_COLUMN, EXCLUDE, IDS, SCORES, TITLES, K
from pipeline.ask.predict import Predictor
from pipeline.ask.requests import Given, Requests
from pipeline.ask.versions import data_config, load_model, raw_directory, read_summary
from trainer_module.data.spec import SEEN
from trainer_module.errors import ModelError


@dataclass(frozen=True)
class Recommendation:
    """One item for one user.

    Attributes:
        user: Identifier.
        rank: From 1.
        item: Identifier.
        title: Of the item.
        score: Dot product of the two towers' vectors.
    """

    user: str
    rank: int
    item: str
    title: str
    score: float


class IndexModel:
    """A pushed retrieval model that answers queries."""

    def __init__(self, model_dir: Path):
        """Loads the model.

        Raises:
            ModelError: The directory holds no model, or one that ranks.
        """
        self._model = load_model(model_dir, BY_COLUMN)
        self._encoder = example_coder.RecordBatchToExamplesEncoder()

    def find(self, queries: pa.RecordBatch, k: int, exclude_seen: bool) -> dict[str, np.ndarray]:
        """The best items of each query, best first.

        Args:
            queries: Under the schema of the split `queries`.
            k: Items per query.
            exclude_seen: Leave out the items of the column `seen`.

        Returns:
            `IDS`, `TITLES` (bytes) and `SCORES`, `[queries, k]` each; an item that does not exist, where fewer than k
            are left, has an empty identifier.
        """
        signature = self._model.signatures[BY_COLUMN]
        specs = dict(signature.structured_input_signature[1])
        columns = {name: spec for name, spec in specs.items() if name not in (EXCLUDE, K)}
        seen = queries.column(SEEN).to_pylist() if exclude_seen else [[]] * queries.num_rows
        answer = signature(
            **request_columns(self._encoder.encode(queries), columns),
            **{
                EXCLUDE: tf.ragged.constant(seen, dtype=tf.string).to_tensor(shape=[queries.num_rows, None]),
                K: tf.constant(k),
            },
        )
        return {name: answer[name].numpy() for name in (IDS, TITLES, SCORES)}


def retrieval_data(model_dir: Path, data_dir: Path | None) -> tuple[str, DataConfig]:
    """The directory of the raw files of a pushed retrieval model, and its section `data`.

    Args:
        model_dir: A pushed version.
        data_dir: Holds the raw files; None means where the model's data came from.

    Raises:
        DataError: The data is not there.
        ModelError: The directory holds no pushed version, or one that ranks.
    """
    summary = read_summary(model_dir)
    config = data_config(summary)
    if config.described().task != "retrieval":
        raise ModelError(f"{model_dir} ranks pairs and finds no items; ask `recspan predict`")
    return raw_directory(summary, data_dir), config


class Recommender:
    """A pushed retrieval model beside the interactions that it was made from.

    Holds all interactions in memory: some forty bytes each.
    """

    def __init__(
        self, model_dir: Path, data_dir: Path | None = None, users: Sequence[str] = (), items: Sequence[str] = ()
    ):
        """Reads the raw files; the model is loaded by the first question.

        Args:
            model_dir: A pushed version.
            data_dir: As for `retrieval_data`.
            users: Identifiers that will be asked for; the raw files need not name them.
            items: Items of a given history.

        Raises:
            DataError: The data is not there.
            ModelError: The directory holds no pushed version, or one that ranks.
        """
        self.model_dir = model_dir
        self.requests = Requests(*retrieval_data(model_dir, data_dir), users, items)

    @cached_property
    def _model(self) -> IndexModel:
        return IndexModel(self.model_dir)

    def recommend(
        self, users: Sequence[str], k: int, exclude_seen: bool, given: Given | None = None
    ) -> list[Recommendation]:
        """The best items of each user, best first.

        What is unknown of a user, its own vector included, is answered from attributes and history.

        Args:
            users: Identifiers, distinct, among all users or those named to the constructor.
            k: Items per user.
            exclude_seen: Leave out what a user has interacted with.
            given: Attributes, history and context in place of those of the raw files.
        """
        return _recommendations(users, self._model.find(self.requests.queries(users, given), k, exclude_seen))


def ranked(recommendations: Sequence[Recommendation], predictor: Predictor) -> list[Recommendation]:
    """One user's items in the order of their predictions, which become their scores."""
    if not recommendations:
        return []
    scores = predictor.predict([each.user for each in recommendations], [each.item for each in recommendations])
    order = np.argsort(-scores, kind="stable").tolist()
    return [
        replace(recommendations[position], rank=rank, score=float(scores[position]))
        for rank, position in enumerate(order, start=1)
    ]


def print_recommendations(recommendations: Sequence[Recommendation], console: Console) -> None:
    """Prints a table."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("rank", "item", "title", "score"):
        table.add_column(column, justify="left" if column == "title" else "right")
    for each in recommendations:
        table.add_row(str(each.rank), escape(each.item), escape(each.title), f"{each.score:.4f}")
    console.print(table)


def _recommendations(users: Sequence[str], answer: Mapping[str, np.ndarray]) -> list[Recommendation]:
    """From arrays `[users, k]`; items that do not exist, where fewer than k are left, have no identifier."""
    return [
        Recommendation(user, rank, item.decode(), title.decode(), float(score))
        for user, ids, titles, scores in zip(users, answer[IDS], answer[TITLES], answer[SCORES], strict=True)
        for rank, (item, title, score) in enumerate(zip(ids, titles, scores, strict=True), start=1)
        if item
    ]
