"""The Beam side of ingestion: pieces of the interactions' files in, one file of examples per block and split out.

    pieces -> read, convert -> [distinct users and items] -> look up -> [summary of all rows -> plan] -> assign
           -> [summaries that joins need] -> [rows gathered by user] -> join, encode, write -> leakage check

Elements are Arrow batches of some hundred thousand rows, so that Beam's cost per element does not matter. Steps in
brackets exist only where the dataset, the split or a join needs them. All decisions are made in the pure modules beside
this one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

from components.example_gen import entities as entity_tables
from components.example_gen.config import DataConfig
from components.example_gen.conversion import convert_interactions, interaction_columns, is_interaction
from components.example_gen.entities import SeenTokens
from components.example_gen.joins.attributes import train_counts_of_items
from components.example_gen.joins.compose import joins_of
from components.example_gen.joins.histories import Interactions, find_queries
from components.example_gen.joins.join import Join
from components.example_gen.joins.retrieval import CandidateExamples, QueryExamples
from components.example_gen.output.examples import Examples
from components.example_gen.output.outcome import Outcome, combine
from components.example_gen.output.reporting import MergeAll, WriteOutcome
from components.example_gen.output.writer import ExampleWriter
from components.example_gen.readers.blocks import Piece, read
from components.example_gen.readers.files import relative
from components.example_gen.readers.time_units import ColumnUnit, unit_of
from components.example_gen.rows import LABEL, POSITION, SPLITS, USER, Entities, Rows, places
from components.example_gen.spilling import IN_MEMORY, Aside, got, of_value
from components.example_gen.splits.evidence import concatenate
from components.example_gen.splits.protocol import SplitProtocol
from components.example_gen.threads import Ahead, Behind
from components.once_per_worker import OncePerWorker
from trainer_module.data.dataset import Dataset
from trainer_module.data.spec import CANDIDATES, QUERIES

_OUTCOME = "outcome"
_EVIDENCE = "evidence"
# Bytes of the files whose evidence is checked together; a row of evidence takes some 40 bytes in memory.
_ROWS_PER_CHECK = 8_000_000
# A worker holds one partition of whole users at a time, with a few hundred bytes a row.
ROWS_PER_PARTITION = 100_000
# Rows of so many bytes are parted by user together: few enough for any worker, and enough for few small parts.
_BYTES_PARTED_TOGETHER = 64 << 20


@dataclass(frozen=True)
class Reading:
    """What is read of the interactions, and how.

    Attributes:
        directory: Directory or URI below which all files lie.
        config: The section `data`, with paths relative to `directory`.
        files: Names of the interactions' files relative to `directory`, by number.
        num_pieces: Number of pieces.
        approximate_rows: Upper estimate of the number of interactions, which sets the number of partitions.
        time_unit: Of the interactions' times.
        newest: Numbers of the files whose rows go to files of their own, as `span_facts` says; mostly none.
        aside: Where rows wait for a step that must have seen all of them first.
    """

    directory: str
    config: DataConfig
    files: tuple[str, ...]
    num_pieces: int
    approximate_rows: int
    time_unit: ColumnUnit
    newest: frozenset[int] = frozenset()
    aside: Aside = IN_MEMORY

    @classmethod
    def of(
        cls,
        directory: str,
        config: DataConfig,
        files: Sequence[str],
        pieces: Sequence[Piece],
        newest: Collection[str] = (),
    ) -> "Reading":
        """Of pieces of some of the interactions' files, some of them of the newest span."""
        return cls(
            directory=directory,
            config=config,
            files=tuple(relative(file, directory) for file in files),
            num_pieces=len(pieces),
            approximate_rows=sum(piece.approximate_rows() for piece in pieces),
            time_unit=unit_of(config.described().tables.interactions, pieces),
            newest=frozenset(number for number, file in enumerate(files) if file in newest),
        )

    @property
    def dataset(self) -> Dataset:
        """The dataset with the settings of the configuration."""
        return self.config.described()

    @property
    def num_partitions(self) -> int:
        """Number of partitions of the users."""
        return 1 + self.approximate_rows // ROWS_PER_PARTITION


