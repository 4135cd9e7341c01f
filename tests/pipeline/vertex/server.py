"""The part of the Vertex AI REST API that the product speaks, on a local port.

It answers as https://cloud.google.com/vertex-ai/docs/reference/rest documents: `projects.locations.pipelineJobs`
(create, get, list, cancel) and `projects.locations.schedules` (create), and issues access tokens as Google's token
endpoint does. What it was asked is kept for tests to look at.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_TOKEN = {
    "access_token": "token-of-the-test",
    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "token_type": "Bearer",
    "expires_in": 3600,
}
_CREATED = "2030-01-02T03:04:05Z"
_MEMBERS = r"/v1/(?P<parent>projects/[^/]+/locations/[^/]+)/(?P<kind>pipelineJobs|schedules)"


@dataclass
class Request:
    """What a client asked."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    token: str


@dataclass
class Fault:
    """An answer in place of the right one.

    Attributes:
        status: HTTP status; 0 closes the connection without an answer.
        message: In the error's body.
        reason: In the error's details.
        seconds: Before the answer.
        after: Whether what was asked is done all the same, so that only the answer is lost.
    """

    status: int
    message: str = "no"
    reason: str = ""
    seconds: float = 0.0
    after: bool = False


@dataclass
class VertexServer:
    """State of the service.

    Attributes:
        url: Without a path.
        faults: For the next calls of the API, one each.
        requests: Of the API.
        resources: By name.
    """

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(request.method, request.path) for request in self.requests]

    def answer(self, request: Request) -> tuple[int, Any]:
        """Status and body."""
        match = re.fullmatch(_MEMBERS + r"(/(?P<id>[^/:]+))?(?P<verb>:\w+)?", request.path)
        if not match:
            return 404, error(404, f"no method at {request.path}")
        parent, kind, id_, verb = match.group("parent", "kind", "id", "verb")
        name = f"{parent}/{kind}/{id_}"
        if request.method == "POST" and not id_:
            return self._create(parent, kind, request)
        if request.method == "GET" and not id_:
            return self._list(parent, kind, request)
        if name not in self.resources:
            return 404, error(404, f"{kind} {name} does not exist")
        if request.method == "POST" and verb == ":cancel":
            self.resources[name]["state"] = "PIPELINE_STATE_CANCELLING"
            return 200, {}
        return 200, self.resources[name]

    def _create(self, parent: str, kind: str, request: Request) -> tuple[int, Any]:
        id_ = request.query.get("pipelineJobId", str(len(self.resources) + 1))
        name = f"{parent}/{kind}/{id_}"
        if name in self.resources:
            return 409, error(409, f"{name} already exists")
        state = {"pipelineJobs": "PIPELINE_STATE_PENDING", "schedules": "ACTIVE"}[kind]
        self.resources[name] = request.body | {"name": name, "state": state, "createTime": _CREATED}
        return 200, self.resources[name]

    def _list(self, parent: str, kind: str, request: Request) -> tuple[int, Any]:
        names = [name for name in reversed(self.resources) if name.startswith(f"{parent}/{kind}/")]
        first = int(request.query.get("pageToken") or 0)
        end = first + int(request.query["pageSize"])
        body = {kind: [self.resources[name] for name in names[first:end]]}
        return 200, body | ({"nextPageToken": str(end)} if end < len(names) else {})


def error(status: int, message: str, reason: str = "") -> dict[str, Any]:
    """An error as Google's APIs write it."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return {"error": {"code": status, "message": message, "details": details}}


@contextmanager
def running(server: VertexServer) -> Iterator[VertexServer]:
    """Serves until left."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise each answer waits 40 ms for the acknowledgement of its headers.
        disable_nagle_algorithm = True

        def do_GET(self):
            self._handle(None)

        def do_POST(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/token":
                self._send(200, _TOKEN)
                return
            if self.path == "/revoked":
                self._send(400, {"error": "invalid_grant", "error_description": "the token was revoked"})
                return
            self._handle(json.loads(data) if data else None)

        def do_PATCH(self):
            self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _handle(self, body: Any) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            request = Request(self.command, url.path, query, body, self.headers.get("Authorization", ""))
            server.requests.append(request)
            fault = server.faults.pop(0) if server.faults else None
            if fault is None:
                self._send(*server.answer(request))
                return
            if fault.after:
                server.answer(request)
            time.sleep(fault.seconds)
            if fault.status:
                self._send(fault.status, error(fault.status, fault.message, fault.reason))
            else:
                self.close_connection = True

        def _send(self, status: int, body: Mapping[str, Any] | bytes) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            with suppress(ConnectionError):  # the client waits no longer
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Keeps quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
