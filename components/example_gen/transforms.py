"""The Beam side of ingestion: blocks of the ratings file in, one file per block and split out.

    blocks -> parse -> [summary of all rows, for protocols that need it] -> assign -> ratings per user in train
           -> join, encode, write -> leakage check

Elements are Arrow batches of some hundred thousand rows, so Beam's cost per element does not matter. All decisions
are made in the pure modules beside this one.
"""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from components.example_gen import leakage
from components.example_gen import old_splits as splits
from components.example_gen.assigned import Rows
from components.example_gen.bad_rows import BadRow
from components.example_gen.blocks import Block, read_block
from components.example_gen.catalog import Catalog, parse_catalog, resolve
from components.example_gen.config import IngestConfig
from components.example_gen.examples import ExampleBuilder
from components.example_gen.interactions import Interactions, find_queries, histories
from components.example_gen.layout import ITEMS_FILE, RATINGS_FILE, USERS_FILE
from components.example_gen.neighbour_examples import NeighbourExampleBuilder
from components.example_gen.neighbours import RATED, Neighbours
from components.example_gen.neighbours import merge as merge_neighbours
from components.example_gen.outcome import Outcome, combine
from components.example_gen.payload import ExampleWriter
from components.example_gen.ratings import parse_ratings
from components.example_gen.reporting import MergeAll, WriteOutcome
from components.example_gen.retrieval_examples import RetrievalExampleBuilder
from components.example_gen.retrieval_transforms import GatherUsers, partitions
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.spec import CANDIDATES, QUERIES, DatasetSpec

_OUTCOME = "outcome"
_EVIDENCE = "evidence"
# Lines whose evidence is checked together; it takes some 40 bytes each.
_LINES_PER_CHECK = 8_000_000


@dataclass(frozen=True)
class Ingestion:
    """One run: what is read, how, and where it goes.

    Attributes:
        data_dir: Directory or URI with the files of the layout.
        config: How rows are split and how many bad ones are tolerated.
        split_uris: Where the examples of each split go, by name: `splits.SPLITS`, for retrieval also `CANDIDATES` and
            `QUERIES`.
        examples_uri: Of the artifact; beside the examples goes the outcome.
        num_blocks: Blocks in all.
        num_lines: Lines in all.
    """

    data_dir: str
    config: IngestConfig
    split_uris: Mapping[str, str]
    examples_uri: str
    num_blocks: int
    num_lines: int

    @property
    def dataset(self) -> DatasetSpec:
        """What is known of the dataset."""
        return dataset_spec(self.config.dataset)

    @property
    def row_uris(self) -> tuple[str, ...]:
        """Where the examples of each of `splits.SPLITS` go, in that order."""
        return tuple(self.split_uris[name] for name in splits.SPLITS)


