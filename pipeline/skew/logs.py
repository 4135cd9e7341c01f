"""Reads logged calls of `predict`, one at a time: JSON lines of REST bodies or gRPC messages, TFRecords of the latter.

A JSON line is `{"request": {...}, "response": {...}}` with the bodies of TensorFlow Serving's REST interface ("RESTful
API", tensorflow.org/tfx/serving/api_rest), or a `PredictionLog` as protobuf writes it in JSON. TensorFlow Serving's own
request logger writes `PredictionLog`s as TFRecords (`tensorflow_serving/apis/prediction_log.proto`).
"""

import base64
import binascii
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from trainer_module.errors import DataError

_DEFAULT_SIGNATURE = "serving_default"
_GZIP = b"\x1f\x8b"
_PREDICT_LOG = ("predict_log", "predictLog")
_SHOWN = 80
_EXPECTED = 'expected {"request": {...}, "response": {...}} of TensorFlow Serving\'s REST interface, or a PredictionLog'

UNNAMED = ""
"""Name of the only input or output of a signature, where a REST body leaves it out."""


@dataclass(frozen=True)
class Call:
    """One request with its answer.

    Attributes:
        place: File and line (in TFRecords: record).
        signature: That was called.
        inputs: Values by input, nested lists with the texts as bytes: one value per row, or the value itself of an
            input that belongs to the whole request. `UNNAMED` is the only input.
        rows_without: Inputs that some rows of a request in the row format lack, and the number of those rows.
        outputs: Values by output, as for `inputs`; None if the server answered with an error.
        version: Of the model, if the log names it.
    """

    place: str
    signature: str
    inputs: Mapping[str, Any]
    rows_without: Mapping[str, int]
    outputs: Mapping[str, Any] | None
    version: int | None


class _Malformed(Exception):
    """Says what is wrong with a line."""


def read_calls(files: Sequence[Path]) -> Iterator[Call | DataError]:
    """Yields the calls of some logs, and an error that names file and line for each line that is none.

    Args:
        files: JSON lines or TFRecords, each plain or with gzip, which their first bytes tell apart.

    Raises:
        DataError: A file cannot be read, is damaged or holds nothing.
    """
    for file in files:
        is_empty = True
        for call in _calls(file):
            is_empty = False
            yield call
        if is_empty:
            raise DataError(f"{file} holds no call; expected one per line")


def _calls(file: Path) -> Iterator[Call | DataError]:
    if _holds_records(file):
        unit, records, parse = "record", _records(file), _from_record
    else:
        unit, records, parse = "line", _lines(file), _from_line
    for number, record in enumerate(records, 1):
        if unit == "line" and not record.strip():
            continue
        place = f"{file}, {unit} {number}"
        try:
            yield parse(place, record)
        except _Malformed as error:
            yield DataError(f"{place}: {error}")


def _open(file: Path) -> BinaryIO | gzip.GzipFile:
    try:
        with file.open("rb") as start:
            is_packed = start.read(2) == _GZIP
        return gzip.open(file, "rb") if is_packed else file.open("rb")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None


def _holds_records(file: Path) -> bool:
    """Whether a file holds TFRecords: these begin with a length in eight bytes, and no JSON holds a zero byte."""
    with closing(_open(file)) as stream:
        try:
            return b"\0" in stream.read(8)
        except (OSError, EOFError) as error:
            raise DataError(f"{file} is damaged: {error}") from None


def _lines(file: Path) -> Iterator[bytes]:
    with closing(_open(file)) as stream:
        try:
            yield from stream
        except (OSError, EOFError) as error:
            raise DataError(f"{file} is damaged: {error}") from None


def _records(file: Path) -> Iterator[bytes]:
    with file.open("rb") as start:
        packing = "GZIP" if start.read(2) == _GZIP else ""
    try:
        for record in tf.data.TFRecordDataset(str(file), packing):
            yield bytes(record.numpy())
    except tf.errors.OpError as error:
        raise DataError(f"{file} is damaged: {error.message}") from None


