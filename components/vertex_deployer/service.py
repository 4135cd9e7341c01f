"""The part of the Vertex AI API that deploys: models, endpoints, indexes, index endpoints, over REST."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import google.auth
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.operations_v1.transports.rest import OperationsRestTransport
from google.cloud.aiplatform_v1 import types
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.index_endpoint_service import IndexEndpointServiceClient
from google.cloud.aiplatform_v1.services.index_service import IndexServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.longrunning import operations_pb2

from components.google_cloud.calls import PATIENCE, Advice, Calls, Patience, ServiceError, credentials_needed, passes
from components.vertex_deployer.config import Target

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS_BETWEEN_MESSAGES = 60.0
# One page; more things of one name would be a mistake, and versions come newest first.
_PAGE = 100


class DeploymentService:
    """Finds, makes and changes what a deployment needs."""

    def __init__(self, target: Target, patience: Patience = PATIENCE):
        """Finds credentials, as all of Google's libraries do (Application Default Credentials).

        Raises:
            SetupError: There are none.
        """
        self._target = target
        self._patience = patience
        self._calls = Calls(target, patience, _advice(target))
        with credentials_needed():
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        access: dict[str, Any] = {
            "transport": "rest",
            "credentials": credentials,
            "client_options": ClientOptions(api_endpoint=target.api),
        }
        self._models = ModelServiceClient(**access)
        self._endpoints = EndpointServiceClient(**access)
        self._indexes = IndexServiceClient(**access)
        self._index_endpoints = IndexEndpointServiceClient(**access)
        # The clients' own way asks at /ui/, which the API's reference does not know.
        self._operations = OperationsRestTransport(host=target.api, credentials=credentials)

    def model_versions(self, model: str) -> list[types.Model]:
        """The versions of a model, none if there is no such model.

        Args:
            model: Resource name.

        Raises:
            ServiceError: The service refused.
        """
        versions: list[types.Model] = []
        request = types.ListModelVersionsRequest(name=model, page_size=_PAGE)
        failures: list[Exception] = []
        while True:
            with self._calls.in_words(failures):
                try:
                    page = self._calls.attempts(self._versions_page, request, passes, failures)
                except exceptions.NotFound:
                    return []
            versions += page.models
            if not page.next_page_token:
                return versions
            request.page_token = page.next_page_token

    def upload_model(self, request: types.UploadModelRequest) -> str:
        """Registers a version; returns its name with its number, as in `.../models/m@3`.

        Raises:
            ServiceError: It was refused, or failed.
        """
        done = self._done(self._models.upload_model, request, types.UploadModelResponse, "model")
        return f"{done.model.partition('@')[0]}@{done.model_version_id}"

    def find_endpoint(self, display_name: str) -> types.Endpoint | None:
        """The endpoint of that name.

        Raises:
            ServiceError: There are several, or the service refused.
        """
        request = types.ListEndpointsRequest(parent=self._target.location, filter=_named(display_name), page_size=_PAGE)
        pager = self._calls.repeat(self._endpoints.list_endpoints, request)
        return _only(list(next(iter(pager.pages)).endpoints), "endpoints", display_name)

    def create_endpoint(self, request: types.CreateEndpointRequest) -> types.Endpoint:
        """Makes an endpoint.

        Raises:
            ServiceError: It was refused, or failed.
        """
        return self._done(self._endpoints.create_endpoint, request, types.Endpoint, "endpoint")

    def deploy_model(self, request: types.DeployModelRequest) -> None:
        """Deploys a version, until it answers.

        Raises:
            ServiceError: It was refused, or failed.
        """
        self._done(self._endpoints.deploy_model, request, types.DeployModelResponse, "model on the endpoint")

    def get_endpoint(self, name: str) -> types.Endpoint:
        """An endpoint as it is now.

        Raises:
            ServiceError: The service refused.
        """
        return self._calls.repeat(self._endpoints.get_endpoint, types.GetEndpointRequest(name=name))

    def undeploy_model(self, request: types.UndeployModelRequest) -> None:
        """Takes a version down.

        Raises:
            ServiceError: It was refused, or failed.
        """
        answer = types.UndeployModelResponse
        self._done(self._endpoints.undeploy_model, request, answer, "removal of an earlier version")

    def find_index(self, display_name: str) -> types.Index | None:
        """The index of that name.

        Raises:
            ServiceError: There are several, or the service refused.
        """
        request = types.ListIndexesRequest(parent=self._target.location, filter=_named(display_name), page_size=_PAGE)
        pager = self._calls.repeat(self._indexes.list_indexes, request)
        return _only(list(next(iter(pager.pages)).indexes), "indexes", display_name)

    def create_index(self, request: types.CreateIndexRequest) -> str:
        """Makes an index, until its vectors are imported; returns its name.

        Raises:
            ServiceError: It was refused, or failed.
        """
        return self._done(self._indexes.create_index, request, types.Index, "index").name

    def update_index(self, request: types.UpdateIndexRequest) -> str:
        """Imports vectors in the place of an index's own, until that is done; returns its name.

        Raises:
            ServiceError: It was refused, or failed.
        """
        return self._done(self._indexes.update_index, request, types.Index, "update of the index").name

    def find_index_endpoint(self, display_name: str) -> types.IndexEndpoint | None:
        """The index endpoint of that name.

        Raises:
            ServiceError: There are several, or the service refused.
        """
        request = types.ListIndexEndpointsRequest(
            parent=self._target.location, filter=_named(display_name), page_size=_PAGE
        )
        pager = self._calls.repeat(self._index_endpoints.list_index_endpoints, request)
        return _only(list(next(iter(pager.pages)).index_endpoints), "index endpoints", display_name)

    def create_index_endpoint(self, request: types.CreateIndexEndpointRequest) -> types.IndexEndpoint:
        """Makes an index endpoint.

        Raises:
            ServiceError: It was refused, or failed.
        """
        return self._done(self._index_endpoints.create_index_endpoint, request, types.IndexEndpoint, "index endpoint")

    def deploy_index(self, request: types.DeployIndexRequest) -> None:
        """Deploys an index, until it answers.

        Raises:
            ServiceError: It was refused, or failed.
        """
        put = self._index_endpoints.deploy_index
        self._done(put, request, types.DeployIndexResponse, "index on the index endpoint")

    def _versions_page(
        self, request: types.ListModelVersionsRequest, **options: Any
    ) -> types.ListModelVersionsResponse:
        pager = self._models.list_model_versions(request, **options)
        return next(iter(pager.pages))

    def _done(self, method: Callable[..., Any], request: Any, answer: type[Result], what: str) -> Result:
        """Starts a long-running operation and waits for its end.

        Args:
            method: Starts it.
            request: Of the method.
            answer: What the operation comes to.
            what: Is made, for messages.

        Raises:
            ServiceError: It was refused, failed, or takes longer than there is patience.
        """
        operation = self._calls.create(method, request).operation
        started, said = time.monotonic(), 0.0
        _log.info("%s: under way", what)
        while not operation.done:
            elapsed = time.monotonic() - started
            if elapsed > self._patience.operation:
                raise ServiceError(
                    f"{what}: not done after {elapsed / 60:.0f} minutes. The service goes on with it "
                    f"({operation.name}); when it is done, the same command again does what is left"
                )
            if elapsed - said >= _SECONDS_BETWEEN_MESSAGES:
                said = elapsed
                _log.info("%s: under way for %.0f min", what, elapsed / 60)
            time.sleep(self._patience.poll)
            asked = operations_pb2.GetOperationRequest(name=operation.name)
            operation = self._calls.repeat(self._operations.get_operation, asked)
        if operation.HasField("error"):
            error = exceptions.from_grpc_status(operation.error.code, operation.error.message)
            raise ServiceError(f"{what}: {self._calls.explained(error, 1)}") from error
        _log.info("%s: done after %.0f s", what, time.monotonic() - started)
        message = answer.pb(answer())
        operation.response.Unpack(message)
        return answer.wrap(message)


def _named(display_name: str) -> str:
    return f'display_name="{display_name}"'


def _only(found: list[Result], kind: str, display_name: str) -> Result | None:
    """The one thing of a name, or None.

    Raises:
        ServiceError: There are several.
    """
    # Whatever the service's filter takes for equal.
    found = [each for each in found if each.display_name == display_name]
    if len(found) > 1:
        raise ServiceError(
            f"there are {len(found)} {kind} called {display_name!r}, and which one is meant is not known: "
            f"{', '.join(each.name for each in found)}. Give another name, or delete what is not needed"
        )
    return found[0] if found else None


def _advice(target: Target) -> Advice:
    member = target.service_account or "Compute Engine's default service account"
    return Advice(
        forbidden=(
            "Who deploys (a pipeline's step: the service account of the run) needs the role roles/aiplatform.user "
            f"there, and roles/iam.serviceAccountUser on {member}, under which deployed models work; the bucket must "
            "be readable for Vertex AI's service agent"
        ),
        not_found="Check vertex.project, vertex.region and the names in vertex.deploy",
        bad_request=(
            "What it names stands in the section vertex.deploy: machine types, replicas, image, index; and the "
            "version's files must be in a bucket of the region. `recspan pipeline deploy --dry-run` shows the requests"
        ),
        unanswered=(
            "and give the same command again: it finds what was made after all and does what is left. What is under "
            f"way must end first: https://console.cloud.google.com/vertex-ai/models?project={target.project}"
        ),
    )
