"""What is pushed, as a model server sees it: warm-up requests, REST, gRPC, and the example client."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from components.pusher.warmup import WARMUP_FILE, warmup_requests
from tests.serving.client import SERVING_FILES, ask
from tests.serving.loader import serving


class Model(tf.Module):
    """Signatures of the kinds that pushed models have."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def by_example(self, examples):
        return {"probability": tf.cast(tf.strings.length(examples), tf.float32)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None, None], tf.string, name="tags"),
            tf.TensorSpec([None], tf.float32, name="price"),
        ]
    )
    def predict(self, user, tags, price):
        known = tf.reduce_sum(tf.cast(tags != "", tf.float32), axis=1)
        return {
            "probability": known + tf.where(tf.math.is_nan(price), 0.5, price) + 0 * tf.cast(user == "", tf.float32)
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None, None], tf.string, name="exclude"),
            tf.TensorSpec([], tf.int32, name="k"),
        ]
    )
    def recommend(self, user, exclude, k):
        ids = tf.repeat([tf.strings.as_string(tf.range(k))], tf.shape(user)[0], axis=0)
        return {"ids": ids, "scores": tf.fill(tf.shape(ids), 0.5)}


def example(user: str, tags: list[str], price: float | None) -> bytes:
    features = {
        "user": tf.train.Feature(bytes_list=tf.train.BytesList(value=[user.encode()])),
        "tags": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tag.encode() for tag in tags])),
        "price": tf.train.Feature(float_list=tf.train.FloatList(value=[] if price is None else [price])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


EXAMPLES = [example("ann", ["a", "b"], 2.0), example("bob", [], None)]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> Path:
    directory, model = tmp_path_factory.mktemp("recspan") / "3", Model()
    signatures = {"serving_default": model.by_example, "predict": model.predict, "recommend": model.recommend}
    tf.saved_model.save(model, str(directory), signatures)
    return directory


@pytest.fixture(scope="module")
def addresses(pushed):
    with serving(pushed) as found:
        yield found


def test_warm_up_requests_call_every_signature(pushed, tmp_path):
    (tmp_path / "requests").write_bytes(warmup_requests(str(pushed), EXAMPLES))
    model, called = tf.saved_model.load(str(pushed)), []
    for record in tf.data.TFRecordDataset(str(tmp_path / "requests")).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        name = request.model_spec.signature_name
        called.append((name, len(next(iter(model.signatures[name](**inputs).values())))))
    assert called == [(name, size) for name in ("predict", "recommend", "serving_default") for size in (1, 2)]
    assert WARMUP_FILE == "assets.extra/tf_serving_warmup_requests"


def test_the_example_client_asks_over_rest_and_grpc(addresses):
    inputs = json.dumps({"user": ["ann", "bob"], "tags": [["a", "b"], ["", ""]], "price": [2.0, float("nan")]})
    for server in addresses:
        process = ask(server, inputs)
        assert process.returncode == 0, process.stderr
        (values,) = json.loads(process.stdout).values()
        np.testing.assert_allclose(values, [4.0, 0.5])
    process = ask(addresses[0], "--signature", "recommend", '{"user": ["ann"], "exclude": [[""]], "k": 3}')
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == {"ids": [["0", "1", "2"]], "scores": [[0.5] * 3]}


def test_a_refusal_reaches_the_person(addresses):
    process = ask(addresses[0], "--signature", "predict", '{"user": ["ann"]}')
    assert process.returncode == 1
    assert process.stderr == "the server refused the request: input size does not match signature: 1!=3\n"


def test_the_server_s_list_of_models_is_of_its_own_format():
    models = text_format.Parse(
        (SERVING_FILES / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    assert models.model_config_list.config[0].name == "recspan"
