"""Configuration of a deployment on Vertex AI. No Google library here: `recspan --help` reads this module too."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from components.google_cloud.names import Image
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


class PrebuiltServing(Frozen):
    """Google's container for SavedModels.

    Attributes:
        image: Image, as in `us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-14:latest`; empty means tf2-cpu.2-15 of
            the region's continent. Google moves these tags.
    """

    type: Literal["prebuilt"] = "prebuilt"
    image: str = Field(default="", pattern=r"^$|^[a-z]+-docker\.pkg\.dev/vertex-ai/[\w./-]+:[\w.-]+$")

    def image_in(self, region: str) -> str:
        """Returns the image, by default from the registry of the region's continent."""
        continent = region.partition("-")[0]
        return self.image or _PREBUILT_IMAGE.format(continent=continent if continent in ("europe", "asia") else "us")


class TensorFlowServing(Frozen):
    """TensorFlow Serving in a container of the user's.

    Attributes:
        image: Image with `sh` and `tensorflow_model_server`, such as `tensorflow/serving`.
        port: Port of the REST API.
        predict_route: Path of predictions; empty means TensorFlow Serving's own path for the model.
        health_route: Path that answers when the model is loaded; empty means TensorFlow Serving's own path.
    """

    type: Literal["tensorflow_serving"] = "tensorflow_serving"
    image: Image
    port: int = Field(default=8501, ge=1, le=65535)
    predict_route: Route = ""
    health_route: Route = ""


def _by_name(value: Any) -> Any:
    """Accepts `serving: prebuilt` as short for a section with only a type."""
    return {"type": value} if isinstance(value, str) else value


Serving = Annotated[
    Annotated[PrebuiltServing | TensorFlowServing, Field(discriminator="type")], BeforeValidator(_by_name)
]


class Replicas(Frozen):
    """Machines that serve.

    Attributes:
        machine: Machine type.
        min_replicas: Number of machines that always run and are always paid for.
        max_replicas: Largest number of machines under load; None means `min_replicas`.
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
    """Endpoint for online predictions.

    Attributes:
        name: Display name; an existing endpoint of that name is reused. Empty means the pipeline's name.
        traffic: Percentage of the requests for the new version; the earlier versions share the rest in their present
            proportions. The first version gets all requests.
        undeploy: Whether earlier versions of the model without traffic are undeployed; their machines cost money until
            then.
    """

    name: DisplayName = ""
    traffic: int = Field(default=100, ge=0, le=100)
    undeploy: bool = True


class IndexEndpointConfig(Replicas):
    """Endpoint for vector search: on the internet, or in `vertex.network` if that is set.

    Attributes:
        name: Display name; an existing index endpoint of that name is reused. Empty means the pipeline's name.
    """

    name: DisplayName = ""


class VectorSearchConfig(Frozen):
    """The index of Vertex AI Vector Search into which a two-tower model's items are imported.

    See https://cloud.google.com/vertex-ai/docs/vector-search/configuring-indexes. Distance and dimension are fixed:
    the dot product, as in training, and the dimension that the retrieval index reports.

    Attributes:
        name: Display name; an existing index of that name is updated. Empty means the pipeline's name.
        dimensions: Dimension of the vectors; needed only for a version whose summary does not state it, and for a dry
            run of a version in a bucket.
        algorithm: `tree_ah` is approximate; `brute_force` compares with all vectors.
        approximate_neighbors: Number of candidates that `tree_ah` finds before it sorts them exactly.
        leaf_node_embeddings: Number of vectors in a leaf of `tree_ah`.
        leaf_nodes_to_search_percent: Percentage of the leaves that a query of `tree_ah` visits.
        shard_size: Size of the parts of the index, each on its own machines: small 2, medium 20, large 50 GiB.
        endpoint: Endpoint for the index; None imports the vectors without deploying them.
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
        tree_options = ("approximate_neighbors", "leaf_node_embeddings", "leaf_nodes_to_search_percent")
        changed = [name for name in tree_options if getattr(self, name) != type(self).model_fields[name].default]
        if self.algorithm == "brute_force" and changed:
            raise ValueError(f"{', '.join(changed)}: only algorithm: tree_ah has that; leave it out")
        return self


class DeployConfig(Frozen):
    """The section `vertex.deploy`.

    Attributes:
        model: Id in the Model Registry, shared by all versions; empty means the pipeline's name.
        aliases: Aliases that move to the newest version; Vertex AI uses `default` where no version is named.
        serving: Container that serves the model.
        endpoint: Endpoint for the model; None only registers the model.
        vector_search: Index for the items of a two-tower model; None imports no vectors.
    """

    model: ModelId = ""
    aliases: tuple[Alias, ...] = ("default",)
    serving: Serving = PrebuiltServing()
    endpoint: EndpointConfig | None = None
    vector_search: VectorSearchConfig | None = None
