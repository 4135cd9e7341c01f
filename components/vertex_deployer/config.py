"""What becomes of a pushed version on Vertex AI, as data. No Google library here: `recspan --help` reads this too."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from components.google_cloud.names import Endpoint, Image, Labels, Network, Project, Region, ServiceAccount
from trainer_module.frozen import Frozen

SECTION = "vertex.deploy"

# Vertex AI's own images for SavedModels, by continent: `google.cloud.aiplatform.constants.prediction` of
# google-cloud-aiplatform 1.165 lists them, and
# https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers says until when each is maintained.
_PREBUILT_IMAGE = "{continent}-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"

# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/upload: `modelId`.
ModelId = Annotated[str, StringConstraints(pattern=r"^$|^[a-z_][a-z0-9_-]{0,62}$")]
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models: `versionAliases[]`.
Alias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]$")]
DisplayName = Annotated[str, StringConstraints(pattern=r"^[\w .:-]{0,128}$")]
MachineType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+-[a-z0-9-]+$")]
Route = Annotated[str, StringConstraints(pattern=r"^$|^/[\w./:-]+$")]


class Target(Frozen):
    """Where on Google Cloud everything is created.

    Attributes:
        project: Its id.
        region: Of everything that is started.
        service_account: Under which the pipeline, its custom jobs, Dataflow and deployed models run; by default Compute
            Engine's.
        network: Peered with the machines of the pipeline, the Trainer and a deployed vector index.
        labels: Of the run, its custom jobs, its Dataflow jobs and what is deployed.
        endpoint: Address of the Vertex AI API, where it is not the region's public one (Private Service Connect).
    """

    project: Project
    region: Region
    service_account: Literal[""] | ServiceAccount = ""
    network: Literal[""] | Network = ""
    labels: Labels = {}
    endpoint: Literal[""] | Endpoint = ""

    @property
    def api(self) -> str:
        """Address of the Vertex AI API."""
        return self.endpoint or f"{self.region}-aiplatform.googleapis.com"

    @property
    def location(self) -> str:
        """Resource name of what everything is created in."""
        return f"projects/{self.project}/locations/{self.region}"


class PrebuiltServing(Frozen):
    """Google's container for SavedModels.

    Attributes:
        image: Another than tf2-cpu.2-15 of the region's continent, as in
            `us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-14:latest`; these tags are Google's to move.
    """

    type: Literal["prebuilt"] = "prebuilt"
    image: str = Field(default="", pattern=r"^$|^[a-z]+-docker\.pkg\.dev/vertex-ai/[\w./-]+:[\w.-]+$")

    def image_in(self, region: str) -> str:
        """The image, from the registry nearest to a region."""
        continent = region.partition("-")[0]
        return self.image or _PREBUILT_IMAGE.format(continent=continent if continent in ("europe", "asia") else "us")


class TensorFlowServing(Frozen):
    """TensorFlow Serving in a container of one's own.

    Attributes:
        image: With `sh` and `tensorflow_model_server`, as `tensorflow/serving` has them.
        port: Of the REST API.
        predict_route: Path of predictions; TensorFlow Serving's own for the model if empty.
        health_route: Path that answers when the model is loaded; TensorFlow Serving's own if empty.
    """

    type: Literal["tensorflow_serving"] = "tensorflow_serving"
    image: Image
    port: int = Field(default=8501, ge=1, le=65535)
    predict_route: Route = ""
    health_route: Route = ""


def _by_name(value: Any) -> Any:
    """`serving: prebuilt` is short for a section that says no more."""
    return {"type": value} if isinstance(value, str) else value


Serving = Annotated[
    Annotated[PrebuiltServing | TensorFlowServing, Field(discriminator="type")], BeforeValidator(_by_name)
]


class Replicas(Frozen):
    """Machines that answer.

    Attributes:
        machine: Their type.
        min_replicas: Always there, and paid for.
        max_replicas: Under load; as many as `min_replicas` if not given.
    """

    machine: MachineType
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check_replicas(self):
        if self.most < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})")
        return self

    @property
    def most(self) -> int:
        return self.max_replicas or self.min_replicas


class EndpointConfig(Replicas):
    """Where the model answers online.

    Attributes:
        name: Shown for the endpoint; one of that name is used again. The pipeline's name if empty.
        traffic: Percentage of the requests that the new version gets; the versions that are there share the rest as
            they did. The first version gets all.
        undeploy: Whether earlier versions of the model that get no more requests are taken down; their machines cost
            as long as they are there.
    """

    name: DisplayName = ""
    traffic: int = Field(default=100, ge=0, le=100)
    undeploy: bool = True


class IndexEndpointConfig(Replicas):
    """Where the vectors can be searched: on the internet, or in `vertex.network` if that is given.

    Attributes:
        name: Shown for the index endpoint; one of that name is used again. The pipeline's name if empty.
    """

    name: DisplayName = ""


class VectorSearchConfig(Frozen):
    """The index of Vertex AI Vector Search into which a two-tower model's items are imported.

    See https://cloud.google.com/vertex-ai/docs/vector-search/configuring-indexes. Distance and dimension are no choice:
    the dot product, as in training, and what the index's own report says.

    Attributes:
        name: Shown for the index; one of that name is updated. The pipeline's name if empty.
        dimensions: Of the vectors, only for a version whose summary does not say it, and for a dry run of one that lies
            in a bucket.
        algorithm: `tree_ah` is approximate; `brute_force` compares with all vectors.
        approximate_neighbors: Candidates that `tree_ah` finds before it sorts them exactly.
        leaf_node_embeddings: Vectors in a leaf of `tree_ah`.
        leaf_nodes_to_search_percent: Share of leaves that a query of `tree_ah` visits.
        shard_size: Of the parts of the index, each on machines of its own: small 2, medium 20, large 50 GiB.
        endpoint: Deploys the index; None only imports it.
    """

    name: DisplayName = ""
    dimensions: int | None = Field(default=None, ge=1)
    algorithm: Literal["tree_ah", "brute_force"] = "tree_ah"
    approximate_neighbors: int = Field(default=150, ge=1)
    leaf_node_embeddings: int = Field(default=1000, ge=1)
    leaf_nodes_to_search_percent: int = Field(default=10, ge=1, le=100)
    shard_size: Literal["small", "medium", "large"] = "small"
    endpoint: IndexEndpointConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> "VectorSearchConfig":
        of_tree = ("approximate_neighbors", "leaf_node_embeddings", "leaf_nodes_to_search_percent")
        changed = [name for name in of_tree if getattr(self, name) != type(self).model_fields[name].default]
        if self.algorithm == "brute_force" and changed:
            raise ValueError(f"{', '.join(changed)}: only algorithm: tree_ah has that; leave it out")
        return self


class DeployConfig(Frozen):
    """What becomes of a pushed version.

    Attributes:
        model: Id in the Model Registry, under which versions stack up; the pipeline's name if empty.
        aliases: Of the newest version, taken away from the one that had them; `default` is what is meant where no
            version is named.
        serving: The container that serves it.
        endpoint: Deploys the model; None only registers it.
        vector_search: Imports the items of a two-tower model; None does not.
    """

    model: ModelId = ""
    aliases: tuple[Alias, ...] = ("default",)
    serving: Serving = PrebuiltServing()
    endpoint: EndpointConfig | None = None
    vector_search: VectorSearchConfig | None = None
