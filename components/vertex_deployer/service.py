"""Client of the Vertex AI API for deployments: models, endpoints, indexes and index endpoints, over REST."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.api_core import exceptions
from google.api_core.operations_v1.transports.rest import OperationsRestTransport
from google.cloud.aiplatform_v1 import types
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.index_endpoint_service import IndexEndpointServiceClient
from google.cloud.aiplatform_v1.services.index_service import IndexServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.longrunning import operations_pb2

from components.google_cloud.calls import PATIENCE, Advice, Calls, Patience, ServiceError, is_transient
from components.google_cloud.clients import default_credentials, make_client
from components.google_cloud.target import Target

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_SECONDS_BETWEEN_MESSAGES = 60.0
# Size of a page. Names are unique in practice, so the first page of a search by name is enough.
_PAGE = 100


class DeploymentService:
    """Finds, creates and changes the resources of a deployment."""

    def __init__(self, target: Target, patience: Patience = PATIENCE):
        """Creates the clients with Application Default Credentials.

        Raises:
            SetupError: There are none.
        """
        self._target = target
        self._patience = patience
        self._calls = Calls(target, patience, _advice(target))
        credentials = default_credentials()
        self._models = make_client(ModelServiceClient, target, credentials)
        self._endpoints = make_client(EndpointServiceClient, target, credentials)
        self._indexes = make_client(IndexServiceClient, target, credentials)
        self._index_endpoints = make_client(IndexEndpointServiceClient, target, credentials)
        # The clients' own operations use the path /ui/, which the API's reference does not document.
        self._operations = OperationsRestTransport(host=target.api, credentials=credentials)

    def model_versions(self, model: str) -> list[types.Model]:
        """Returns the versions of a model; empty if the model does not exist.

        Args:
            model: Resource name.

        Raises:
            ServiceError: The service refused.
        """
        versions: list[types.Model] = []
        request = types.ListModelVersionsRequest(name=model, page_size=_PAGE)
        failures: list[Exception] = []
        while True:
            with self._calls.translated(failures):
                try:
                    page = self._calls.attempts(self._versions_page, request, is_transient, failures)
                except exceptions.NotFound:
                    return []
            versions += page.models
            if not page.next_page_token:
                return versions
            request.page_token = page.next_page_token

    def upload_model(self, request: types.UploadModelRequest) -> str:
        """Registers a version; returns its resource name with the version, as in `.../models/m@3`.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        done = self._done(self._models.upload_model, request, types.UploadModelResponse, "model")
        return f"{done.model.partition('@')[0]}@{done.model_version_id}"

    def find_endpoint(self, display_name: str) -> types.Endpoint | None:
        """Returns the endpoint with this display name, or None.

        Raises:
            ServiceError: Several have this name, or the service refused the request.
        """
        page = self._first_page(self._endpoints.list_endpoints, types.ListEndpointsRequest, display_name)
        return _only(page.endpoints, "endpoints", display_name)

    def create_endpoint(self, request: types.CreateEndpointRequest) -> types.Endpoint:
        """Creates an endpoint.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        return self._done(self._endpoints.create_endpoint, request, types.Endpoint, "endpoint")

    def deploy_model(self, request: types.DeployModelRequest) -> None:
        """Deploys a version and waits until it serves.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        self._done(self._endpoints.deploy_model, request, types.DeployModelResponse, "model on the endpoint")

    def get_endpoint(self, name: str) -> types.Endpoint:
        """Returns the current state of an endpoint.

        Raises:
            ServiceError: The service refused.
        """
        return self._calls.repeat(self._endpoints.get_endpoint, types.GetEndpointRequest(name=name))

    def undeploy_model(self, request: types.UndeployModelRequest) -> None:
        """Undeploys a version.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        answer = types.UndeployModelResponse
        self._done(self._endpoints.undeploy_model, request, answer, "removal of an earlier version")

    def find_index(self, display_name: str) -> types.Index | None:
        """Returns the index with this display name, or None.

        Raises:
            ServiceError: Several have this name, or the service refused the request.
        """
        page = self._first_page(self._indexes.list_indexes, types.ListIndexesRequest, display_name)
        return _only(page.indexes, "indexes", display_name)

    def create_index(self, request: types.CreateIndexRequest) -> str:
        """Creates an index and waits until its vectors are imported; returns its resource name.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        return self._done(self._indexes.create_index, request, types.Index, "index").name

    def update_index(self, request: types.UpdateIndexRequest) -> str:
        """Replaces the vectors of an index and waits until they are imported; returns its resource name.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        return self._done(self._indexes.update_index, request, types.Index, "update of the index").name

    def find_index_endpoint(self, display_name: str) -> types.IndexEndpoint | None:
        """Returns the index endpoint with this display name, or None.

        Raises:
            ServiceError: Several have this name, or the service refused the request.
        """
        method = self._index_endpoints.list_index_endpoints
        page = self._first_page(method, types.ListIndexEndpointsRequest, display_name)
        return _only(page.index_endpoints, "index endpoints", display_name)

    def create_index_endpoint(self, request: types.CreateIndexEndpointRequest) -> types.IndexEndpoint:
        """Creates an index endpoint.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        return self._done(self._index_endpoints.create_index_endpoint, request, types.IndexEndpoint, "index endpoint")

    def deploy_index(self, request: types.DeployIndexRequest) -> None:
        """Deploys an index and waits until it serves.

        Raises:
            ServiceError: The request was refused, or the operation failed.
        """
        put = self._index_endpoints.deploy_index
        self._done(put, request, types.DeployIndexResponse, "index on the index endpoint")

    def _first_page(self, method: Callable[..., Any], request: Callable[..., Any], display_name: str) -> Any:
        """Lists the resources of a display name.

        Args:
            method: Lists resources of one kind.
            request: Type of the method's request.
            display_name: Name to filter by.

        Returns:
            The first page of the answer.

        Raises:
            ServiceError: The service refused.
        """
        named = request(parent=self._target.location, filter=f'display_name="{display_name}"', page_size=_PAGE)
        return next(iter(self._calls.repeat(method, named).pages))

    def _versions_page(
        self, request: types.ListModelVersionsRequest, **options: Any
    ) -> types.ListModelVersionsResponse:
        pager = self._models.list_model_versions(request, **options)
        return next(iter(pager.pages))

    def _done(self, method: Callable[..., Any], request: Any, answer: type[Result], what: str) -> Result:
        """Starts a long-running operation and waits for its end.

        Args:
            method: Method that starts the operation.
            request: Argument of the method.
            answer: Type of the operation's result.
            what: Name of the created resource, for messages.

        Raises:
            ServiceError: The request was refused, the operation failed, or it takes longer than `patience.operation`.
        """
        operation = self._calls.create(method, request).operation
        started, said = time.monotonic(), 0.0
        _log.info("%s: under way", what)
        while not operation.done:
            elapsed = time.monotonic() - started
            if elapsed > self._patience.operation:
                raise ServiceError(
                    f"{what}: not done after {elapsed / 60:.0f} minutes. The operation {operation.name} continues. "
                    "When it is done, run the same command again; it does the remaining steps"
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


def _only(listed: Iterable[Result], kind: str, display_name: str) -> Result | None:
    """Returns the only resource with a display name, or None.

    Raises:
        ServiceError: There are several.
    """
    # The service's filter may find other names too.
    found = [each for each in listed if each.display_name == display_name]
    if len(found) > 1:
        raise ServiceError(
            f"{len(found)} {kind} have the display name {display_name!r}: {', '.join(each.name for each in found)}. "
            "Set another name in vertex.deploy, or delete those that are not needed"
        )
    return found[0] if found else None


def _advice(target: Target) -> Advice:
    return Advice(
        forbidden=(
            "The account that deploys (in a run, its service account) needs the role roles/aiplatform.user in this "
            f"project, and roles/iam.serviceAccountUser on {target.account}, which deployed models use; Vertex AI's "
            "service agent must be able to read the bucket"
        ),
        not_found="Check vertex.project, vertex.region and the names in vertex.deploy",
        bad_request=(
            "Check machine types, replicas, image and index in the section vertex.deploy; the version's files must be "
            "in a bucket of the same region. `recspan pipeline deploy --dry-run` shows the requests"
        ),
        unanswered=(
            "and run the same command again: it finds the resources that were created and does the remaining steps. "
            f"Operations that are under way must end first: {target.console_url('vertex-ai/models')}"
        ),
    )
