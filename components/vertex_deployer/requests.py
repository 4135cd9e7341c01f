"""Builds the requests that deploy a version on Vertex AI, without sending them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from components.google_cloud.target import Target
from components.vertex_deployer.config import (
    SECTION,
    DeployConfig,
    EndpointConfig,
    IndexEndpointConfig,
    Replicas,
    TensorFlowServing,
    VectorSearchConfig,
)
from components.vertex_deployer.version import CLOUD_STORAGE, PushedVersion
from trainer_module.errors import ConfigError

_MAX_MODEL_ID_LENGTH = 63
NEW = "0"
"""Key of the newly deployed model in a traffic split."""


@dataclass(frozen=True)
class DeploymentRequests:
    """Builds the requests that deploy one version.

    Attributes:
        target: Project and region.
        config: The section `vertex.deploy`.
        version: The version to deploy.
    """

    target: Target
    config: DeployConfig
    version: PushedVersion

    @property
    def model_id(self) -> str:
        """Id of the model in the Model Registry.

        Raises:
            ConfigError: The configuration names no id, and the pipeline's name is too long for one.
        """
        if not self.config.model and len(self.version.pipeline) > _MAX_MODEL_ID_LENGTH:
            raise ConfigError(
                f"{SECTION}.model: the pipeline's name has {len(self.version.pipeline)} characters, but a model's id "
                f"has at most {_MAX_MODEL_ID_LENGTH}; set an id, as in --set {SECTION}.model="
                f"{self.version.pipeline[:_MAX_MODEL_ID_LENGTH]}"
            )
        return self.config.model or self.version.pipeline

    @property
    def model(self) -> str:
        """Resource name of the model without a version."""
        return f"{self.target.location}/models/{self.model_id}"

    def display_name(self, chosen: str) -> str:
        """Returns the configured name, by default the pipeline's."""
        return chosen or self.version.pipeline

    def container(self) -> types.ModelContainerSpec:
        """Returns the container that serves the version."""
        serving = self.config.serving
        if not isinstance(serving, TensorFlowServing):
            return types.ModelContainerSpec(image_uri=serving.image_in(self.target.region))
        base, _, number = self.version.uri.rpartition("/")
        # TensorFlow Serving needs a directory of numbered versions, such as the parent of the pushed version. Vertex AI
        # copies a single version, so the server reads the parent directory from the bucket.
        models = (
            f'model_config_list {{ config {{ name: "{self.model_id}" base_path: "{base}" model_platform: "tensorflow" '
            f"model_version_policy {{ specific {{ versions: {number} }} }} }} }}"
        )
        start = (
            f"echo '{models}' > /tmp/models.config && exec tensorflow_model_server --rest_api_port={serving.port} "
            "--model_config_file=/tmp/models.config"
        )
        return types.ModelContainerSpec(
            image_uri=serving.image,
            command=["sh", "-c"],
            args=[start],
            ports=[types.Port(container_port=serving.port)],
            predict_route=serving.predict_route or f"/v1/models/{self.model_id}:predict",
            health_route=serving.health_route or f"/v1/models/{self.model_id}",
        )

    def upload_model(self, first: bool) -> types.UploadModelRequest:
        """Returns the request that registers the version.

        Args:
            first: Whether this is the model's first version. That request creates the model.
        """
        model = types.Model(
            display_name=self.model_id,
            version_aliases=self.config.aliases,
            version_description=f"{self.version.pipeline}, version {self.version.number}",
            artifact_uri=self.version.uri,
            container_spec=self.container(),
            labels=self.target.labels,
        )
        request = types.UploadModelRequest(parent=self.target.location, model=model)
        if first:
            request.model_id = self.model_id
        else:
            request.parent_model = self.model
        return request

    def create_endpoint(self, endpoint: EndpointConfig) -> types.CreateEndpointRequest:
        """Returns the request that creates the endpoint."""
        resource = types.Endpoint(display_name=self.display_name(endpoint.name), labels=self.target.labels)
        return types.CreateEndpointRequest(parent=self.target.location, endpoint=resource)

    def deploy_model(
        self, endpoint: EndpointConfig, name: str, model_version: str, traffic: Mapping[str, int]
    ) -> types.DeployModelRequest:
        """Returns the request that deploys the version to an endpoint.

        Args:
            endpoint: Machines and share of the traffic.
            name: Resource name of the endpoint.
            model_version: Resource name of the version, as in `projects/p/locations/r/models/m@3`.
            traffic: Current traffic split of the endpoint: percentage by deployed model.
        """
        deployed = types.DeployedModel(
            model=model_version,
            display_name=f"{self.model_id}-{self.version.number}",
            dedicated_resources=_machines(endpoint),
        )
        if self.target.service_account:
            deployed.service_account = self.target.service_account
        return types.DeployModelRequest(
            endpoint=name, deployed_model=deployed, traffic_split=traffic_split(traffic, endpoint.traffic)
        )

    def create_index(self, search: VectorSearchConfig) -> types.CreateIndexRequest:
        """Returns the request that creates the index and imports the version's vectors.

        Raises:
            ConfigError: See `dimensions`.
        """
        config: dict[str, Any] = {
            "dimensions": self.dimensions(search),
            "distanceMeasureType": "DOT_PRODUCT_DISTANCE",
            "shardSize": f"SHARD_SIZE_{search.shard_size.upper()}",
        }
        if search.algorithm == "tree_ah":
            config["approximateNeighborsCount"] = search.approximate_neighbors
            tree = {
                "leafNodeEmbeddingCount": search.leaf_node_embeddings,
                "leafNodesToSearchPercent": search.leaf_nodes_to_search_percent,
            }
            config["algorithmConfig"] = {"treeAhConfig": tree}
        else:
            config["algorithmConfig"] = {"bruteForceConfig": {}}
        index = types.Index(
            display_name=self.display_name(search.name),
            metadata={"contentsDeltaUri": self.version.vectors, "config": config},
            index_update_method=types.Index.IndexUpdateMethod.BATCH_UPDATE,
            labels=self.target.labels,
        )
        return types.CreateIndexRequest(parent=self.target.location, index=index)

    def update_index(self, name: str) -> types.UpdateIndexRequest:
        """Returns the request that replaces all vectors of an index. The service allows no other change with it."""
        contents = {"contentsDeltaUri": self.version.vectors, "isCompleteOverwrite": True}
        index = types.Index(name=name, metadata=contents)
        return types.UpdateIndexRequest(index=index, update_mask={"paths": ["metadata"]})

    def create_index_endpoint(self, endpoint: IndexEndpointConfig) -> types.CreateIndexEndpointRequest:
        """Returns the request that creates the index endpoint, in the target's network or, without one, public."""
        resource = types.IndexEndpoint(display_name=self.display_name(endpoint.name), labels=self.target.labels)
        if self.target.network:
            resource.network = self.target.network
        else:
            resource.public_endpoint_enabled = True
        return types.CreateIndexEndpointRequest(parent=self.target.location, index_endpoint=resource)

    def deploy_index(self, endpoint: IndexEndpointConfig, name: str, index: str) -> types.DeployIndexRequest:
        """Returns the request that deploys an index to an index endpoint. Later updates of the index take effect there.

        Args:
            endpoint: Machines.
            name: Resource name of the index endpoint.
            index: Resource name of the index.
        """
        # The id must be unique in the project. The index's own id makes it so.
        id_ = re.sub(r"\W", "_", f"{self.version.pipeline[:100]}_{index.rpartition('/')[2]}")
        deployed = types.DeployedIndex(
            id=id_,
            index=index,
            display_name=self.version.pipeline,
            dedicated_resources=_machines(endpoint),
        )
        return types.DeployIndexRequest(index_endpoint=name, deployed_index=deployed)

    def dimensions(self, search: VectorSearchConfig) -> int:
        """Returns the dimension of the vectors.

        Raises:
            ConfigError: Neither the version nor the configuration states it, or they state different ones.
        """
        reported, key = self.version.dim, f"{SECTION}.vector_search.dimensions"
        if reported and search.dimensions and reported != search.dimensions:
            raise ConfigError(
                f"{key}: {search.dimensions}, but the vectors of {self.version.uri} have {reported} dimensions; omit "
                "this key"
            )
        if not (reported or search.dimensions):
            raise ConfigError(
                f"{key}: the dimension of the vectors is unknown, because the summary of {self.version.uri} describes "
                "no index or was not read. Set this key, or push a two-tower model again"
            )
        return reported or search.dimensions or 0

    def check(self) -> None:
        """Checks the configuration before the first request is sent.

        Raises:
            ConfigError: See `model_id` and `dimensions`.
        """
        self.upload_model(first=True)
        if self.config.vector_search:
            self.dimensions(self.config.vector_search)

    def check_place(self) -> None:
        """Checks that Vertex AI can read the version.

        Raises:
            ConfigError: The version is not in Cloud Storage.
        """
        if not self.version.uri.startswith(CLOUD_STORAGE):
            raise ConfigError(
                f"{self.version.uri} is on this machine, but Vertex AI reads only from Cloud Storage. Copy it with "
                f"`gcloud storage cp --recursive {self.version.uri} gs://BUCKET/FOLDER/`, then use --model "
                f"gs://BUCKET/FOLDER/{self.version.number}"
            )


