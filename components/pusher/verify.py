"""Proves in a fresh process that a SavedModel serves with plain TensorFlow on a CPU.

Run as a script, isolated from the product's other modules: `python -I verify.py MODEL_DIR PARITY_DIR REPORT`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

# Training and serving add the same float32 numbers in another order.
TOLERANCE = 1e-4
UNKNOWN_TOKEN = "a token that no vocabulary holds"


class VerificationError(Exception):
    """The model does not serve as it must."""


def verify(model_dir: str, parity_dir: str) -> dict:
    """Loads a SavedModel and calls its signatures.

    Checks that both signatures exist, answer batches of 1 and N and unknown tokens with finite numbers, agree with
    each other, and equal the trainer's predictions.

    Args:
        model_dir: A SavedModel with the signatures `serving_default` and `predict`.
        parity_dir: Holds `examples.tfrecord` and `predictions.npy`, the trainer's predictions for them.

    Returns:
        What was checked, as JSON-able values.

    Raises:
        VerificationError: Says which check failed, on what.
    """
    model = tf.saved_model.load(model_dir)
    missing = {"serving_default", "predict"} - set(model.signatures)
    if missing:
        raise VerificationError(f"signature(s) {sorted(missing)} missing; found {sorted(model.signatures)}")
    examples = [record.numpy() for record in tf.data.TFRecordDataset(str(Path(parity_dir, "examples.tfrecord")))]
    expected = np.load(Path(parity_dir, "predictions.npy"))

    def serve(serialized: list[bytes]) -> np.ndarray:
        (output,) = model.signatures["serving_default"](examples=tf.constant(serialized)).values()
        return output.numpy()

    def predict(columns: dict[str, tf.Tensor]) -> np.ndarray:
        (output,) = model.signatures["predict"](**columns).values()
        return output.numpy()

    specs = model.signatures["predict"].structured_input_signature[1]
    columns = request_columns(examples, specs)
    unknown = {
        name: tf.fill(tf.shape(value), UNKNOWN_TOKEN) if value.dtype == tf.string else value
        for name, value in columns.items()
    }
    differences = {
        "serving_default": _difference("serving_default against the trainer", serve(examples), expected),
        "predict": _difference("predict against the trainer", predict(columns), expected),
        "batch_of_one": _difference("serving_default, one example", serve(examples[:1]), expected[:1]),
    }
    if not np.all(np.isfinite(answers := predict(unknown))):
        raise VerificationError(f"predict answers {answers[~np.isfinite(answers)][0]} to unknown tokens")
    if "tensorflow_recommenders" in sys.modules or "tfx" in sys.modules:
        raise VerificationError("the process that was to prove plain TensorFlow enough has imported more than that")
    return {
        "signatures": sorted(model.signatures),
        "batch_sizes": [1, len(examples)],
        "largest_difference": max(differences.values()),
        "tolerance": TOLERANCE,
    }


def request_columns(examples: list[bytes], specs: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """Named tensors as a client would send them, from serialized examples.

    Args:
        examples: Serialized `tf.Example`s.
        specs: Of the signature's inputs: `[batch]`, or `[batch, values]` for multivalent ones.

    Returns:
        A missing number as NaN, short lists of tokens filled up with empty strings.
    """
    features = [tf.train.Example.FromString(example).features.feature for example in examples]
    columns = {}
    for name, spec in specs.items():
        values = [list(getattr(row[name], row[name].WhichOneof("kind") or "bytes_list").value) for row in features]
        filler = b"" if spec.dtype == tf.string else np.nan
        width = max(1, *map(len, values))
        filled = [row + [filler] * (width - len(row)) for row in values]
        columns[name] = tf.constant(filled if spec.shape.rank == 2 else [row[0] for row in filled], spec.dtype)
    return columns


def _difference(what: str, actual: np.ndarray, expected: np.ndarray) -> float:
    if actual.shape != expected.shape:
        raise VerificationError(f"{what}: shape {actual.shape} instead of {expected.shape}")
    difference = float(np.max(np.abs(actual - expected)))
    if not difference <= TOLERANCE:
        row = int(np.argmax(np.abs(actual - expected)))
        raise VerificationError(
            f"{what}: {actual[row]} instead of {expected[row]} in row {row}; largest allowed difference {TOLERANCE}"
        )
    return difference


if __name__ == "__main__":
    try:
        report = verify(sys.argv[1], sys.argv[2])
    except VerificationError as error:
        sys.exit(str(error))
    Path(sys.argv[3]).write_text(json.dumps(report))