@dataclass(frozen=True)
class Ingestion:
    """One run: what is read, and where it goes.

    Attributes:
        reading: What is read.
        split_uris: Where the examples of each split go, by name.
        examples_uri: Of the artifact; the outcome goes beside the examples.
    """

    reading: Reading
    split_uris: Mapping[str, str]
    examples_uri: str

    @property
    def config(self) -> DataConfig:
        """The section `data`."""
        return self.reading.config

    @property
    def dataset(self) -> Dataset:
        """The dataset with the settings of the configuration."""
        return self.reading.dataset

    @property
    def row_uris(self) -> tuple[str, ...]:
        """Where the examples of each of `SPLITS` go, in that order."""
        return tuple(self.split_uris[name] for name in SPLITS)

    def protocol(self) -> SplitProtocol:
        """The split protocol."""
        return self.config.split_protocol()


@dataclass(frozen=True)
class RowsInPipeline:
    """Interactions that a pipeline reads.

    Attributes:
        rows: Blocks of `Rows` without splits.
        outcomes: What is to be reported of malformed rows.
        seen: The tokens of all interactions as a side input for `SharedEntities.get`; empty where tables know all.
    """

    rows: beam.PCollection
    outcomes: beam.PCollection
    seen: Sequence[beam.pvalue.AsSideInput]


def read_interactions(
    pipeline: beam.Pipeline, pieces: Iterable[Piece], reading: Reading, shared: "SharedEntities"
) -> RowsInPipeline:
    """Adds the steps that read the interactions to a pipeline."""
    converted = (
        pipeline
        | "Pieces" >> beam.Create(list(pieces))
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(_Read(reading, shared)).with_outputs(_OUTCOME, main="rows")
    )
    seen = _seen_tokens(converted.rows, entity_tables.open_roles(reading.dataset))
    rows = converted.rows | "LookUp" >> beam.ParDo(_LookUp(reading, shared), *seen)
    return RowsInPipeline(rows, converted[_OUTCOME], seen)


def ingest(pipeline: beam.Pipeline, pieces: Iterable[Piece], run: Ingestion) -> None:
    """Adds the whole ingestion to a pipeline that was not run yet.

    Args:
        pipeline: The pipeline.
        pieces: Of the interactions' files.
        run: Everything else.
    """
    dataset, protocol = run.dataset, run.protocol()
    shared = SharedEntities(run.reading)
    interactions = read_interactions(pipeline, pieces, run.reading, shared)
    rows, seen = interactions.rows, interactions.seen
    assign = beam.ParDo(_Assign(run, shared), *_plan(rows, protocol), *seen)
    split = rows | "Assign" >> assign.with_outputs(_EVIDENCE, main="rows")
    assigned = split.rows
    joins = joins_of(dataset)
    known = [_summary(assigned, join, shared, seen) for join in joins if join.needs_summary]
    batches = assigned
    if dataset.task == "retrieval" or any(join.whole_users for join in joins):
        batches = assigned | "GatherUsers" >> GatherUsers(run.reading.num_partitions, aside=run.reading.aside)
    outputs = batches | "Write" >> beam.ParDo(_Write(run, shared), *known, *seen).with_outputs(_OUTCOME, _EVIDENCE)
    if dataset.task == "retrieval":
        counts = _merged(assigned, "CountItems", shared, seen, train_counts_of_items, _add_arrays)
        _ = counts | "WriteCandidates" >> beam.ParDo(_WriteCandidates(run, shared), *seen)
    checked = (
        (split if run.config.split_all_rows else outputs)[_EVIDENCE]
        | "GroupEvidence" >> beam.GroupByKey()
        | "FindLeaks" >> beam.Map(_find_leaks, protocol, run.reading.files)
    )
    outcomes = (interactions.outcomes, outputs[_OUTCOME], checked)
    _ = outcomes | "Outcomes" >> beam.Flatten() | "Report" >> WriteOutcome(run.examples_uri, run.config.max_bad_rows)


class GatherUsers(beam.PTransform):
    """From blocks of files to partitions that hold all rows of their users, in the order of the files."""

    def __init__(self, num_partitions: int, schema: pa.Schema | None = None, aside: Aside = IN_MEMORY):
        """Takes the settings.

        Args:
            num_partitions: A user is in the partition of the user's number modulo this one.
            schema: If given, of all batches; partitions without rows are then among the output.
            aside: Where rows wait until all have been seen.
        """
        super().__init__()
        self._num_partitions = num_partitions
        self._schema, self._aside = schema, aside

    def expand(self, input_or_inputs: beam.PCollection) -> beam.pvalue.PValue:
        parts = input_or_inputs | "Partition" >> beam.ParDo(_Partition(self._num_partitions, self._aside))
        if self._schema is not None:
            empty = Rows(-1, pa.RecordBatch.from_pylist([], self._schema), np.empty(0, np.int8))
            of_all = [(number, empty) for number in range(self._num_partitions)]
            parts = (parts, input_or_inputs.pipeline | "Empty" >> beam.Create(of_all)) | beam.Flatten()
        return parts | "Group" >> beam.GroupByKey() | "Concatenate" >> beam.MapTuple(_whole_partition)


