"""What an export must answer: examples, the training model's answers, and how far the two may differ.

Lies beside the SavedModel, for whoever proves in another process that the export answers as training did.
"""

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.models.signatures import RequestColumn

PARITY_DIRECTORY = "parity"
EXAMPLES_FILE = "examples.tfrecord.gz"
EXPECTED_FILE = "expected.npz"
FACTS_FILE = "parity.json"

# Largest absolute difference, by the type in which the dense part was trained; the copy computes in float32. float32 is
# added up in another order. bfloat16 keeps 8 bits, so that a number between 4 and 8 is off by up to 1/64 per rounding.
TOLERANCE = {"float32": 1e-4, "mixed_bfloat16": 0.1}

_UNKNOWN = {"string": b"a token that no vocabulary holds", "int64": (1 << 53) - 1}
_FILLER = {**_UNKNOWN, "float32": 1.0}
# Longer than any bag of the data is likely to be.
_LONG = 50


def edge_cases(spec: FeatureSpec, examples: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Changed copies of serialized examples, by kind of change, in the order in which they follow the sample.

    unknown_tokens: no token has an id of its own.
    empty: every bag is empty and every value that may be missing is.
    over_long: every multivalent column has more values than any sequence keeps, and than most bags hold; where the
        spec limits the width of a bag, that many.
    """
    longest = max((column.max_sequence_length for column in spec.categorical), default=0)
    widths = {name: c.bag_width for c in spec.categorical for name in (c.name, c.weights) if c.bag_width}
    changes = {
        "unknown_tokens": _unknown,
        "empty": _emptied,
        "over_long": lambda column, values: _lengthened(column, values, max(_LONG, longest + 1))[
            : widths.get(column.name)
        ],
    }
    return {name: [_changed(spec, example, change) for example in examples] for name, change in changes.items()}


def save_sample(directory: str, spec: FeatureSpec, examples: Sequence[bytes], num_changed: int = 8) -> str:
    """Writes examples and, behind them, edge cases made from the first `num_changed` of them.

    Returns:
        Path of a gzip TFRecord, as `ExampleReader` takes it, so that the training model can answer.
    """
    tf.io.gfile.makedirs(directory)
    path = os.path.join(directory, EXAMPLES_FILE)
    changed = edge_cases(spec, examples[:num_changed])
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions("GZIP")) as writer:
        for example in [*examples, *(each for several in changed.values() for each in several)]:
            writer.write(example)
    return path


def save_expected(directory: str, answers: Mapping[str, Mapping[str, np.ndarray]], dense_type: str) -> None:
    """Writes what the export must answer to the sample.

    Args:
        directory: As for `save_sample`.
        answers: By signature and output name, `[num_examples, ...]`.
        dense_type: Of the training model's dense part, a key of `TOLERANCE`.
    """
    # A zip archive is written with steps back, which a remote file does not take.
    buffer = io.BytesIO()
    np.savez(buffer, **{f"{name}/{output}": values for name, of in answers.items() for output, values in of.items()})
    with tf.io.gfile.GFile(os.path.join(directory, EXPECTED_FILE), "wb") as file:
        file.write(buffer.getvalue())
    with tf.io.gfile.GFile(os.path.join(directory, FACTS_FILE), "w") as file:
        json.dump({"tolerance": TOLERANCE[dense_type]}, file)


def load_expected(directory: str) -> tuple[dict[str, dict[str, np.ndarray]], float]:
    """What `save_expected` wrote: answers by signature and output name, and the largest difference allowed."""
    with tf.io.gfile.GFile(os.path.join(directory, EXPECTED_FILE), "rb") as file:
        stored = np.load(io.BytesIO(file.read()))
    answers: dict[str, dict[str, np.ndarray]] = {}
    for name in stored.files:
        signature, _, output = name.partition("/")
        answers.setdefault(signature, {})[output] = stored[name]
    with tf.io.gfile.GFile(os.path.join(directory, FACTS_FILE)) as file:
        return answers, json.load(file)["tolerance"]


_Values = list[bytes] | list[int] | list[float]
_Change = Callable[[RequestColumn, _Values], _Values]


def _changed(spec: FeatureSpec, example: bytes, change: _Change) -> bytes:
    """An example whose inputs are changed."""
    parsed = tf.train.Example.FromString(example)
    for column in spec.inputs:
        feature = parsed.features.feature[column.name]
        kind = {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}[column.dtype]
        values = change(column, list(getattr(feature, kind).value))
        feature.ClearField(kind)
        getattr(feature, kind).value.extend(values)
    return parsed.SerializeToString()


def _unknown(column: RequestColumn, values: _Values) -> _Values:
    return [_UNKNOWN[column.dtype]] * len(values) if column.kind == "categorical" else values


def _emptied(column: RequestColumn, values: _Values) -> _Values:
    return values if column.required and not column.multivalent else []


def _lengthened(column: RequestColumn, values: _Values, times: int) -> _Values:
    """Repeats the values of a multivalent column; ids and their weights start equally long and stay so."""
    return (values or [_FILLER[column.dtype]]) * times if column.multivalent else values