def traffic_split(current: Mapping[str, int], share: int) -> dict[str, int]:
    """Splits the traffic between the new model and the deployed ones.

    Args:
        current: Current percentage by deployed model. Models without traffic get none.
        share: Percentage of the new model. It gets 100 if no deployed model has traffic.

    Returns:
        Percentages by deployed model that add up to 100; the key of the new model is `NEW`.
    """
    served = {id_: percent for id_, percent in current.items() if percent}
    if not served:
        return {NEW: 100}
    rest, total = 100 - share, sum(served.values())
    split = {id_: percent * rest // total for id_, percent in served.items()}
    # The remainder of the rounding goes to the models that lost most.
    by_loss = sorted(served, key=lambda id_: (-(served[id_] * rest % total), id_))
    for id_ in by_loss[: rest - sum(split.values())]:
        split[id_] += 1
    return {NEW: share} | split


def request_json(request: Any) -> str:
    """Returns a request as JSON of the REST API, with sorted keys."""
    return json.dumps(json_format.MessageToDict(type(request).pb(request)), indent=2, sort_keys=True)


def _machines(replicas: Replicas) -> types.DedicatedResources:
    return types.DedicatedResources(
        machine_spec=types.MachineSpec(machine_type=replicas.machine),
        min_replica_count=replicas.min_replicas,
        max_replica_count=replicas.most,
    )
