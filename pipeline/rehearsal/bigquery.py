"""Stands for BigQuery on local ports: the parts of its REST and Storage Read APIs that ExampleGen speaks.

No SQL is executed. Whoever starts the service says which table answers a query; jobs, temporary tables, read sessions
and streams of compressed Arrow batches are made of it as Google documents them. Google's own clients speak to it.
"""

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

from components.example_gen.bigquery.service import REST_HOST, STORAGE_HOST, TABLE_LABEL
from trainer_module.errors import DataError

_RESOURCE = re.compile(
    r"/bigquery/v2/projects/(?P<project>[^/]+)/"
    r"(jobs/?(?P<job>[^/]*)|datasets/(?P<dataset>[^/]+)/tables/(?P<table>[^/]+))"
)
_READ_SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
_LOCATION, _DATASET = "EU", "_results"
_ROWS_PER_MESSAGE, _NUM_STREAMS = 10_000, 2
_GRPC_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED, 404: grpc.StatusCode.NOT_FOUND, 503: grpc.StatusCode.UNAVAILABLE,
}  # fmt: skip


@dataclass(frozen=True)
class Query:
    """A query that was sent.

    Attributes:
        table: Table of the experiment that it belongs to.
        sql: Its text.
        parameters: Values of its parameters by name, as the API writes them.
        max_bytes: What it may be billed for; None without a limit.
        dry_run: Whether only its tables are asked for.
    """

    table: str
    sql: str
    parameters: Mapping[str, str]
    max_bytes: int | None
    dry_run: bool


class Refused(Exception):
    """An answer with an error, as the service words it."""

    def __init__(self, status: int, reason: str, message: str):
        """Sets the answer.

        Args:
            status: Of HTTP.
            reason: Of BigQuery, such as `notFound`.
            message: In English.
        """
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    @property
    def resource(self) -> dict[str, Any]:
        """The error as the API writes it."""
        details = {"reason": self.reason, "message": self.message}
        return details | {"code": self.status, "errors": [details]}


Answer = Callable[[Query], pa.Table]
"""Gives the rows of a query, or raises `Refused`."""


