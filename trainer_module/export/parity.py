"""What an export must answer: rows, the training model's answers, and how far the two may differ.

Lies beside the SavedModel, for whoever proves in another process that the export answers as training did.
"""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.errors import ModelError
from trainer_module.export.sample import SampleRow, cleaned

PARITY_DIRECTORY = "parity"
EXAMPLES_FILE = "examples.tfrecord.gz"
INGESTED_FILE = "ingested.tfrecord.gz"
EXPECTED_FILE = "expected.npz"
FACTS_FILE = "parity.json"

# By signature and output name, `[num_examples, ...]`.
Answers = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Tolerance:
    """Largest difference between two answers: `absolute + relative * |expected|`."""

    absolute: float
    relative: float

    def allowed(self, expected: np.ndarray) -> np.ndarray:
        """The largest difference for each expected number, of the same shape."""
        return self.absolute + self.relative * np.abs(expected)


# By the type in which the dense part was trained; the copy computes in float32. float32 is added up in another order,
# which costs some units of its last place, 1.2e-7 each. bfloat16 keeps 8 bits, so that each rounding costs up to 1/256.
TOLERANCE = {"float32": Tolerance(1e-4, 1e-5), "mixed_bfloat16": Tolerance(0.1, 1 / 64)}


def save_sample(directory: str, spec: FeatureSpec, rows: Sequence[SampleRow]) -> str:
    """Writes the rows of a sample twice: as a client may send them, and as ingestion would have written them.

    The training model answers to the latter and the export to the former, so that the comparison proves that a value
    means the same in training and in service.

    Returns:
        Path of the rows as ingestion would have written them, a gzip TFRecord, as `ExampleReader` takes it.
    """
    tf.io.gfile.makedirs(directory)
    _write(os.path.join(directory, EXAMPLES_FILE), [row.example for row in rows])
    path = os.path.join(directory, INGESTED_FILE)
    _write(path, [cleaned(spec, row.example) for row in rows])
    return path


def save_expected(directory: str, answers: Answers, dense_type: str, kinds: Sequence[str] = ()) -> None:
    """Writes what the export must answer to the sample.

    Args:
        directory: As for `save_sample`.
        answers: By signature and output name, `[num_examples, ...]`.
        dense_type: Of the training model's dense part, a key of `TOLERANCE`.
        kinds: What is special about each row, `[num_examples]`; empty leaves it out of messages.
    """
    # A zip archive is written with steps back, which a remote file does not take.
    buffer = io.BytesIO()
    np.savez(buffer, **{f"{name}/{output}": values for name, of in answers.items() for output, values in of.items()})
    with tf.io.gfile.GFile(os.path.join(directory, EXPECTED_FILE), "wb") as file:
        file.write(buffer.getvalue())
    with tf.io.gfile.GFile(os.path.join(directory, FACTS_FILE), "w") as file:
        json.dump({"tolerance": asdict(TOLERANCE[dense_type]), "kinds": list(kinds)}, file)


def load_expected(directory: str) -> tuple[dict[str, dict[str, np.ndarray]], Tolerance]:
    """What `save_expected` wrote: answers by signature and output name, and the largest difference allowed."""
    with tf.io.gfile.GFile(os.path.join(directory, EXPECTED_FILE), "rb") as file:
        stored = np.load(io.BytesIO(file.read()))
    answers: dict[str, dict[str, np.ndarray]] = {}
    for name in stored.files:
        signature, _, output = name.partition("/")
        answers.setdefault(signature, {})[output] = stored[name]
    with tf.io.gfile.GFile(os.path.join(directory, FACTS_FILE)) as file:
        return answers, Tolerance(**json.load(file)["tolerance"])


def check_answers(what: str, answers: Answers, expected: Answers, tolerance: Tolerance) -> None:
    """Compares answers with those of the training model.

    Args:
        what: Whose answers, for the message.
        answers: To the parity sample.
        expected: The training model's.
        tolerance: How far they may differ.

    Raises:
        ModelError: They differ by more; names signature, output and row.
    """
    for signature, outputs in expected.items():
        for output, wanted in outputs.items():
            found = answers[signature][output]
            if not np.all(fits := np.abs(found - wanted) <= tolerance.allowed(wanted)):
                at = tuple(int(place) for place in np.argwhere(~fits)[0])
                raise ModelError(
                    f"{what} differs from the training model: {signature} answers {output} {found[at]} instead of "
                    f"{wanted[at]} to row {at[0]} of the parity sample; at most {tolerance.allowed(wanted)[at]:.2g} "
                    "is allowed"
                )


def largest_change(before: Answers, after: Answers) -> dict[str, float]:
    """The largest difference between answers, by `SIGNATURE/OUTPUT`."""
    return {
        f"{signature}/{output}": float(np.max(np.abs(after[signature][output] - values), initial=0))
        for signature, outputs in before.items()
        for output, values in outputs.items()
    }


def _write(path: str, examples: Sequence[bytes]) -> None:
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions("GZIP")) as writer:
        for example in examples:
            writer.write(example)
