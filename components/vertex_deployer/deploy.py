"""Deploys a version: finds existing resources and creates the missing ones.

A second deployment of the same version only imports the vectors again.
"""

import dataclasses
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from google.cloud.aiplatform_v1 import types

from components.vertex_deployer.config import SECTION, EndpointConfig, IndexEndpointConfig, VectorSearchConfig
from components.vertex_deployer.requests import DeploymentRequests, request_json
from components.vertex_deployer.service import DeploymentService
from trainer_module.errors import ConfigError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deployment:
    """Resource names of a deployed version; empty where the configuration asks for none.

    Attributes:
        model: Model with its version, as in `projects/p/locations/r/models/m@3`.
        endpoint: Endpoint that serves the model.
        index: Index with the version's vectors.
        index_endpoint: Endpoint that serves the index.
    """

    model: str
    endpoint: str = ""
    index: str = ""
    index_endpoint: str = ""

    def as_json(self) -> dict[str, str]:
        """Returns the resource names that are not empty."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}


@dataclass(frozen=True)
class PlannedRequest:
    """A request that a deployment may send.

    Attributes:
        method: Method of the API.
        when: Condition under which the request is sent; empty means always.
        request: The request. Names in capitals replace values that the service will return.
    """

    method: str
    when: str
    request: object


def deploy(requests: DeploymentRequests, service: DeploymentService) -> Deployment:
    """Registers the version, imports its vectors and deploys both to their endpoints, as configured.

    The index is deployed before the model, so the two endpoints serve different versions only while the model is being
    deployed.

    Raises:
        ConfigError: The configuration does not fit the version; nothing was changed.
        ServiceError: A request was refused or failed; the changes before it remain.
    """
    requests.check_place()
    requests.check()
    config = requests.config
    model = _registered(requests, service)
    index = index_endpoint = endpoint = ""
    if config.vector_search:
        index = _imported(requests, service, config.vector_search)
        if config.vector_search.endpoint:
            index_endpoint = _searchable(requests, service, config.vector_search.endpoint, index)
    if config.endpoint:
        endpoint = _online(requests, service, config.endpoint, model)
    return Deployment(model, endpoint, index, index_endpoint)


def planned_requests(requests: DeploymentRequests) -> Iterator[PlannedRequest]:
    """Yields all requests that `deploy` may send, in order, without calling a service.

    Raises:
        ConfigError: The configuration does not fit the version.
    """
    requests.check()
    config, place = requests.config, requests.target.location
    model = requests.model_id
    yield PlannedRequest("ModelService.UploadModel", f"there is no model {model}", requests.upload_model(first=True))
    added = requests.upload_model(first=False)
    yield PlannedRequest("ModelService.UploadModel", f"there is a model {model}, without this version", added)
    if search := config.vector_search:
        name = requests.display_name(search.name)
        yield PlannedRequest("IndexService.CreateIndex", f"there is no index {name}", requests.create_index(search))
        index = f"{place}/indexes/INDEX"
        yield PlannedRequest("IndexService.UpdateIndex", f"there is an index {name}", requests.update_index(index))
        if search.endpoint:
            name = requests.display_name(search.endpoint.name)
            create = requests.create_index_endpoint(search.endpoint)
            missing = f"there is no index endpoint {name}"
            yield PlannedRequest("IndexEndpointService.CreateIndexEndpoint", missing, create)
            put = requests.deploy_index(search.endpoint, f"{place}/indexEndpoints/INDEX_ENDPOINT", index)
            yield PlannedRequest("IndexEndpointService.DeployIndex", "the index is not on it", put)
    if config.endpoint:
        name = requests.display_name(config.endpoint.name)
        create = requests.create_endpoint(config.endpoint)
        yield PlannedRequest("EndpointService.CreateEndpoint", f"there is no endpoint {name}", create)
        put = requests.deploy_model(config.endpoint, f"{place}/endpoints/ENDPOINT", f"{requests.model}@VERSION", {})
        when = "the version is not on it; versions that are there share traffic_split with it"
        yield PlannedRequest("EndpointService.DeployModel", when, put)


def planned_json(requests: DeploymentRequests) -> str:
    """Returns `planned_requests` as JSON.

    Raises:
        ConfigError: The configuration does not fit the version.
    """
    planned = [
        {"method": each.method, "request": json.loads(request_json(each.request))}
        | ({"when": each.when} if each.when else {})
        for each in planned_requests(requests)
    ]
    return json.dumps(planned, indent=2, sort_keys=True)


def _registered(requests: DeploymentRequests, service: DeploymentService) -> str:
    """Registers the version unless it is registered; returns its name in the Model Registry."""
    versions = service.model_versions(requests.model)
    container = requests.container()
    for version in versions:
        same = (version.container_spec.image_uri, list(version.container_spec.args), version.artifact_uri)
        if same == (container.image_uri, list(container.args), requests.version.uri):
            name = f"{version.name.partition('@')[0]}@{version.version_id}"
            _log.info("model: %s is registered already", name)
            return name
    return service.upload_model(requests.upload_model(first=not versions))


def _imported(requests: DeploymentRequests, service: DeploymentService, search: VectorSearchConfig) -> str:
    """Imports the version's vectors into the index; returns the index's name."""
    index = service.find_index(requests.display_name(search.name))
    if index is None:
        return service.create_index(requests.create_index(search))
    metadata = types.Index.to_dict(index).get("metadata") or {}
    existing, wanted = int(metadata["config"]["dimensions"]), requests.dimensions(search)
    if existing != wanted:
        raise ConfigError(
            f"{SECTION}.vector_search.name: the index {index.display_name} ({index.name}) has {existing} dimensions, "
            f"but the vectors of {requests.version.uri} have {wanted}. The dimensions of an index cannot change; set "
            "another name"
        )
    return service.update_index(requests.update_index(index.name))


def _searchable(
    requests: DeploymentRequests, service: DeploymentService, config: IndexEndpointConfig, index: str
) -> str:
    """Deploys the index to the index endpoint; returns the index endpoint's name."""
    name = requests.display_name(config.name)
    endpoint = service.find_index_endpoint(name) or service.create_index_endpoint(
        requests.create_index_endpoint(config)
    )
    if any(_id(deployed.index) == _id(index) for deployed in endpoint.deployed_indexes):
        _log.info("index on the index endpoint: deployed already; it serves the new vectors too")
    else:
        service.deploy_index(requests.deploy_index(config, endpoint.name, index))
    return endpoint.name


