"""The proof that a SavedModel serves, on models that do and on models that do not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.pusher import verify as script
from components.pusher.verify import VerificationError, request_columns, verify

RATINGS = np.array([2.0, 5.0, 3.5], np.float32)


def example(user: str, age: float | None, genres: list[str]) -> bytes:
    features = tf.train.Features()
    features.feature["user"].bytes_list.value.append(user.encode())
    features.feature["age"].float_list.value.extend([] if age is None else [age])
    features.feature["genres"].bytes_list.value.extend(genre.encode() for genre in genres)
    return tf.train.Example(features=features).SerializeToString()


EXAMPLES = [example("1", 2.0, []), example("2", 5.0, ["Drama", "War"]), example("3", 3.5, ["War"])]


def save(
    directory: Path,
    served=lambda age: age,
    named=lambda age: age,
    unknown=lambda age: age,
    signatures=("serving_default", "predict"),
):
    """A model whose rating is the age, unless told otherwise."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        spec = {"age": tf.io.FixedLenFeature([], tf.float32, 0.0)}
        return {"rating": served(tf.io.parse_example(examples, spec)["age"])}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None], tf.float32, name="age"),
            tf.TensorSpec([None, None], tf.string, name="genres"),
        ]
    )
    def predict(user, age, genres):
        known = tf.strings.length(user) + tf.reduce_sum(tf.strings.length(genres), axis=1) < 30
        return {"rating": tf.where(known, named(age), unknown(age))}

    every = {"serving_default": serve, "predict": predict}
    tf.saved_model.save(module, str(directory / "model"), signatures={name: every[name] for name in signatures})
    (directory / "parity").mkdir()
    with tf.io.TFRecordWriter(str(directory / "parity" / "examples.tfrecord")) as writer:
        for serialized in EXAMPLES:
            writer.write(serialized)
    np.save(directory / "parity" / "predictions.npy", RATINGS)
    return str(directory / "model"), str(directory / "parity")


@pytest.fixture(autouse=True)
def in_a_process_of_plain_tensorflow(monkeypatch):
    for name in ("tensorflow_recommenders", "tfx"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_model_that_serves(tmp_path):
    report = verify(*save(tmp_path))
    assert report["batch_sizes"] == [1, 3]
    assert report["signatures"] == ["predict", "serving_default"]
    assert report["largest_difference"] <= report["tolerance"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signatures": ("serving_default",)}, r"signature\(s\) \['predict'\] missing"),
        ({"served": lambda age: age + 0.01}, "serving_default against the trainer: .* in row"),
        ({"named": lambda age: age * 2}, "predict against the trainer: .* in row"),
        ({"served": lambda age: age[:1]}, r"shape \(1,\) instead of \(3,\)"),
        ({"served": lambda age: age * np.nan}, "serving_default against the trainer: nan"),
        ({"unknown": lambda age: age * np.nan}, "predict answers nan to unknown tokens"),
    ],
)
def test_a_model_that_does_not(tmp_path, options, message):
    with pytest.raises(VerificationError, match=message):
        verify(*save(tmp_path, **options))


def test_requests_are_filled_up():
    specs = {
        "user": tf.TensorSpec([None], tf.string),
        "age": tf.TensorSpec([None], tf.float32),
        "genres": tf.TensorSpec([None, None], tf.string),
    }
    columns = request_columns([EXAMPLES[0], example("9", None, ["Drama", "War"])], specs)
    assert columns["user"].numpy().tolist() == [b"1", b"9"]
    np.testing.assert_array_equal(columns["age"], [2.0, np.nan])
    assert columns["genres"].numpy().tolist() == [[b"", b""], [b"Drama", b"War"]]


def test_the_script_runs_isolated_and_ends_with_its_reason(tmp_path):
    model_dir, parity_dir = save(tmp_path, served=lambda age: age + 1)
    command = [sys.executable, "-I", script.__file__, model_dir, parity_dir, str(tmp_path / "report.json")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.strip().splitlines()[-1].startswith("serving_default against the trainer")
    assert not (tmp_path / "report.json").exists()
