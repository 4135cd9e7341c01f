"""Asks a model server for predictions, over REST or gRPC: an example to copy from.

    python client.py http://localhost:8501 --signature predict '{"user_id": ["42"], "movie_id": ["50"]}'
    python client.py grpc://localhost:8500 --signature predict '{"user_id": ["42"], "movie_id": ["50"]}'

The argument is the signature's inputs as JSON, one array per column. A missing number is NaN; lists of one column are
filled up with empty strings to one length. REST needs nothing but Python, gRPC the package tensorflow-serving-api.
"""

import argparse
import json
import urllib.error
import urllib.request
from typing import Any


def ask_rest(url: str, model: str, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs by name.

    Raises:
        SystemExit: The server refused the request; with its message.
    """
    body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
    request = urllib.request.Request(f"{url}/v1/models/{model}:predict", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            outputs = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"the server refused the request: {json.load(error)['error']}") from None
    # Of a signature with one output, the server leaves the name out.
    return outputs if isinstance(outputs, dict) else {"output": outputs}


def ask_grpc(address: str, model: str, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs by name, as arrays."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        question = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        question.model_spec.name = model
        signatures = get_model_metadata_pb2.SignatureDefMap()
        service.GetModelMetadata(question, timeout=60).metadata["signature_def"].Unpack(signatures)
        # JSON does not say whether a number is a float or of 32 or 64 bits; the signature does.
        types = {name: info.dtype for name, info in signatures.signature_def[signature].inputs.items()}
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, types[name]))
        answer = service.Predict(request, timeout=60)
    return {name: tf.make_ndarray(output) for name, output in answer.outputs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="http://HOST:PORT or grpc://HOST:PORT")
    parser.add_argument("inputs", type=json.loads, help="JSON object of the signature's inputs")
    parser.add_argument("--model", default="recspan")
    parser.add_argument("--signature", default="predict")
    given = parser.parse_args()
    scheme, _, address = given.server.partition("://")
    if scheme == "grpc":
        found = ask_grpc(address, given.model, given.signature, given.inputs)
        outputs = {name: [_text(value) for value in values.ravel()] for name, values in found.items()}
    else:
        outputs = ask_rest(given.server, given.model, given.signature, given.inputs)
    print(json.dumps(outputs))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value.item()


if __name__ == "__main__":
    main()
