"""Asks a pushed retrieval model what to show to users."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from apache_beam.utils.shared import Shared
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tfx_bsl.coders import example_coder

from components.pusher.verify import request_columns
from components.retrieval_index.exact import BY_COLUMN, EXCLUDE, IDS, SCORES, TITLES, K
from components.scratch import scratch_directory
from pipeline import beam_introspection
from pipeline.ask.predict import Predictor
from pipeline.ask.requests import Given, Requests
from pipeline.ask.versions import data_config, load_model, raw_directory, read_summary
from pipeline.beam import LocalBeamConfig
from trainer_module.data.spec import SEEN
from trainer_module.errors import ModelError

_log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [("user", pa.string()), ("rank", pa.int32()), ("item", pa.string()), ("title", pa.string()),
     ("score", pa.float32())]
)  # fmt: skip

# Scores that exist at once in a batch job: 64 MB.
_SCORES_AT_ONCE = 16 << 20
_SECONDS_BETWEEN_REPORTS = 10.0


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
            data_dir: Holds the raw files; None means where the model's data came from.
            users: Identifiers that will be asked for; the raw files need not name them.
            items: Items of a given history.

        Raises:
            DataError: The data is not there.
            ModelError: The directory holds no pushed version, or one that ranks.
        """
        summary = read_summary(model_dir)
        config = data_config(summary)
        if config.described().task != "retrieval":
            raise ModelError(f"{model_dir} ranks pairs and finds no items; ask `recspan predict`")
        self.model_dir = model_dir
        self.requests = Requests(raw_directory(summary, data_dir), config, users, items)
        self._encoder = example_coder.RecordBatchToExamplesEncoder()

    @property
    def users(self) -> list[str]:
        """Identifiers of all users."""
        return self.requests.users

    @property
    def num_items(self) -> int:
        """Number of items that can be found."""
        return self.requests.num_items

    @cached_property
    def _model(self) -> Any:
        return load_model(self.model_dir, BY_COLUMN)

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
        batch = self.requests.queries(users, given)
        signature = self._model.signatures[BY_COLUMN]
        specs = dict(signature.structured_input_signature[1])
        columns = {name: spec for name, spec in specs.items() if name not in (EXCLUDE, K)}
        seen = batch.column(SEEN).to_pylist() if exclude_seen else [[]] * len(users)
        answer = signature(
            **request_columns(self._encoder.encode(batch), columns),
            **{
                EXCLUDE: tf.ragged.constant(seen, dtype=tf.string).to_tensor(shape=[len(users), None]),
                K: tf.constant(k),
            },
        )
        return _recommendations(users, {name: answer[name].numpy() for name in (IDS, TITLES, SCORES)})


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


def recommend_all(
    model_dir: Path,
    output: Path,
    k: int,
    exclude_seen: bool,
    runner: LocalBeamConfig,
    data_dir: Path | None = None,
) -> int:
    """Writes the best items of every user to a Parquet file, which appears complete or not at all.

    Args:
        model_dir: A pushed version.
        output: The file; its columns are those of `SCHEMA`.
        k: Items per user.
        exclude_seen: Leave out what a user has interacted with.
        runner: Where the job runs; its workers read and write the same paths as this process.
        data_dir: As for `Recommender`.

    Returns:
        Number of rows.
    """
    # Workers of a cluster have another working directory.
    model_dir, output, data_dir = model_dir.absolute(), output.absolute(), data_dir and data_dir.absolute()
    recommender = Recommender(model_dir, data_dir)
    users, size = recommender.users, max(1, _SCORES_AT_ONCE // recommender.num_items)
    batches = [users[start : start + size] for start in range(0, len(users), size)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(output.parent, ".recommendations-") as staging:
        prefix = os.path.join(staging, "part")
        beam_introspection.remember()
        with beam.Pipeline(argv=list(runner.args())) as pipeline:
            _ = (
                pipeline
                | "Users" >> beam.Create(batches)
                | "Spread" >> beam.Reshuffle()
                | "Recommend" >> beam.ParDo(_Recommend(model_dir, data_dir, k, exclude_seen, len(users)))
                | "Write" >> beam.io.WriteToParquet(prefix, SCHEMA, num_shards=1, shard_name_template="")
            )
        os.replace(prefix, output)
    return pq.read_metadata(output).num_rows


class _Recommend(beam.DoFn):
    """From batches of users to rows."""

    def __init__(self, model_dir: Path, data_dir: Path | None, k: int, exclude_seen: bool, num_users: int):
        self._sources = model_dir, data_dir
        self._options = k, exclude_seen
        self._num_users = num_users
        self._shared = Shared()

    def start_bundle(self):
        self._recommender = self._shared.acquire(lambda: Recommender(*self._sources))
        self._done, self._reported_at = 0, time.monotonic()

    def process(self, element: list[str]) -> Iterator[dict[str, Any]]:
        yield from map(asdict, self._recommender.recommend(element, *self._options))
        self._done += len(element)
        if time.monotonic() - self._reported_at > _SECONDS_BETWEEN_REPORTS:
            self._reported_at = time.monotonic()
            _log.info("recommended for %d of %d users", self._done, self._num_users)


def _recommendations(users: Sequence[str], answer: Mapping[str, np.ndarray]) -> list[Recommendation]:
    """From arrays `[users, k]`; items that do not exist, where fewer than k are left, have no identifier."""
    return [
        Recommendation(user, rank, item.decode(), title.decode(), float(score))
        for user, ids, titles, scores in zip(users, answer[IDS], answer[TITLES], answer[SCORES], strict=True)
        for rank, (item, title, score) in enumerate(zip(ids, titles, scores, strict=True), start=1)
        if item
    ]
