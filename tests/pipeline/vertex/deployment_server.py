"""The part of the Vertex AI and Cloud Storage REST APIs that a deployment speaks, on a local port.

It answers as https://cloud.google.com/vertex-ai/docs/reference/rest documents for `models` (upload, listVersions),
`endpoints`, `indexes` and `indexEndpoints` (create, list, get, patch, deploy, undeploy), each change as a long-running
operation that is done when it is looked at for the second time; and as
https://cloud.google.com/storage/docs/json_api/v1/objects for objects. Resource names have the project's number, as the
service's have.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .server import Request, VertexServer, error

PLACE = "projects/my-project/locations/us-central1"
NUMBERED = "projects/12345/locations/us-central1"
_TYPE = "type.googleapis.com/google.cloud.aiplatform.v1."
_KINDS = {"endpoints": "Endpoint", "indexes": "Index", "indexEndpoints": "IndexEndpoint"}
_DEPLOYED = {"endpoints": "deployedModels", "indexEndpoints": "deployedIndexes"}
_RESOURCE = re.compile(
    r"/v1/projects/[^/]+/locations/[^/]+/(?P<kind>models|endpoints|indexes|indexEndpoints)"
    r"(/(?P<id>[^/:]+))?(:(?P<verb>\w+))?"
)
_OPERATION = re.compile(r"/v1/(?P<name>projects/.+/operations/\d+)")
_OBJECTS = re.compile(r"(/download)?/storage/v1/b/(?P<bucket>[^/]+)/o(/(?P<name>[^/]+))?")


@dataclass
class DeploymentServer(VertexServer):
    """State of the services.

    Attributes:
        objects: Content by bucket and name, as in `my-bucket/folder/file`.
        failing: Error in which the next operation of a verb ends.
        models: Versions by model's id, oldest first.
        operations: By name; with `looks`, how often each is still found under way.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    failing: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def changes(self) -> list[str]:
        """What was asked to be changed, in order, as in `POST models:upload`."""
        return [
            f"{request.method} {request.path.removeprefix(f'/v1/{PLACE}/').removeprefix(f'/v1/{NUMBERED}/')}"
            for request in self.requests
            if request.method != "GET"
        ]

    def body(self, end: str) -> Any:
        """Body of the last change whose path ends so."""
        return [each.body for each in self.requests if each.method != "GET" and each.path.endswith(end)][-1]

    def answer(self, request: Request) -> tuple[int, Any]:
        """Status and body."""
        if match := _OBJECTS.fullmatch(request.path):
            return self._object(match["bucket"], match["name"], request)
        if match := _OPERATION.fullmatch(request.path):
            return 200, self._look(match["name"])
        if not (match := _RESOURCE.fullmatch(request.path)):
            return 404, error(404, f"no method at {request.path}")
        kind, id_, verb = match.group("kind", "id", "verb")
        if kind == "models":
            return self._upload(request.body) if verb == "upload" else self._versions(id_)
        name = f"{NUMBERED}/{kind}/{id_}"
        if not id_:
            return self._make(kind, request.body) if request.method == "POST" else self._find(kind, request)
        if name not in self.resources:
            return 404, error(404, f"{name} does not exist")
        if request.method == "GET":
            return 200, self.resources[name]
        if request.method == "PATCH":
            self.resources[name]["metadata"] |= request.body["metadata"]
            return 200, self._operation(name, "patch", {"@type": f"{_TYPE}Index", "name": name})
        return self._deployment(name, kind, verb, request.body)

    def _upload(self, body: dict[str, Any]) -> tuple[int, Any]:
        id_ = body.get("modelId") or body["parentModel"].rpartition("/")[2]
        if bool(body.get("modelId")) == (id_ in self.models):
            return 409, error(409, f"model {id_}")
        versions = self.models.setdefault(id_, [])
        number = str(len(versions) + 1)
        name = f"{NUMBERED}/models/{id_}"
        answer = {"@type": f"{_TYPE}UploadModelResponse", "model": name, "modelVersionId": number}
        operation = self._operation(name, "upload", answer)
        if "error" not in self.operations[operation["name"]]:
            versions.append(body["model"] | {"name": f"{name}@{number}", "versionId": number})
        return 200, operation

    def _versions(self, id_: str) -> tuple[int, Any]:
        if not self.models.get(id_):
            return 404, error(404, f"model {id_} does not exist")
        return 200, {"models": self.models[id_][::-1]}

    def _make(self, kind: str, body: dict[str, Any]) -> tuple[int, Any]:
        name = f"{NUMBERED}/{kind}/{len(self.resources) + 1}"
        self.resources[name] = body | {"name": name}
        return 200, self._operation(name, "create", {"@type": _TYPE + _KINDS[kind], "name": name})

    def _find(self, kind: str, request: Request) -> tuple[int, Any]:
        (display_name,) = re.findall(r'^display_name="(.*)"$', request.query["filter"])
        of_kind = [each for name, each in self.resources.items() if f"/{kind}/" in name]
        return 200, {kind: [each for each in of_kind if each["displayName"] == display_name]}

    def _deployment(self, name: str, kind: str, verb: str, body: dict[str, Any]) -> tuple[int, Any]:
        resource = self.resources[name]
        deployed = resource.setdefault(_DEPLOYED[kind], [])
        if verb == "undeployModel":
            deployed[:] = [each for each in deployed if each["id"] != body["deployedModelId"]]
        elif verb == "deployModel":
            model, _, version = body["deployedModel"]["model"].rpartition("/")[2].partition("@")
            id_ = str(100 + len(self.operations))
            here = {"id": id_, "model": f"{NUMBERED}/models/{model}", "modelVersionId": version}
            deployed.append(body["deployedModel"] | here)
            split = {id_ if key == "0" else key: share for key, share in body["trafficSplit"].items()}
            resource["trafficSplit"] = split
        else:
            deployed.append(body["deployedIndex"])
        answer = f"{verb[0].upper()}{verb[1:]}Response"
        return 200, self._operation(name, verb, {"@type": f"{_TYPE}{answer}"})

    def _operation(self, resource: str, verb: str, response: dict[str, Any]) -> dict[str, Any]:
        name = f"{resource}/operations/{len(self.operations) + 1}"
        failure = self.failing.pop(verb, None)
        self.operations[name] = {"looks": 1, **({"error": failure} if failure else {"response": response})}
        return {"name": name}

    def _look(self, name: str) -> dict[str, Any]:
        operation = self.operations[name]
        if operation["looks"]:
            operation["looks"] -= 1
            return {"name": name}
        return {"name": name, "done": True} | {key: value for key, value in operation.items() if key != "looks"}

    def _object(self, bucket: str, name: str | None, request: Request) -> tuple[int, Any]:
        if name is None:
            prefix = f"{bucket}/{request.query.get('prefix', '')}"
            rest = [each.removeprefix(prefix) for each in self.objects if each.startswith(prefix)]
            folders = sorted({each.partition("/")[0] for each in rest if "/" in each})
            return 200, {
                "kind": "storage#objects",
                "prefixes": [f"{request.query['prefix']}{each}/" for each in folders],
            }
        key = f"{bucket}/{unquote(name)}"
        if key not in self.objects:
            return 404, error(404, f"no object {key}")
        if request.query.get("alt") == "media":
            return 200, self.objects[key]
        return 200, {"kind": "storage#object", "bucket": bucket, "name": unquote(name)}
