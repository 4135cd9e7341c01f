"""Writes examples to the files of their splits, in one of two formats.

The formats' modules know encoding, this one the files' names and what the artifact says about both.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import Artifact

from components.example_gen.output.examples import Examples
from components.example_gen.output.parquet import ParquetFormat
from components.example_gen.output.payload import Payload
from components.example_gen.output.tfrecord import TFRecordFormat
from components.example_gen.span_facts import NEWEST_MARK
from trainer_module.data.example_files import PARQUET


class _Format(Protocol):
    def prepared(self, examples: Examples) -> Callable[[np.ndarray, str], None]:
        """Takes a batch; returns what writes some of its rows, `[rows]`, to a file."""
        ...


@dataclass(frozen=True)
class PayloadFacts:
    """How a payload is written and named.

    Attributes:
        format: Makes the encoder.
        file_name: With places for the batch's number and a mark.
        payload: TFX's number of what files hold.
        file_format: TFX's name of the files' format; only these two formats have one.
        file_format_number: The same as a number.
    """

    format: Callable[[], _Format]
    file_name: str
    payload: int
    file_format: str
    file_format_number: int


PAYLOADS: Mapping[Payload, PayloadFacts] = {
    "parquet": PayloadFacts(
        ParquetFormat,
        f"data_parquet-{{:05d}}{{}}{PARQUET}",
        example_gen_pb2.FORMAT_PARQUET,
        "FILE_FORMAT_PARQUET",
        example_gen_pb2.FILE_FORMAT_PARQUET,
    ),
    "tfrecord": PayloadFacts(
        TFRecordFormat,
        "data_tfrecord-{:05d}{}.gz",
        example_gen_pb2.FORMAT_TF_EXAMPLE,
        "tfrecords_gzip",
        example_gen_pb2.FORMAT_TFRECORDS_GZIP,
    ),
}


class ExampleWriter:
    """Writes batches of examples to files."""

    def __init__(self, payload: Payload):
        facts = PAYLOADS[payload]
        self._format, self._file_name = facts.format(), facts.file_name

    def write(
        self,
        split_uris: Sequence[str],
        split: np.ndarray,
        index: int,
        examples: Examples,
        newest: np.ndarray | None = None,
    ) -> None:
        """Writes one batch, one file for each split that has a row in it.

        File names depend on `index` alone, so that a retry overwrites what an earlier attempt left.

        Args:
            split_uris: Directory of each split.
            split: Split of each example, an index into `split_uris`, `[examples]`.
            index: Number of the batch, from 0.
            examples: The batch.
            newest: Which examples go to files of their own, because they are of the newest of several spans,
                `[examples]` bool.
        """
        write_rows = self._format.prepared(examples)
        marks = [("", True)] if newest is None else [("", ~newest), (NEWEST_MARK, newest)]
        for number, uri in enumerate(split_uris):
            for mark, chosen in marks:
                rows = np.flatnonzero((split == number) & chosen)
                if len(rows):
                    write_rows(rows, os.path.join(uri, self._file_name.format(index, mark)))

    def write_split(self, uri: str, index: int, examples: Examples) -> None:
        """Writes a batch that belongs to one split as a whole; the arguments are those of `write`."""
        (num_examples,) = {len(part.index) for part in examples.parts}
        self.write((uri,), np.zeros(num_examples, np.int8), index, examples)


def describe(artifact: Artifact, payload: Payload) -> None:
    """Tells readers of the artifact which format it has."""
    examples_utils.set_payload_format(artifact, PAYLOADS[payload].payload)
    examples_utils.set_file_format(artifact, PAYLOADS[payload].file_format)