class SharedEntities:
    """Users and items, put together once in each worker process by the process's first call."""

    def __init__(self, reading: Reading):
        """Reads nothing yet."""
        self._directory, self._dataset, self._files = reading.directory, reading.dataset, reading.files
        self._tables = OncePerWorker[entity_tables.EntityTables]()
        self._complete = OncePerWorker[Entities]()

    def tables(self) -> entity_tables.EntityTables:
        """What the tables of users and items hold."""
        return self._tables.get(lambda: entity_tables.read_entity_tables(self._directory, self._dataset))

    def get(self, seen: Sequence[SeenTokens]) -> Entities:
        """All users and items.

        Args:
            seen: The tokens of all interactions; empty where the tables know all users and items.
        """
        (tokens,) = seen or [SeenTokens({})]
        complete = entity_tables.complete
        return self._complete.get(lambda: complete(self._dataset, self.tables(), tokens, self._files))


class _Read(beam.DoFn):
    """From pieces to converted rows; malformed rows go to the outcome."""

    def __init__(self, reading: Reading, shared: SharedEntities):
        self._reading, self._shared = reading, shared

    def start_bundle(self):
        self._ahead = Ahead(self._read)

    def process(self, element: Piece) -> Iterator[Any]:
        yield from self._ahead.add(element)

    def finish_bundle(self) -> Iterator[Any]:
        for result in self._ahead.end():
            if isinstance(result, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(result.tag, GlobalWindows.windowed_value(result.value))
            else:
                yield GlobalWindows.windowed_value(result)

    def _read(self, element: Piece) -> Iterator[Any]:
        reading, dataset, config = self._reading, self._reading.dataset, self._reading.config
        known = entity_tables.known_tokens(dataset, self._shared.tables())
        wanted = interaction_columns(dataset, config.split_column)
        for number, (raw, malformed) in enumerate(read(element, dataset.tables.interactions, wanted)):
            batch, unfit = convert_interactions(
                raw, dataset, config.split, config.split_column, known, reading.time_unit
            )
            is_kept = is_interaction(batch, dataset)
            dropped = int(np.count_nonzero(~is_kept))
            if not config.split_all_rows:
                batch = batch.filter(pa.array(is_kept))
            if dropped or malformed or unfit:
                bad = malformed + unfit
                # Combining at once bounds what travels on, however bad the block.
                outcome = Outcome.of_bad_rows(bad, dropped)
                yield beam.pvalue.TaggedOutput(_OUTCOME, combine([outcome], config.max_bad_rows))
            # A compressed file is one piece of several blocks, whose files of examples need distinct names.
            rows = Rows(element.index + number * reading.num_pieces, batch)
            # Unless steps follow that need the tokens of all rows, Beam hands blocks on one by one.
            yield reading.aside.put(rows) if entity_tables.open_roles(dataset) else rows


class _LookUp(beam.DoFn):
    """Replaces tokens of users and items by their numbers."""

    def __init__(self, reading: Reading, shared: SharedEntities):
        self._aside, self._shared = reading.aside, shared
        self._all_are_summarized = reading.config.split_protocol().needs_plan

    def process(self, element: Any, *seen: Any) -> Iterator[Any]:
        rows = got(element)
        found = Rows(rows.index, entity_tables.look_up(rows.batch, self._shared.get(seen)))
        yield self._aside.put(found) if self._all_are_summarized else found


class _Assign(beam.DoFn):
    """Gives rows their splits. Rows that only the split looks at end here, and are evidence of how it split."""

    def __init__(self, run: Ingestion, shared: SharedEntities):
        self._protocol, self._shared, self._aside = run.protocol(), shared, run.reading.aside
        self._run = run
        self._all_are_summarized = any(join.needs_summary for join in joins_of(run.dataset))

    def process(self, element: Any, *sides: Any) -> Iterator[Any]:
        rows = got(element)
        plan, seen = (sides[0], sides[1:]) if self._protocol.needs_plan else (None, sides)
        split = self._protocol.assign(rows, plan, self._shared.get(seen))
        assigned = Rows(rows.index, rows.batch, split)
        if self._run.config.split_all_rows:
            yield from _evidence(assigned, self._run, self._protocol)
            is_kept = is_interaction(rows.batch, self._run.dataset)
            assigned = Rows(rows.index, rows.batch.filter(pa.array(is_kept)), split[is_kept])
        yield self._aside.put(assigned) if self._all_are_summarized else assigned


class _Partition(beam.DoFn):
    """From blocks to the rows of each partition: those of several blocks together, as there are many partitions."""

    def __init__(self, num_partitions: int, aside: Aside):
        self._num_partitions, self._aside = num_partitions, aside

    def start_bundle(self):
        self._blocks: list[Rows] = []
        self._num_bytes = 0

    def process(self, element: Any) -> Iterator[tuple[int, Any]]:
        rows = got(element)
        self._blocks.append(rows)
        self._num_bytes += rows.batch.nbytes
        if self._num_bytes >= _BYTES_PARTED_TOGETHER:
            yield from self._parts()

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(GlobalWindows.windowed_value, self._parts())

    def _parts(self) -> Iterator[tuple[int, Any]]:
        if not self._blocks:
            return
        batch, split = _joined(self._blocks)
        self._blocks, self._num_bytes = [], 0
        partition = batch.column(USER).to_numpy() % self._num_partitions
        # One sort; to go through all rows for each partition would take longer the more rows there are.
        order = np.argsort(partition, kind="stable")
        numbers, begins = np.unique(partition[order], return_index=True)
        batch, split = batch.take(pa.array(order)), split[order]
        parts = (
            Rows(number, batch.slice(begin, end - begin), split[begin:end])
            for number, begin, end in zip(numbers.tolist(), begins, [*begins[1:], len(order)], strict=True)
        )
        yield from zip(numbers.tolist(), self._aside.put_all(parts), strict=True)


class _Write(beam.DoFn):
    """Joins, encodes and writes rows, for retrieval also queries; gives what is reported of them."""

    def __init__(self, run: Ingestion, shared: SharedEntities):
        self._run, self._shared = run, shared

    def setup(self):
        self._behind = Behind()

    def teardown(self):
        self._behind.end()

    def start_bundle(self):
        dataset = self._run.dataset
        self._joins, self._protocol = joins_of(dataset), self._run.protocol()
        self._schema = dataset.spec().features.arrow_schema()
        self._queries = QueryExamples(dataset) if dataset.task == "retrieval" else None
        self._history = dataset.history
        self._writer = ExampleWriter(self._run.config.payload)

    def finish_bundle(self):
        self._behind.wait()

    def process(self, element: Any, *sides: Any) -> Iterator[Any]:
        element = got(element)
        summarized = [join for join in self._joins if join.needs_summary]
        known: dict[str, Any] = {join.name: side for join, side in zip(summarized, sides, strict=False)}
        entities = self._shared.get(sides[len(summarized) :])
        if element.batch.num_rows:
            parts = [part for join in self._joins for part in join.parts(element, known.get(join.name), entities)]
            examples = Examples(tuple(parts), self._schema)
            assert element.split is not None
            self._behind.call(
                self._writer.write, self._run.row_uris, element.split, element.index, examples, self._newest(element)
            )
            if self._queries:
                queries = find_queries(Interactions.of(element), self._history)
                examples = self._queries.build(queries, element, known.get("user"), entities)
                self._writer.write_split(self._run.split_uris[QUERIES], element.index, examples)
                found = Outcome(num_queries=len(queries.user), num_findable=queries.num_findable())
                yield beam.pvalue.TaggedOutput(_OUTCOME, found)
        yield from self._findings(element)

    def _newest(self, rows: Rows) -> np.ndarray | None:
        """Which rows are of the newest of several spans, `[rows]`; None if there is one span or none."""
        newest = self._run.reading.newest
        return np.isin(places(rows.column(POSITION))[0], list(newest)) if newest else None

    def _findings(self, rows: Rows) -> Iterator[Any]:
        assert rows.split is not None
        counts = np.bincount(rows.split, minlength=len(SPLITS))
        labels = np.bincount(rows.split, weights=rows.column(LABEL) > 0, minlength=len(SPLITS)).astype(int)
        outcome = Outcome(split_rows=tuple(counts.tolist()), split_positives=tuple(labels.tolist()))
        yield beam.pvalue.TaggedOutput(_OUTCOME, outcome)
        if not self._run.config.split_all_rows:
            yield from _evidence(rows, self._run, self._protocol)


class _WriteCandidates(beam.DoFn):
    """Writes the split `candidates` as one file."""

    def __init__(self, run: Ingestion, shared: SharedEntities):
        self._run, self._shared = run, shared

    def process(self, element: np.ndarray, *seen: Any) -> Iterator[Any]:
        examples = CandidateExamples(self._run.dataset).build(element, self._shared.get(seen))
        ExampleWriter(self._run.config.payload).write_split(self._run.split_uris[CANDIDATES], 0, examples)
        yield from ()


def _seen_tokens(converted: beam.PCollection, roles: Sequence[str]) -> list[beam.pvalue.AsSideInput]:
    """The distinct tokens of all interactions as a side input; none where no role needs them."""
    if not roles:
        return []
    seen = (
        converted
        | "Seen" >> beam.Map(of_value(lambda rows: entity_tables.seen_tokens(rows.batch, roles)))
        | "MergeSeen" >> beam.CombineGlobally(MergeAll(entity_tables.merge_seen)).without_defaults()
        | "SortSeen" >> beam.Map(entity_tables.in_order)
    )
    return [beam.pvalue.AsSingleton(seen)]


def _plan(rows: beam.PCollection, protocol: SplitProtocol) -> list[beam.pvalue.AsSideInput]:
    """What is held out as a side input, for protocols that must know all rows first."""
    if not protocol.needs_plan:
        return []
    plan = (
        rows
        | "Summarize" >> beam.Map(of_value(protocol.summarize))
        | "Merge" >> beam.CombineGlobally(MergeAll(protocol.merge)).without_defaults()
        | "Plan" >> beam.Map(protocol.plan)
    )
    return [beam.pvalue.AsSingleton(plan)]


def _summary(
    assigned: beam.PCollection, join: Join, shared: SharedEntities, seen: Sequence[Any]
) -> beam.pvalue.AsSideInput:
    """What a join must know of all rows as a side input."""
    label = f"Summary{join.name.title()}"
    return beam.pvalue.AsSingleton(_merged(assigned, label, shared, seen, join.summarize, join.merge))


def _merged(
    assigned: beam.PCollection, label: str, shared: SharedEntities, seen: Sequence[Any], summarize: Any, merge: Any
) -> Any:
    """One element: the merged summary of all rows."""

    def of_block(rows: Rows, *tokens: Any) -> Any:
        return summarize(rows, shared.get(tokens))

    return (
        assigned
        | label >> beam.Map(of_value(of_block), *seen)
        | f"Merge{label}" >> beam.CombineGlobally(MergeAll(merge)).without_defaults()
    )


def _add_arrays(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.sum(parts, axis=0)


def _whole_partition(number: int, elements: Iterable[Any]) -> Rows:
    """All rows of a partition, in the order of the files."""
    batch, split = _joined(list(map(got, elements)))
    order = np.argsort(batch.column(POSITION).to_numpy())
    return Rows(number, batch.take(pa.array(order)), split[order])


def _joined(parts: Sequence[Rows]) -> tuple[pa.RecordBatch, np.ndarray]:
    """Rows and splits of several parts, all of which have splits, one part after the other."""
    table = pa.Table.from_batches([rows.batch for rows in parts])
    batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], schema=table.schema)
    return batch, np.concatenate([rows.split for rows in parts if rows.split is not None])


def _evidence(rows: Rows, run: Ingestion, protocol: SplitProtocol) -> Iterator[Any]:
    num_parts = 1 + run.reading.approximate_rows // _ROWS_PER_CHECK
    parts = protocol.parts(protocol.evidence(rows), num_parts)
    for number, part in zip(parts, run.reading.aside.put_all(parts.values()), strict=True):
        yield beam.pvalue.TaggedOutput(_EVIDENCE, (number, part))


# Beam checks type hints at run time, and no instance is known to be of a Protocol; hence `Any`.
def _find_leaks(part: tuple[int, Iterable[Any]], protocol: Any, files: Sequence[str]) -> Outcome:
    return Outcome(leaks=tuple(protocol.find_leaks(concatenate(list(map(got, part[1]))), files)))
