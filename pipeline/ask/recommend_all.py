"""Writes what a pushed retrieval model recommends to every user: an Apache Beam job.

    interactions -> rows -> partitions of whole users -> queries -> recommendations -> Parquet files

The interactions are read as ingestion reads them, and no process holds more than those of one partition.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.example_gen.joins.histories import Interactions, current_queries
from components.example_gen.joins.retrieval import QueryExamples
from components.example_gen.readers.blocks import find_files, find_pieces
from components.example_gen.rows import ITEM, POSITION, ROW_TYPES, TIME, TOKEN, TRAIN, USER, Rows
from components.example_gen.spilling import IN_MEMORY, Aside, of_value
from components.example_gen.transforms import GatherUsers, Reading, SharedEntities, read_interactions
from components.once_per_worker import OncePerWorker
from components.retrieval_index.exact import IDS, SCORES, TITLES, queries_at_once
from components.scratch import scratch_directory
from pipeline import beam_introspection
from pipeline.ask.recommend import IndexModel, retrieval_data
from pipeline.beam import BeamOptions
from trainer_module.errors import ConfigError

_log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [("user", pa.string()), ("rank", pa.int32()), ("item", pa.string()), ("title", pa.string()),
     ("score", pa.float32())]
)  # fmt: skip

_SECONDS_BETWEEN_REPORTS = 10.0
_PART, _SUFFIX = "part", ".parquet"


def recommend_all(
    model_dir: Path,
    output: Path,
    k: int,
    exclude_seen: bool,
    runner: BeamOptions,
    data_dir: Path | None = None,
    num_shards: int = 1,
) -> int:
    """Writes the best items of every user to Parquet, which appears complete or not at all.

    Args:
        model_dir: A pushed version.
        output: The file, or for several shards the directory of files; their columns are those of `SCHEMA`.
        k: Items per user.
        exclude_seen: Leave out what a user has interacted with.
        runner: Where the job runs; its workers read and write the same paths as this process.
        data_dir: Holds the raw files; None means where the model's data came from.
        num_shards: Number of files.

    Returns:
        Number of rows.

    Raises:
        ConfigError: Something else is where the output shall be, or the runner is `dataflow`.
        DataError: The data is not there.
        ModelError: The directory holds no pushed version, or one that ranks.
    """
    # Workers of a cluster have another working directory.
    model_dir, output, data_dir = model_dir.absolute(), output.absolute(), data_dir and data_dir.absolute()
    _check_output(output, num_shards)
    directory, config = retrieval_data(model_dir, data_dir)
    table = config.described().tables.interactions
    files = find_files(directory, table, "interactions")
    pieces = find_pieces(files, table)
    output.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(output.parent, ".recommendations-") as staging:
        written, waiting = staging / "shards", staging / "waiting"
        written.mkdir()
        waiting.mkdir()
        # Beam's in-process runner would hold all rows in memory while users are gathered.
        aside = Aside(str(waiting)) if runner.runner == "local" else IN_MEMORY
        reading = replace(Reading.of(directory, config, files, pieces), aside=aside)
        beam_introspection.remember()
        with beam.Pipeline(argv=list(runner.args())) as pipeline:
            shared = SharedEntities(reading)
            interactions = read_interactions(pipeline, pieces, reading, shared)
            _ = (
                interactions.rows
                | "KeepInteractions" >> beam.Map(of_value(_interactions_alone))
                | "GatherUsers" >> GatherUsers(reading.num_partitions, _schema(reading), aside)
                | "Recommend" >> beam.ParDo(_Recommend(model_dir, reading, shared, k, exclude_seen), *interactions.seen)
                | "Write"
                >> beam.io.WriteToParquetBatched(
                    os.path.join(written, _PART), SCHEMA, num_shards=num_shards, file_name_suffix=_SUFFIX
                )
            )
        shards = sorted(written.glob(f"{_PART}*{_SUFFIX}"))
        num_rows = sum(pq.read_metadata(shard).num_rows for shard in shards)
        if num_shards == 1:
            os.replace(shards[0], output)
        else:
            if output.exists():
                os.replace(output, staging / "earlier")
            os.replace(written, output)
    return num_rows


def _check_output(output: Path, num_shards: int) -> None:
    """Refuses to replace what `recommend_all` has not written."""
    if num_shards == 1:
        if output.is_dir():
            raise ConfigError(f"{output} is a directory; name a file, or ask for several files with --shards")
    elif output.is_file():
        raise ConfigError(f"{output} is a file; several shards are written to a directory of their own. Name another")
    elif output.is_dir() and (foreign := [p.name for p in output.iterdir() if not p.match(f"{_PART}-*{_SUFFIX}")]):
        raise ConfigError(
            f"{output} holds {sorted(foreign)[0]!r}, which is no file of recommendations; name a directory that may be "
            "replaced"
        )


def _schema(reading: Reading) -> pa.Schema:
    """Arrow types of what queries are made of."""
    names = [POSITION, USER, ITEM, *([TIME] if reading.dataset.tables.interactions.time else [])]
    return pa.schema([(name, ROW_TYPES[name]) for name in names])


def _interactions_alone(rows: Rows) -> Rows:
    """Without context and labels, and as if all rows were in one split."""
    names = [name for name in (POSITION, USER, ITEM, TIME) if rows.has(name)]
    return Rows(rows.index, rows.batch.select(names), np.full(rows.batch.num_rows, TRAIN, np.int8))


class _Recommend(beam.DoFn):
    """From partitions of users to tables of their recommendations; the users without interactions are among them."""

    def __init__(self, model_dir: Path, reading: Reading, shared: SharedEntities, k: int, exclude_seen: bool):
        self._model_dir, self._options = model_dir, (k, exclude_seen)
        self._dataset, self._num_partitions = reading.dataset, reading.num_partitions
        self._entities, self._model = shared, OncePerWorker[IndexModel]()

    def setup(self):
        self._num_done, self._reported_at = 0, time.monotonic()

    def process(self, element: Rows, *seen) -> Iterator[pa.Table]:
        model = self._model.get(lambda: IndexModel(self._model_dir))
        entities = self._entities.get(seen)
        assert entities.users is not None
        users = np.arange(element.index, entities.users.num_rows, self._num_partitions)
        queries = current_queries(Interactions.of(element), users, self._dataset.history)
        batch = QueryExamples(self._dataset).build(queries, None, None, entities).to_batch()
        names = entities.users[TOKEN].take(users).combine_chunks().cast(pa.string())
        size = queries_at_once(entities.num_candidates)
        for start in range(0, len(users), size):
            self._report(start / len(users))
            yield _table(names.slice(start, size), model.find(batch.slice(start, size), *self._options))
        self._num_done += 1

    def _report(self, share: float) -> None:
        """Says how far this worker is, if it has not said so lately; the share is that of the partition under way."""
        if time.monotonic() - self._reported_at > _SECONDS_BETWEEN_REPORTS:
            self._reported_at = time.monotonic()
            _log.info("%.1f of %d partitions of users", self._num_done + share, self._num_partitions)


def _table(users: pa.Array, answer: Mapping[str, np.ndarray]) -> pa.Table:
    """From arrays `[users, k]`; items that do not exist, where fewer than k are left, have no identifier."""
    num_users, k = answer[SCORES].shape
    items = pa.array(answer[IDS].ravel(), pa.binary())
    table = pa.table(
        {
            "user": users.take(pa.array(np.repeat(np.arange(num_users), k))),
            "rank": pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), num_users)),
            "item": items.cast(pa.string()),
            "title": pa.array(answer[TITLES].ravel(), pa.binary()).cast(pa.string()),
            "score": pa.array(answer[SCORES].ravel()),
        }
    )
    return table.filter(pc.not_equal(pc.binary_length(items), 0)).cast(SCHEMA)
