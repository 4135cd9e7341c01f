"""Examples as a source of Beam: batches in Arrow, read by the code that the Trainer reads with."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
from tfx.types import Artifact, artifact_utils

from trainer_module.data.example_files import read_file


class ReadExamples(beam.PTransform):
    """Batches of the examples of some splits, each with the name of its split.

    One source reads all splits, because the in-process runner holds the elements of several flattened ones in memory.

    TFX's own source also updates Beam's metrics, for a tenth of the batches with every value of every row, which takes
    about a quarter of the time of counting the values.
    """

    def __init__(self, examples: Artifact, splits: Sequence[str], schema: pa.Schema | None = None):
        """Takes what is read.

        Args:
            examples: An `Examples` artifact.
            splits: Names of the splits.
            schema: Names and types of the columns, `large_list`s; None reads all that the files have.
        """
        super().__init__()
        self._patterns = {split: os.path.join(artifact_utils.get_split_uri([examples], split), "*") for split in splits}
        self._schema = schema

    def expand(self, input_or_inputs: Any) -> beam.PCollection:
        """Adds the source to a pipeline that is being built.

        Args:
            input_or_inputs: The pipeline.
        """
        files = [(split, file) for split, pattern in self._patterns.items() for file in tf.io.gfile.glob(pattern)]
        return (
            input_or_inputs
            | "Files" >> beam.Create(sorted(files))
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read, self._schema)
        )


def _read(split_and_file: tuple[str, str], schema: pa.Schema | None) -> Iterator[tuple[str, pa.RecordBatch]]:
    split, file = split_and_file
    return ((split, batch) for batch in read_file(file, schema))
