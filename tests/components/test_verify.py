"""The proof that a SavedModel serves, on models that do and on models that do not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.pusher import verify as script
from components.pusher.verify import TPU_OPERATION, VerificationError, check_contents, request_columns, verify
from trainer_module.export import parity

RATINGS = np.array([2.0, 5.0, 3.5], np.float32)


def example(user: str, age: float | None, genres: list[str]) -> bytes:
    features = tf.train.Features()
    features.feature["user"].bytes_list.value.append(user.encode())
    features.feature["age"].float_list.value.extend([] if age is None else [age])
    features.feature["genres"].bytes_list.value.extend(genre.encode() for genre in genres)
    return tf.train.Example(features=features).SerializeToString(deterministic=True)


EXAMPLES = [example("1", 2.0, []), example("2", 5.0, ["Drama", "War"]), example("3", 3.5, ["War"])]


def expected(answers: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    return dict.fromkeys(("serving_default", "predict"), answers)


def save(
    directory: Path,
    module: tf.Module | None = None,
    served=lambda age: age,
    named=lambda age: age,
    unknown=lambda age: age,
    signatures=("serving_default", "predict"),
):
    """A model whose rating is the age, unless told otherwise."""
    module = module or tf.Module()

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
    options = tf.io.TFRecordOptions("GZIP")
    with tf.io.TFRecordWriter(str(directory / "parity" / parity.EXAMPLES_FILE), options) as writer:
        for serialized in EXAMPLES:
            writer.write(serialized)
    parity.save_expected(str(directory / "parity"), expected({"rating": RATINGS}), "float32")
    return str(directory / "model"), str(directory / "parity")


@pytest.fixture(autouse=True)
def in_a_process_of_plain_tensorflow(monkeypatch):
    for name in ("tensorflow_recommenders", "tfx"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_model_that_serves(tmp_path):
    report = verify(*save(tmp_path))
    assert report["batch_sizes"] == [0, 1, 3]
    assert report["signatures"] == ["predict", "serving_default"]
    assert report["share_of_tolerance"] <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signatures": ("serving_default",)}, r"signature\(s\) \['predict'\] missing"),
        ({"served": lambda age: age + 0.01}, "serving_default, batch of 1: rating: .* in row 0"),
        ({"named": lambda age: age * 2}, "predict, batch of 1: rating: .* in row 0"),
        ({"served": lambda age: age[:1]}, r"batch of 3: rating: shape \(1,\) instead of \(3,\)"),
        ({"served": lambda age: age + tf.reduce_max(age)}, "batch of 1: rating"),
        ({"served": lambda age: age * np.nan}, "serving_default, batch of 1: rating: nan"),
        ({"unknown": lambda age: age * np.nan}, "rating is nan for unknown tokens"),
    ],
)
def test_a_model_that_does_not(tmp_path, options, message):
    with pytest.raises(VerificationError, match=message):
        verify(*save(tmp_path, **options))


def test_outputs_go_by_name(tmp_path):
    model_dir, parity_dir = save(tmp_path)
    parity.save_expected(parity_dir, expected({"rating": RATINGS, "score": RATINGS}), "float32")
    with pytest.raises(VerificationError, match=r"outputs \['rating'\] instead of \['rating', 'score'\]"):
        verify(model_dir, parity_dir)


def test_the_tolerance_is_the_trainers(tmp_path):
    model_dir, parity_dir = save(tmp_path, served=lambda age: age + 0.01)
    parity.save_expected(parity_dir, expected({"rating": RATINGS}), "mixed_bfloat16")
    assert verify(model_dir, parity_dir)["largest_difference"] == pytest.approx(0.01, rel=1e-3)


def test_a_large_number_may_differ_by_a_step_of_float32_and_a_small_one_may_not(tmp_path):
    large = np.array([4897.68115234375, 4897.68115234375, 3.5], np.float32)
    one_step = np.nextafter(large, np.float32(np.inf))
    asked = np.array([2.0, 5.0, 3.5], np.float32)

    def lookup(answers):
        return lambda age: tf.gather(answers, tf.argmin(tf.abs(age[:, None] - asked), axis=1))

    model_dir, parity_dir = save(tmp_path, served=lookup(one_step), named=lookup(one_step))
    parity.save_expected(parity_dir, expected({"rating": large}), "float32")
    report = verify(model_dir, parity_dir)
    assert 4e-4 < report["largest_difference"] < 1e-3 and report["share_of_tolerance"] < 0.05
    wrong = large + np.array([0, 0, 0.01], np.float32)
    parity.save_expected(parity_dir, expected({"rating": wrong}), "float32", ["ordinary", "ordinary", "age: NaN"])
    with pytest.raises(VerificationError, match=r"3\.5.* instead of 3\.5.* in row 2 \(age: NaN\); largest allowed"):
        verify(model_dir, parity_dir)


def test_the_files_are_those_that_the_trainer_writes():
    theirs = parity.EXAMPLES_FILE, parity.EXPECTED_FILE, parity.FACTS_FILE
    assert theirs == (script.EXAMPLES_FILE, script.EXPECTED_FILE, script.FACTS_FILE)


def test_an_operation_of_a_tpu_is_refused_wherever_it_stands(tmp_path):
    module = tf.Module()

    def lookup(values):
        # Traced, not run: no CPU could.
        return tf.raw_ops.TPUReplicatedInput(inputs=[values], is_mirrored_variable=False)

    module.lookup = tf.function(lookup, input_signature=[tf.TensorSpec([2])])
    model_dir, _ = save(tmp_path, module)
    with pytest.raises(VerificationError, match=r"of function __inference_lookup.* TPU operation TPUReplicatedInput"):
        check_contents(model_dir)


@pytest.mark.parametrize(
    "operation", ["RecvTPUEmbeddingActivations", "TPUReplicateMetadata", "XlaSparseDenseMatmulWithCsrInput"]
)
def test_operations_of_embedding_engines_are_known(operation):
    assert TPU_OPERATION.search(operation)
    assert hasattr(tf.raw_ops, operation)


@pytest.mark.parametrize("name", ["user/accumulator", "user/m"])
def test_an_optimizer_slot_is_refused_by_name(tmp_path, name):
    module = tf.Module()
    module.state = [tf.Variable(tf.zeros([2, 3]), name="user"), tf.Variable(tf.zeros([2, 3]), name=name)]
    with pytest.raises(VerificationError, match=f"optimizer slots, which serving does not need: {name}"):
        check_contents(save(tmp_path, module)[0])


def test_an_optimizer_in_the_model_is_refused(tmp_path):
    module = tf.Module()
    module.table = tf.Variable(tf.zeros([2, 3]), name="user")
    module.optimizer = tf.keras.optimizers.legacy.Adam()
    module.optimizer.apply_gradients([(tf.ones([2, 3]), module.table)])
    with pytest.raises(VerificationError, match=r"optimizer slots, which serving does not need: .*user/m"):
        check_contents(save(tmp_path, module)[0])


def test_names_alone_make_no_slot(tmp_path):
    module = tf.Module()
    module.layers = [tf.Variable(tf.zeros([2, 3]), name="user/kernel"), tf.Variable(tf.zeros([3]), name="user/bias")]
    assert check_contents(save(tmp_path, module)[0]) > 10


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
    assert request_columns([], specs)["genres"].shape == (0, 1)


def test_missing_integers_are_minus_one():
    features = tf.train.Features()
    features.feature["ids"].int64_list.value.extend([7, 8])
    serialized = [tf.train.Example(features=features).SerializeToString(deterministic=True), example("1", None, [])]
    columns = request_columns(serialized, {"ids": tf.TensorSpec([None, None], tf.int64)})
    assert columns["ids"].numpy().tolist() == [[7, 8], [-1, -1]]


def test_the_script_runs_isolated_and_ends_with_its_reason(tmp_path):
    model_dir, parity_dir = save(tmp_path, served=lambda age: age + 1)
    paths = json.dumps([model_dir, parity_dir, str(tmp_path / "report.json")])
    process = subprocess.run([sys.executable, "-I", script.__file__], input=paths, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.strip().splitlines()[-1].startswith("serving_default, batch of 1: rating")
    assert not (tmp_path / "report.json").exists()