def _online(requests: DeploymentRequests, service: DeploymentService, config: EndpointConfig, model: str) -> str:
    """Deploys the version to the endpoint and undeploys earlier ones if configured; returns the endpoint's name."""
    found = service.find_endpoint(requests.display_name(config.name))
    endpoint = found or service.create_endpoint(requests.create_endpoint(config))
    if any(_is_version(deployed, model) for deployed in endpoint.deployed_models):
        _log.info("model on the endpoint: deployed already")
    else:
        service.deploy_model(requests.deploy_model(config, endpoint.name, model, endpoint.traffic_split))
        endpoint = service.get_endpoint(endpoint.name)
    if config.undeploy:
        for deployed in endpoint.deployed_models:
            earlier = _is_of_model(deployed, model) and not _is_version(deployed, model)
            if earlier and not endpoint.traffic_split.get(deployed.id):
                down = types.UndeployModelRequest(endpoint=endpoint.name, deployed_model_id=deployed.id)
                service.undeploy_model(down)
    return endpoint.name


def _is_version(deployed: types.DeployedModel, model: str) -> bool:
    """Returns whether a deployed model is this version. Only ids count, because the service replaces project ids."""
    return _is_of_model(deployed, model) and deployed.model_version_id == model.partition("@")[2]


def _is_of_model(deployed: types.DeployedModel, model: str) -> bool:
    return _id(deployed.model).partition("@")[0] == _id(model).partition("@")[0]


def _id(name: str) -> str:
    return name.rpartition("/")[2]
