"""The Beam side of ingesting a table: parts of files in, one file of examples per block and split out.

    pieces -> read, convert -> [counts of times, for a split by time] -> assign, encode, write

Elements are Arrow batches of some hundred thousand rows. All decisions are made in the pure modules beside this one.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx_bsl.coders import example_coder

from components.example_gen.old_splits import SPLITS
from components.example_gen.outcome import Outcome, combine
from components.example_gen.payload import OPTIONS
from components.example_gen.reporting import MergeAll, WriteOutcome
from components.flat_example_gen import splits
from components.flat_example_gen.config import FlatSource, TimeSplit
from components.flat_example_gen.files import Piece, read
from components.flat_example_gen.rows import Rows, convert, wanted_columns
from trainer_module.data.spec import DatasetSpec

_OUTCOME = "outcome"


@dataclass(frozen=True)
class Ingestion:
    """One run: what is read, how, and where it goes.

    Attributes:
        dataset: Columns and their types.
        source: How files are read and rows split.
        directory: Below which the files lie.
        split_uris: Where the examples of each of `SPLITS` go.
        examples_uri: Of the artifact; beside the examples goes the outcome.
    """

    dataset: DatasetSpec
    source: FlatSource
    directory: str
    split_uris: tuple[str, ...]
    examples_uri: str


@dataclass(frozen=True)
class _Block:
    """Good rows of one block of a piece."""

    piece: Piece
    number: int
    rows: Rows


def ingest(pipeline: beam.Pipeline, pieces: Iterable[Piece], run: Ingestion) -> None:
    """Adds the whole ingestion to a pipeline that was not run yet."""
    read_rows = (
        pipeline
        | "Pieces" >> beam.Create(list(pieces))
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(_Read(run)).with_outputs(_OUTCOME, main="rows")
    )
    plans = []
    if isinstance(run.source.split, TimeSplit):
        plan = (
            read_rows.rows
            | "CountTimes" >> beam.Map(lambda block: splits.count_times(splits.as_times(block.rows.split_values)))
            | "Merge" >> beam.CombineGlobally(MergeAll(splits.merge)).without_defaults()
            | "Plan" >> beam.Map(lambda whole, split: splits.plan(split, whole), run.source.split)
        )
        plans = [beam.pvalue.AsIter(plan)]
    written = read_rows.rows | "Write" >> beam.ParDo(_Write(run), *plans)
    _ = (
        (read_rows[_OUTCOME], written)
        | "Outcomes" >> beam.Flatten()
        | "Report" >> WriteOutcome(run.examples_uri, run.source.max_bad_rows)
    )


class _Read(beam.DoFn):
    def __init__(self, run: Ingestion):
        self._run = run

    def process(self, element: Piece) -> Iterator[Any]:
        dataset, source = self._run.dataset, self._run.source
        for number, (raw, malformed) in enumerate(read(element, source, wanted_columns(dataset, source))):
            rows, unfit = convert(raw, dataset, source)
            if bad := malformed + unfit:
                # Combining at once bounds what travels on, however bad the block.
                outcome = Outcome(num_bad_rows=len(bad), bad_rows=tuple(bad))
                yield beam.pvalue.TaggedOutput(_OUTCOME, combine([outcome], source.max_bad_rows))
            yield _Block(element, number, rows)


class _Write(beam.DoFn):
    def __init__(self, run: Ingestion):
        self._run = run

    def start_bundle(self):
        self._encoder = example_coder.RecordBatchToExamplesEncoder()

    def process(self, element: _Block, cuts: Iterable[splits.Cuts] = ()) -> Iterator[Outcome]:
        rows, name = element.rows, os.path.relpath(element.piece.file, self._run.directory)
        split = splits.assign(self._run.source.split, name, rows.numbers, rows.split_values, next(iter(cuts), None))
        encoded = np.empty(rows.examples.num_rows, object)
        encoded[:] = self._encoder.encode(rows.examples)
        for number, uri in enumerate(self._run.split_uris):
            chosen = encoded[split == number]
            if not len(chosen):
                continue
            # Named by place alone, so that a retry overwrites what an earlier attempt left.
            path = os.path.join(uri, f"data_tfrecord-{element.piece.index:05d}-{element.number:05d}.gz")
            with tf.io.TFRecordWriter(path, OPTIONS) as writer:
                for record in chosen:
                    writer.write(record)
        yield Outcome(split_rows=tuple(np.bincount(split, minlength=len(SPLITS)).tolist()))