def open_file(path: str) -> Any:
    """Opens a local or remote file for binary reading; it is never taken for compressed."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def load_catalog(data_dir: str) -> tuple[Catalog, list[BadRow]]:
    """Reads and parses the attribute files of `data_dir`."""
    with (
        open_file(os.path.join(data_dir, USERS_FILE)) as users,
        open_file(os.path.join(data_dir, ITEMS_FILE)) as items,
    ):
        return parse_catalog(users.read(), items.read())


def ingest(pipeline: beam.Pipeline, blocks: Iterable[Block], run: Ingestion) -> None:
    """Adds the whole ingestion to a pipeline.

    Args:
        pipeline: Not yet run.
        blocks: Of the ratings file.
        run: Everything else.
    """
    # One catalog for each worker process, whichever step asks first.
    catalog = _SharedCatalog(run.data_dir)
    parsed = (
        pipeline
        | "Blocks" >> beam.Create(list(blocks))
        | "Spread" >> beam.Reshuffle()
        | "Parse" >> beam.ParDo(_Parse(run, catalog)).with_outputs(_OUTCOME, main="rows")
    )
    plans = []
    if splits.needs_plan(run.config.protocol):
        plan = (
            parsed.rows
            | "Summarize" >> beam.Map(lambda rows, protocol: splits.summary(protocol, rows.batch), run.config.protocol)
            | "Merge" >> beam.CombineGlobally(MergeAll(splits.merge)).without_defaults()
            | "Plan" >> beam.Map(lambda whole, config: splits.plan(config, whole), run.config)
        )
        plans = [beam.pvalue.AsIter(plan)]
    assigned = parsed.rows | "Assign" >> beam.ParDo(_Assign(run, catalog), *plans)
    train_ratings = _count_train_rows(assigned, "user", catalog)
    write = _Write(run, catalog, run.num_blocks)
    if run.dataset.task == "retrieval":
        train_choices = _count_train_rows(assigned, "item", catalog)
        _ = train_choices | "WriteCandidates" >> beam.Map(_write_candidates, run, catalog)
        count = partitions(run.num_lines)
        assigned, write = assigned | "GatherUsers" >> GatherUsers(count), _WriteInteractions(run, catalog, count)
    known = [beam.pvalue.AsIter(train_ratings)]
    if RATED in run.dataset.features.arrow_schema().names:
        write = _WriteWithNeighbours(run, catalog, run.num_blocks)
        known.append(beam.pvalue.AsIter(_sample_neighbours(assigned, run.config.neighbours)))
    written = assigned | "Write" >> beam.ParDo(write, *known).with_outputs(_OUTCOME, _EVIDENCE)
    checked = (
        written[_EVIDENCE]
        | "GroupEvidence" >> beam.GroupByKey()
        | "FindLeaks" >> beam.Map(_find_leaks, run.config.protocol)
    )
    outcomes = (parsed[_OUTCOME], written[_OUTCOME], checked)
    _ = outcomes | "Outcomes" >> beam.Flatten() | "Report" >> WriteOutcome(run.examples_uri, run.config.max_bad_rows)


class _SharedCatalog:
    """Loads the catalog once in each worker process, by the process's first call."""

    def __init__(self, data_dir: str):
        self._data_dir = data_dir
        self._shared = Shared()

    def get(self) -> Catalog:
        return self._shared.acquire(lambda: load_catalog(self._data_dir)[0])


class _Parse(beam.DoFn):
    def __init__(self, run: Ingestion, catalog: _SharedCatalog):
        self._run = run
        self._catalog = catalog

    def process(self, element: Block) -> Iterator[Any]:
        with open_file(os.path.join(self._run.data_dir, RATINGS_FILE)) as file:
            data = read_block(file, element)
        batch, malformed = parse_ratings(data, element.first_line, self._run.dataset.label_range)
        rows, unresolved = resolve(batch, self._catalog.get(), data, element.first_line)
        if bad := malformed + unresolved:
            # Combining at once bounds what travels on, however bad the block.
            outcome = combine([Outcome(num_bad_rows=len(bad), bad_rows=tuple(bad))], self._run.config.max_bad_rows)
            yield beam.pvalue.TaggedOutput(_OUTCOME, outcome)
        yield Rows(element.index, rows)


class _Assign(beam.DoFn):
    def __init__(self, run: Ingestion, catalog: _SharedCatalog):
        self._run = run
        self._catalog = catalog

    def start_bundle(self):
        self._splitter = splits.Splitter(self._run.config, self._catalog.get())

    def process(self, element: Rows, plans: Iterable[splits.Plan] = ()) -> Iterator[Rows]:
        yield Rows(element.index, element.batch, self._splitter.assign(element.batch, next(iter(plans), None)))


def _count_train_rows(assigned: beam.PCollection, key: Literal["user", "item"], catalog: _SharedCatalog) -> Any:
    """One array: the number of rows in the training split of each of the catalog's users or items."""

    def count(rows: Rows) -> np.ndarray:
        entities = catalog.get().users if key == "user" else catalog.get().items
        in_train = rows.batch.column(key).to_numpy()[rows.split == splits.TRAIN]
        return np.bincount(in_train, minlength=entities.num_rows)

    return (
        assigned
        | f"CountTrainRowsOf{key.title()}s" >> beam.Map(count)
        | f"AddUp{key.title()}s" >> beam.CombineGlobally(_AddArrays()).without_defaults()
    )


def _sample_neighbours(assigned: beam.PCollection, length: int) -> Any:
    """One `Neighbours`, of the rows in the training split."""

    def sample(rows: Rows) -> Neighbours:
        in_train = rows.split == splits.TRAIN
        user, item = (rows.batch.column(name).to_numpy()[in_train] for name in ("user", "item"))
        return Neighbours.of(user, item, length)

    return (
        assigned
        | "SampleNeighbours" >> beam.Map(sample)
        | "MergeNeighbours"
        >> beam.CombineGlobally(MergeAll(functools.partial(merge_neighbours, length=length))).without_defaults()
    )


