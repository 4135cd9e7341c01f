"""What is sent to Vertex AI to deploy a version: pure, so that it can be looked at before it is sent."""

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

_LONGEST_MODEL_ID = 63
NEW = "0"
"""In a traffic split: the model that the request deploys."""


@dataclass(frozen=True)
class DeploymentRequests:
    """Makes the requests that deploy one version.

    Attributes:
        target: Where.
        config: What.
        version: Which.
    """

    target: Target
    config: DeployConfig
    version: PushedVersion

    @property
    def model_id(self) -> str:
        """In the Model Registry.

        Raises:
            ConfigError: The pipeline's name is too long for it.
        """
        if not self.config.model and len(self.version.pipeline) > _LONGEST_MODEL_ID:
            raise ConfigError(
                f"{SECTION}.model: the pipeline's name has {len(self.version.pipeline)} characters, and a model's id "
                f"takes {_LONGEST_MODEL_ID}; choose one, as in --set {SECTION}.model="
                f"{self.version.pipeline[:_LONGEST_MODEL_ID]}"
            )
        return self.config.model or self.version.pipeline

    @property
    def model(self) -> str:
        """Resource name of the model, of all its versions."""
        return f"{self.target.location}/models/{self.model_id}"

    def display_name(self, chosen: str) -> str:
        """The name that was chosen, or the pipeline's."""
        return chosen or self.version.pipeline

    def container(self) -> types.ModelContainerSpec:
        """The container that serves the version."""
        serving = self.config.serving
        if not isinstance(serving, TensorFlowServing):
            return types.ModelContainerSpec(image_uri=serving.image_in(self.target.region))
        base, _, number = self.version.uri.rpartition("/")
        # TensorFlow Serving wants a directory with numbered versions in it, which the pushed one's parent is; the copy
        # that Vertex AI makes of a single version is none.
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
        """Registers the version.

        Args:
            first: Whether it is the model's first, and so makes the model.
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
        """Makes the endpoint, with nothing deployed."""
        resource = types.Endpoint(display_name=self.display_name(endpoint.name), labels=self.target.labels)
        return types.CreateEndpointRequest(parent=self.target.location, endpoint=resource)

    def deploy_model(
        self, endpoint: EndpointConfig, name: str, model_version: str, traffic: Mapping[str, int]
    ) -> types.DeployModelRequest:
        """Puts the version on an endpoint.

        Args:
            endpoint: On what machines, for which share of the requests.
            name: Of the endpoint.
            model_version: As in `projects/p/locations/r/models/m@3`.
            traffic: Of the endpoint as it is: percentages by deployed model.
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
        """Makes the index and imports the version's vectors.

        Raises:
            ConfigError: Nothing says which dimension they have, or two say different ones.
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
        """Replaces all vectors of an index by the version's; nothing else may change in the same request."""
        contents = {"contentsDeltaUri": self.version.vectors, "isCompleteOverwrite": True}
        index = types.Index(name=name, metadata=contents)
        return types.UpdateIndexRequest(index=index, update_mask={"paths": ["metadata"]})

    def create_index_endpoint(self, endpoint: IndexEndpointConfig) -> types.CreateIndexEndpointRequest:
        """Makes the index endpoint, in the network if there is one, else on the internet."""
        resource = types.IndexEndpoint(display_name=self.display_name(endpoint.name), labels=self.target.labels)
        if self.target.network:
            resource.network = self.target.network
        else:
            resource.public_endpoint_enabled = True
        return types.CreateIndexEndpointRequest(parent=self.target.location, index_endpoint=resource)

    def deploy_index(self, endpoint: IndexEndpointConfig, name: str, index: str) -> types.DeployIndexRequest:
        """Puts an index on an index endpoint, which then follows its updates.

        Args:
            endpoint: On what machines.
            name: Of the index endpoint.
            index: Of the index.
        """
        # The id must be free in the whole project, and the index's own is.
        id_ = re.sub(r"\W", "_", f"{self.version.pipeline[:100]}_{index.rpartition('/')[2]}")
        deployed = types.DeployedIndex(
            id=id_,
            index=index,
            display_name=self.version.pipeline,
            dedicated_resources=_machines(endpoint),
        )
        return types.DeployIndexRequest(index_endpoint=name, deployed_index=deployed)

    def dimensions(self, search: VectorSearchConfig) -> int:
        """Of the vectors.

        Raises:
            ConfigError: Nothing says it, or two say different ones.
        """
        said, key = self.version.dim, f"{SECTION}.vector_search.dimensions"
        if said and search.dimensions and said != search.dimensions:
            raise ConfigError(
                f"{key}: {search.dimensions}, but the vectors of {self.version.uri} have {said}; leave it out"
            )
        if not (said or search.dimensions):
            raise ConfigError(
                f"{key}: the summary of {self.version.uri} says nothing of an index, or was not read. Push a two-tower "
                "model anew, or say the dimension here"
            )
        return said or search.dimensions or 0

    def check(self) -> None:
        """Refuses what would be found out only after other things were done.

        Raises:
            ConfigError: As `model_id` and `dimensions` say.
        """
        self.upload_model(first=True)
        if self.config.vector_search:
            self.dimensions(self.config.vector_search)

    def check_place(self) -> None:
        """Refuses a version that Vertex AI cannot read.

        Raises:
            ConfigError: It lies on this machine.
        """
        if not self.version.uri.startswith(CLOUD_STORAGE):
            raise ConfigError(
                f"{self.version.uri} lies on this machine, and Vertex AI reads from Cloud Storage only. Copy it, as in "
                f"`gcloud storage cp --recursive {self.version.uri} gs://BUCKET/FOLDER/`, and name the copy: --model "
                f"gs://BUCKET/FOLDER/{self.version.number}"
            )


def traffic_split(current: Mapping[str, int], share: int) -> dict[str, int]:
    """Percentages by deployed model that add up to 100, with the new one's under `NEW`.

    Args:
        current: Percentages as they are; who has none gets none.
        share: Of the new one; it gets all where nobody has any.
    """
    served = {id_: percent for id_, percent in current.items() if percent}
    if not served:
        return {NEW: 100}
    rest, total = 100 - share, sum(served.values())
    split = {id_: percent * rest // total for id_, percent in served.items()}
    # What rounding has left goes to those that lost most by it.
    lost = sorted(served, key=lambda id_: (-(served[id_] * rest % total), id_))
    for id_ in lost[: rest - sum(split.values())]:
        split[id_] += 1
    return {NEW: share} | split


def request_json(request: Any) -> str:
    """A request as the service's REST API takes it, to be read by a person; the same text for the same request."""
    return json.dumps(json_format.MessageToDict(type(request).pb(request)), indent=2, sort_keys=True)


def _machines(replicas: Replicas) -> types.DedicatedResources:
    return types.DedicatedResources(
        machine_spec=types.MachineSpec(machine_type=replicas.machine),
        min_replica_count=replicas.min_replicas,
        max_replica_count=replicas.most,
    )