@dataclass
class LocalBigQuery:
    """A running service.

    Attributes:
        answer: Answers queries.
        tables: Resources of tables that exist beside results, by `project.dataset.table`.
        fails_in_job: Whether a refusal is the end of a job, and not of the request that starts it.
        asked: The queries, in their order.
        opened: The requests for read sessions.
        rest: URL of the REST API, while it runs.
        storage: Address of the Storage Read API, while it runs.
    """

    answer: Answer
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    fails_in_job: bool = False
    asked: list[Query] = field(default_factory=list)
    opened: list[types.CreateReadSessionRequest] = field(default_factory=list)
    rest: str = ""
    storage: str = ""
    _jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _results: dict[str, pa.Table] = field(default_factory=dict)
    _streams: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which ExampleGen finds it."""
        return {REST_HOST: self.rest, STORAGE_HOST: self.storage}

    @contextmanager
    def running(self) -> Iterator["LocalBigQuery"]:
        """Listens on free ports of this machine."""
        http = ThreadingHTTPServer(("localhost", 0), self._handler())
        pool = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
        pool.add_generic_rpc_handlers([self._read_service()])
        self.storage = f"localhost:{pool.add_insecure_port('localhost:0')}"
        self.rest = f"http://localhost:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        pool.start()
        try:
            yield self
        finally:
            http.shutdown()
            http.server_close()
            thread.join()
            pool.stop(None).wait()

    def insert_job(self, project: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """`jobs.insert`: runs a query to its end."""
        configuration = body["configuration"]
        asked = configuration["query"]
        parameters = {each["name"]: each["parameterValue"]["value"] for each in asked.get("queryParameters", [])}
        limit = asked.get("maximumBytesBilled")
        query = Query(
            table=configuration.get("labels", {}).get(TABLE_LABEL, ""),
            sql=asked["query"],
            parameters=parameters,
            max_bytes=int(limit) if limit else None,
            dry_run=configuration.get("dryRun", False),
        )
        self.asked.append(query)
        reference = {"projectId": project, "location": _LOCATION} | body["jobReference"]
        job = {"jobReference": reference, "configuration": dict(configuration), "status": {"state": "DONE"}}
        now = str(int(time.time() * 1000))
        statistics: dict[str, Any] = {"statementType": "SELECT", "totalBytesBilled": "10485760"}
        job["statistics"] = {"creationTime": now, "startTime": now, "endTime": now, "query": statistics}
        if query.dry_run:
            statistics["referencedTables"] = [
                dict(zip(("projectId", "datasetId", "tableId"), name.split("."), strict=True))
                for name in self.tables
                if name in query.sql
            ]
            return job
        try:
            rows = as_bigquery(self.answer(query))
        except Refused as error:
            if not self.fails_in_job:
                raise
            job["status"] |= {"errorResult": error.resource["errors"][0], "errors": error.resource["errors"]}
            rows = None
        if rows is not None:
            name = f"result_{next(self._numbers)}"
            temporary = {"projectId": project, "datasetId": _DATASET, "tableId": name}
            place = asked.get("destinationTable", temporary)
            job["configuration"] = configuration | {"query": asked | {"destinationTable": place}}
            full_name = ".".join(place[part] for part in ("projectId", "datasetId", "tableId"))
            self._results[full_name] = rows
            self.tables[full_name] = {
                "tableReference": place,
                "type": "TABLE",
                "numRows": str(rows.num_rows),
                "schema": {"fields": [_field(each) for each in rows.schema]},
            }
        self._jobs[reference["jobId"]] = job
        return job

    def get_job(self, name: str) -> dict[str, Any]:
        """`jobs.get`."""
        if name not in self._jobs:
            raise Refused(404, "notFound", f"Not found: Job {name}")
        return self._jobs[name]

    def get_table(self, project: str, dataset: str, name: str) -> dict[str, Any]:
        """`tables.get`."""
        full_name = f"{project}.{dataset}.{name}"
        if full_name not in self.tables:
            raise Refused(404, "notFound", f"Not found: Table {project}:{dataset}.{name}")
        reference = {"projectId": project, "datasetId": dataset, "tableId": name}
        return {"tableReference": reference} | self.tables[full_name]

    def delete_table(self, project: str, dataset: str, name: str) -> dict[str, Any]:
        """`tables.delete`."""
        self.get_table(project, dataset, name)
        del self.tables[f"{project}.{dataset}.{name}"]
        return {}

    def create_read_session(self, request: types.CreateReadSessionRequest) -> types.ReadSession:
        """`CreateReadSession`."""
        self.opened.append(request)
        asked = request.read_session
        _, project, _, dataset, _, table = asked.table.split("/")
        rows = self._results[f"{project}.{dataset}.{table}"].select(list(asked.read_options.selected_fields))
        count = min(request.max_stream_count or _NUM_STREAMS, max(1, rows.num_rows))
        session = f"{request.parent}/locations/{_LOCATION.lower()}/sessions/{next(self._numbers)}"
        streams = []
        for number in range(count):
            first, last = rows.num_rows * number // count, rows.num_rows * (number + 1) // count
            streams.append(types.ReadStream(name=f"{session}/streams/{number}"))
            self._streams[streams[-1].name] = rows.slice(first, last - first).to_batches(_ROWS_PER_MESSAGE)
        schema = types.ArrowSchema(serialized_schema=rows.schema.serialize().to_pybytes())
        return types.ReadSession(
            name=session, table=asked.table, data_format=types.DataFormat.ARROW, arrow_schema=schema, streams=streams
        )

    def read_rows(self, request: types.ReadRowsRequest) -> Iterator[types.ReadRowsResponse]:
        """`ReadRows`, from the offset of the request on."""
        skipped = request.offset
        for batch in self._streams[request.read_stream]:
            if skipped >= batch.num_rows:
                skipped -= batch.num_rows
                continue
            sent, skipped = batch.slice(skipped), 0
            content = types.ArrowRecordBatch(serialized_record_batch=_compressed(sent))
            yield types.ReadRowsResponse(arrow_record_batch=content, row_count=sent.num_rows)

    def _read_service(self) -> grpc.GenericRpcHandler:
        def create(request: types.CreateReadSessionRequest, context: grpc.ServicerContext) -> types.ReadSession:
            try:
                return self.create_read_session(request)
            except Refused as error:
                context.abort(_GRPC_STATUS[error.status], error.message)
                raise

        def read(request: types.ReadRowsRequest, context: grpc.ServicerContext) -> Iterator[types.ReadRowsResponse]:
            try:
                yield from self.read_rows(request)
            except Refused as error:
                context.abort(_GRPC_STATUS[error.status], error.message)

        return grpc.method_handlers_generic_handler(
            _READ_SERVICE,
            {
                "CreateReadSession": grpc.unary_unary_rpc_method_handler(
                    create, types.CreateReadSessionRequest.deserialize, types.ReadSession.serialize
                ),
                "ReadRows": grpc.unary_stream_rpc_method_handler(
                    read, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
                ),
            },
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(None)

            def do_DELETE(self) -> None:
                self._reply(None)

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, format: str, *arguments: Any) -> None:
                """Writes no line per request."""

            def _reply(self, body: Any) -> None:
                try:
                    status, content = 200, service._resource(self.command, urlsplit(self.path).path, body)
                except Refused as error:
                    status, content = error.status, {"error": error.resource}
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler

    def _resource(self, method: str, path: str, body: Any) -> dict[str, Any]:
        match = _RESOURCE.fullmatch(path)
        if match is None:
            raise Refused(404, "notFound", f"{path} is not among the methods that stand for BigQuery here")
        project, job, dataset, table = (unquote(match[name] or "") for name in ("project", "job", "dataset", "table"))
        if body is not None:
            return self.insert_job(project, body)
        if method == "DELETE":
            return self.delete_table(project, dataset, table)
        return self.get_table(project, dataset, table) if dataset else self.get_job(job)


def as_bigquery(rows: pa.Table) -> pa.Table:
    """A table in the Arrow types that the Storage Read API sends.

    Raises:
        DataError: A column has a type that BigQuery does not have.
    """
    schema = pa.schema([(each.name, _sent_type(each.name, each.type)) for each in rows.schema])
    return rows.cast(schema)


def _sent_type(name: str, kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _sent_type(name, kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_sent_type(name, kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(each.name, _sent_type(name, each.type)) for each in kind])
    if pa.types.is_decimal(kind):
        return pa.decimal128(38, 9) if kind.scale <= 9 and kind.precision - kind.scale <= 29 else pa.decimal256(76, 38)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    for is_kind, sent in (
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_string, pa.string()),
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_null, pa.string()),
        (pa.types.is_binary, pa.binary()),
        (pa.types.is_large_binary, pa.binary()),
        (pa.types.is_date, pa.date32()),
        (pa.types.is_time, pa.time64("us")),
    ):
        if is_kind(kind):
            return sent
    raise DataError(f"column {name!r} is of type {kind}, which BigQuery does not have")


def _field(column: pa.Field) -> dict[str, Any]:
    """The column as `tables.get` describes it, with the API's own names of types."""
    kind, mode = column.type, "NULLABLE"
    if pa.types.is_list(kind):
        kind, mode = kind.value_type, "REPEATED"
    described = {"name": column.name, "mode": mode}
    if pa.types.is_struct(kind):
        return described | {"type": "RECORD", "fields": [_field(each) for each in kind]}
    names = {
        pa.bool_(): "BOOLEAN", pa.int64(): "INTEGER", pa.float64(): "FLOAT", pa.string(): "STRING",
        pa.binary(): "BYTES", pa.date32(): "DATE", pa.time64("us"): "TIME", pa.timestamp("us"): "DATETIME",
        pa.timestamp("us", tz="UTC"): "TIMESTAMP", pa.decimal128(38, 9): "NUMERIC", pa.decimal256(76, 38): "BIGNUMERIC",
    }  # fmt: skip
    return described | {"type": names[kind]}


def _compressed(batch: pa.RecordBatch) -> bytes:
    """A batch as an IPC message with LZ4 buffers, without the schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    messages = pa.ipc.MessageReader.open_stream(sink.getvalue())
    messages.read_next_message()
    return messages.read_next_message().serialize().to_pybytes()
