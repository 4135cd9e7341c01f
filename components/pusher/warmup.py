"""Requests that TensorFlow Serving replays when it loads a version, before it answers anybody.

The first call of a graph is far slower than those after it. TensorFlow Serving looks for a TFRecord file of
`PredictionLog`s in `assets.extra` ("SavedModel Warmup", tensorflow.org/tfx/serving/saved_model_warmup).
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from components.pusher.requests import is_for_clients, request

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")

# A single request and a small batch: what clients send.
_BATCH_SIZES = (1, 16)


def warmup_requests(model_dir: str, examples: Sequence[bytes]) -> bytes:
    """Requests of every signature that clients call, as the content of `WARMUP_FILE`.

    Args:
        model_dir: A SavedModel, local or remote.
        examples: Serialized `tf.Example`s that hold the model's inputs.
    """
    with tf.io.gfile.GFile(os.path.join(model_dir, tf.saved_model.SAVED_MODEL_FILENAME_PB), "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    (graph,) = saved.meta_graphs
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "requests")
        with tf.io.TFRecordWriter(path) as writer:
            for name, signature in sorted(graph.signature_def.items()):
                if not is_for_clients(name):
                    continue
                for size in _BATCH_SIZES:
                    writer.write(_log(name, signature, examples[:size]).SerializeToString())
        return Path(path).read_bytes()


def _log(
    name: str, signature: meta_graph_pb2.SignatureDef, examples: Sequence[bytes]
) -> prediction_log_pb2.PredictionLog:
    call = predict_pb2.PredictRequest()
    call.model_spec.signature_name = name
    specs = {
        column: tf.TensorSpec(info.tensor_shape, tf.as_dtype(info.dtype)) for column, info in signature.inputs.items()
    }
    for column, values in request(name, specs, examples).items():
        call.inputs[column].CopyFrom(tf.make_tensor_proto(values))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=call))
