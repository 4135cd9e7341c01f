"""A small stand-in for TensorFlow Serving: loads one SavedModel and speaks its REST and gRPC contracts.

It follows "RESTful API" (tensorflow.org/tfx/serving/api_rest) as far as the product's documents use it: the status of a
model, and `predict` in the row and the column format, with errors as JSON.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

_PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?(?::(?P<verb>\w+))?")


class Refused(Exception):
    """A request that the server answers with an error."""


class LoadedModel:
    """A version of a model."""

    def __init__(self, directory: Path):
        self.version = directory.name
        self._model = tf.saved_model.load(str(directory))
        saved = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
        self.signature_defs = saved.meta_graphs[0].signature_def

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Outputs by name, from values by name."""
        if signature not in self._model.signatures:
            raise Refused(f'Serving signature name: "{signature}" not found in signature def')
        specs = self._model.signatures[signature].structured_input_signature[1]
        if set(specs) != set(inputs):
            raise Refused(f"input size does not match signature: {len(inputs)}!={len(specs)}")
        try:
            tensors = {name: tf.constant(values, specs[name].dtype) for name, values in inputs.items()}
            return {name: value.numpy() for name, value in self._model.signatures[signature](**tensors).items()}
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise Refused(str(error)) from None


def answer(model: LoadedModel, request: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an answer to a body of `predict`."""
    signature = request.get("signature_name", "serving_default")
    if "inputs" in request:
        outputs = {name: _json(value) for name, value in model.predict(signature, request["inputs"]).items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
    if "instances" not in request:
        raise Refused("JSON Value: missing 'instances' or 'inputs'")
    rows = request["instances"]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    outputs = {name: _json(value) for name, value in model.predict(signature, columns).items()}
    by_row = [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]
    return {"predictions": by_row if len(outputs) > 1 else next(iter(outputs.values()))}


def _json(values: np.ndarray) -> Any:
    return np.vectorize(bytes.decode, otypes=[object])(values).tolist() if values.dtype == object else values.tolist()


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The two calls of gRPC that clients make."""

    def __init__(self, model: LoadedModel):
        self._model = model

    def Predict(self, request, context):  # noqa: N802 (the name of the service's method)
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        try:
            outputs = self._model.predict(request.model_spec.signature_name, inputs)
        except Refused as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(value) for name, value in outputs.items()}
        )

    def GetModelMetadata(self, request, context):  # noqa: N802 (the name of the service's method)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=self._model.signature_defs)
        response.metadata["signature_def"].Pack(signatures)
        return response


@contextmanager
def serving(directory: Path, name: str = "recspan") -> Iterator[tuple[str, str]]:
    """Serves a version; yields the addresses of REST and gRPC, as the example client takes them."""
    model = LoadedModel(directory)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self._match() is None:
                return
            state = {
                "version": model.version,
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
            self._send(200, {"model_version_status": [state]})

        def do_POST(self):
            if (found := self._match()) is None:
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                if found["verb"] != "predict":
                    raise Refused(f"Malformed request: POST {self.path}")
                self._send(200, answer(model, json.loads(body)))
            except (Refused, json.JSONDecodeError) as error:
                self._send(400, {"error": str(error)})

        def _match(self) -> re.Match | None:
            found = _PATH.fullmatch(self.path)
            if found and found["model"] == name and found["version"] in (None, model.version):
                return found
            self._send(404, {"error": f"Servable not found for request: {self.path}"})
            return None

        def _send(self, status: int, body: Mapping[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format, *args):
            pass

    rest = ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    rpc = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(model), rpc)
    port = rpc.add_insecure_port("localhost:0")
    rpc.start()
    try:
        yield f"http://localhost:{rest.server_port}", f"grpc://localhost:{port}"
    finally:
        rest.shutdown()
        rpc.stop(None)