class _Write(beam.DoFn):
    """Joins, encodes and writes rows; gives what is reported of them."""

    def __init__(self, run: Ingestion, catalog: _SharedCatalog, num_files: int):
        self._run = run
        self._catalog = catalog
        self._num_files = num_files

    def start_bundle(self):
        self._builder = ExampleBuilder(self._run.dataset, self._catalog.get())
        self._writer = ExampleWriter()

    def process(self, element: Rows, train_ratings: Iterable[np.ndarray]) -> Iterator[Any]:
        (counts,) = train_ratings
        self._write(element, counts)
        yield from self._findings(element)

    def _write(self, rows: Rows, train_ratings: np.ndarray) -> None:
        examples = self._builder.build(rows.batch, train_ratings)
        self._writer.write(self._run.row_uris, rows.split, rows.index, self._num_files, examples)

    def _findings(self, rows: Rows) -> Iterator[Any]:
        split, protocol = rows.split, self._run.config.protocol
        yield beam.pvalue.TaggedOutput(
            _OUTCOME, Outcome(split_rows=tuple(np.bincount(split, minlength=len(splits.SPLITS)).tolist()))
        )
        evidence = leakage.Evidence(
            *(rows.batch.column(name).to_numpy() for name in ("user", "item", "timestamp", "line")), split=split
        )
        parts = 1 + self._run.num_lines // _LINES_PER_CHECK
        for part in leakage.partition(protocol, leakage.reduce(protocol, evidence), parts).items():
            yield beam.pvalue.TaggedOutput(_EVIDENCE, part)


class _WriteWithNeighbours(_Write):
    """The same for datasets whose rows come with their neighbours."""

    def start_bundle(self):
        self._neighbours = NeighbourExampleBuilder(self._run.dataset, self._catalog.get())
        self._writer = ExampleWriter()

    def process(
        self, element: Rows, train_ratings: Iterable[np.ndarray], neighbours: Iterable[Neighbours] = ()
    ) -> Iterator[Any]:
        (counts,), (sample,) = train_ratings, neighbours
        examples = self._neighbours.build(element.batch, sample, self._run.config.neighbours, counts)
        self._writer.write(self._run.row_uris, element.split, element.index, self._num_files, examples)
        yield from self._findings(element)


class _WriteInteractions(_Write):
    """The same for partitions of the users: rows with histories, and queries."""

    def start_bundle(self):
        self._interactions = RetrievalExampleBuilder(self._run.dataset, self._catalog.get())
        self._writer = ExampleWriter()

    def _write(self, rows: Rows, train_ratings: np.ndarray) -> None:
        of_users, length = Interactions.of(rows.batch, rows.split), self._run.config.history_length
        examples = self._interactions.build(rows.batch, histories(of_users, length), train_ratings)
        self._writer.write(self._run.row_uris, rows.split, rows.index, self._num_files, examples)
        queries = find_queries(of_users, length)
        self._writer.write_split(
            self._run.split_uris[QUERIES],
            rows.index,
            self._num_files,
            self._interactions.queries(queries, train_ratings),
        )


def _write_candidates(train_choices: np.ndarray, run: Ingestion, catalog: _SharedCatalog) -> None:
    examples = RetrievalExampleBuilder(run.dataset, catalog.get()).candidates(train_choices)
    ExampleWriter().write_split(run.split_uris[CANDIDATES], 0, 1, examples)


class _AddArrays(beam.CombineFn):
    def create_accumulator(self) -> np.ndarray:
        return np.zeros(1, np.int64)

    def add_input(self, mutable_accumulator: np.ndarray, element: np.ndarray) -> np.ndarray:
        return mutable_accumulator + element

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> np.ndarray:
        return accumulator


def _find_leaks(part: tuple[int, Iterable[leakage.Evidence]], protocol: str) -> Outcome:
    evidence = leakage.concatenate(list(part[1]))
    return Outcome(leaks=tuple(leakage.find_leaks(protocol, evidence)))
