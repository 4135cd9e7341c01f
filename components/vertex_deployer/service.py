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
        page = self._first_page(self._endpoints.list_endpoints, types.ListEndpointsRequest, display_name)
        return _only(page.endpoints, "endpoints", display_name)

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
        page = self._first_page(self._indexes.list_indexes, types.ListIndexesRequest, display_name)
        return _only(page.indexes, "indexes", display_name)

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
        method = self._index_endpoints.list_index_endpoints
        page = self._first_page(method, types.ListIndexEndpointsRequest, display_name)
        return _only(page.index_endpoints, "index endpoints", display_name)

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


def _only(listed: Iterable[Result], kind: str, display_name: str) -> Result | None:
    """Returns the only resource with a display name, or None.

    Raises:
        ServiceError: There are several.
    """
    # The service's filter may find other names too.
    found = [each for each in listed if each.display_name == display_name]
    if len(found) > 1:
        raise ServiceError(
            f"there are {len(found)} {kind} called {display_name!r}, and which one is meant is not known: "
            f"{', '.join(each.name for each in found)}. Give another name, or delete what is not needed"
        )
    return found[0] if found else None


def _advice(target: Target) -> Advice:
    return Advice(
        forbidden=(
            "Who deploys (in a pipeline: the service account of the run) needs the role roles/aiplatform.user there, "
            f"and roles/iam.serviceAccountUser on {target.account}, under which deployed models run; Vertex AI's "
            "service agent must be able to read the bucket"
        ),
        not_found="Check vertex.project, vertex.region and the names in vertex.deploy",
        bad_request=(
            "What it names stands in the section vertex.deploy: machine types, replicas, image, index; and the "
            "version's files must be in a bucket of the region. `recspan pipeline deploy --dry-run` shows the requests"
        ),
        unanswered=(
            "and give the same command again: it finds what was made after all and does what is left. What is under "
            f"way must end first: {target.console_url('vertex-ai/models')}"
        ),
    )
