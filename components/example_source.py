"""Examples of a split as a source of Beam: batches in Arrow, read by the code that the Trainer reads with."""

import os
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
from tfx.types import Artifact, artifact_utils

from trainer_module.data.example_files import read_file


class ReadExamples(beam.PTransform):
    """Batches of the examples of one split.

    TFX's own source also updates Beam's metrics, for a tenth of the batches with every value of every row, which takes
    about a quarter of the time of counting the values.
    """

    def __init__(self, examples: Artifact, split: str, schema: pa.Schema | None = None):
        """Takes what is read.

        Args:
            examples: An `Examples` artifact.
            split: Name of the split.
            schema: Names and types of the columns, `large_list`s; None reads all that the files have.
        """
        super().__init__()
        self._pattern = os.path.join(artifact_utils.get_split_uri([examples], split), "*")
        self._schema = schema

    def expand(self, input_or_inputs: Any) -> beam.PCollection:
        """Adds the source to a pipeline that is being built.

        Args:
            input_or_inputs: The pipeline.
        """
        files = sorted(tf.io.gfile.glob(self._pattern))
        return (
            input_or_inputs
            | "Files" >> beam.Create(files)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(read_file, self._schema)
        )