def _from_line(place: str, line: bytes) -> Call:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"not JSON ({error}); {_EXPECTED}") from None
    if not isinstance(content, dict):
        raise _Malformed(f"{_short(content)}; {_EXPECTED}")
    if any(key in content for key in _PREDICT_LOG):
        try:
            return _from_log(place, json_format.ParseDict(content, prediction_log_pb2.PredictionLog()))
        except json_format.ParseError as error:
            raise _Malformed(f"not a PredictionLog ({error})") from None
    request, response = content.get("request"), content.get("response")
    if not isinstance(request, dict) or not isinstance(response, dict):
        raise _Malformed(f"keys {', '.join(content) or 'none'}; {_EXPECTED}")
    inputs, rows_without = _request(request)
    signature = request.get("signature_name") or _DEFAULT_SIGNATURE
    if not isinstance(signature, str):
        raise _Malformed(f"signature_name is {_short(signature)}; expected a text")
    return Call(place, signature, inputs, rows_without, _response(response), None)


def _from_record(place: str, record: bytes) -> Call:
    try:
        return _from_log(place, prediction_log_pb2.PredictionLog.FromString(record))
    except DecodeError:
        raise _Malformed("not a PredictionLog, as TensorFlow Serving's request logger writes them") from None


def _from_log(place: str, log: prediction_log_pb2.PredictionLog) -> Call:
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise _Malformed(f"a PredictionLog of {kind or 'nothing'}; pushed models answer Predict alone, as predict_log")
    request, response = log.predict_log.request, log.predict_log.response
    for spec in (response.model_spec, log.log_metadata.model_spec, request.model_spec):
        if spec.HasField("version"):
            version = spec.version.value
            break
    else:
        version = None
    return Call(
        place=place,
        signature=request.model_spec.signature_name or _DEFAULT_SIGNATURE,
        inputs=_tensors(request.inputs),
        rows_without={},
        outputs=_tensors(response.outputs) if response.outputs else None,
        version=version,
    )


def _tensors(protos: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {name: tf.make_ndarray(proto).tolist() for name, proto in protos.items()}
    except (TypeError, ValueError) as error:
        raise _Malformed(f"a tensor cannot be read ({error})") from None


def _request(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Inputs by name, and how many rows lack an input that others have."""
    given = [key for key in ("instances", "inputs") if key in body]
    if len(given) != 1:
        raise _Malformed(
            f"the request has {' and '.join(given) or 'neither instances nor inputs'}; expected one of them"
        )
    content = _decoded(body[given[0]])
    if given == ["inputs"]:
        return (content, {}) if isinstance(content, dict) else ({UNNAMED: content}, {})
    if not isinstance(content, list) or not content:
        raise _Malformed(f"instances is {_short(body['instances'])}; expected a list of rows")
    if not all(isinstance(row, dict) for row in content):
        if any(isinstance(row, dict) for row in content):
            raise _Malformed("instances mixes named and unnamed inputs; expected rows of one kind")
        return {UNNAMED: content}, {}
    names = dict.fromkeys(name for row in content for name in row)
    without = {name: sum(name not in row for row in content) for name in names}
    columns = {name: [row[name] for row in content if name in row] for name in names}
    return columns, {name: count for name, count in without.items() if count}


def _response(body: Mapping[str, Any]) -> dict[str, Any] | None:
    if "error" in body:
        return None
    if "outputs" in body:
        content = _decoded(body["outputs"])
        return content if isinstance(content, dict) else {UNNAMED: content}
    content = _decoded(body.get("predictions"))
    if not isinstance(content, list):
        raise _Malformed("the response has neither predictions, outputs nor error; expected one of them")
    if content and all(isinstance(row, dict) for row in content):
        if any(set(row) != set(content[0]) for row in content):
            raise _Malformed("the rows of predictions name different outputs; expected the same ones in each")
        return {name: [row[name] for row in content] for name in content[0]}
    return {UNNAMED: content}


def _decoded(value: Any) -> Any:
    """Texts as bytes, and `{"b64": ...}` as the bytes that it stands for."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, dict):
        if set(value) == {"b64"}:
            try:
                return base64.b64decode(value["b64"], validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise _Malformed(f"b64 is {_short(value['b64'])}; expected base64") from None
        return {name: _decoded(each) for name, each in value.items()}
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
