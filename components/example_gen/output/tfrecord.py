"""Serialized `tf.Example`s in gzip-compressed TFRecord files."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tfx_bsl.coders import example_coder

from components.example_gen.output.examples import Examples, Part

# Level 1 writes twice as fast as the default, for files that are a tenth larger.
OPTIONS = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
# Field 1 (`features`), length-delimited.
_EXAMPLE_TAG = b"\x0a"


class TFRecordFormat:
    """Row by row: what TFX writes by default."""

    def __init__(self):
        self._encoder = example_coder.RecordBatchToExamplesEncoder()

    def prepared(self, examples: Examples) -> Callable[[np.ndarray, str], None]:
        """Encodes a batch; returns what writes some of its rows to a file."""
        encoded = [self._encode(part) for part in examples.parts]

        def write(rows: np.ndarray, path: str) -> None:
            features = [values[part.index[rows]].tolist() for values, part in zip(encoded, examples.parts, strict=True)]
            with tf.io.TFRecordWriter(path, OPTIONS) as writer:
                for record in map(b"".join, zip(*features, strict=True)):
                    writer.write(_EXAMPLE_TAG + _varint(len(record)) + record)

        return write

    def _encode(self, part: Part) -> np.ndarray:
        """Serialized map entries of `Example.features`, `[distinct]` bytes objects.

        A protocol buffer's repeated fields, and a map is one, may be serialized piece by piece and put together. Each
        user's and item's features are thus encoded once a block instead of once a row, in a third of the time.
        """
        entries = np.empty(part.columns.num_rows, object)
        entries[:] = [_without_header(example) for example in self._encoder.encode(part.columns)]
        return entries


@functools.cache
def _varint(value: int) -> bytes:
    """Base-128 encoding of a length, as in the protocol buffer wire format."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _without_header(example: bytes) -> bytes:
    """The content of `Example.features`, which is the message's only field: a tag, a length, and the content."""
    end_of_length = 1
    while example[end_of_length] & 0x80:
        end_of_length += 1
    return example[end_of_length + 1 :]
