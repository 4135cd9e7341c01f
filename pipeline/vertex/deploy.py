"""Deploys a pushed version from the command line. A run on Vertex AI uses the component VertexDeployer instead."""

from pathlib import Path

from components.pusher.publish import latest_version
from components.vertex_deployer.config import SECTION, DeployConfig
from components.vertex_deployer.deploy import Deployment, deploy, planned_json
from components.vertex_deployer.requests import DeploymentRequests
from components.vertex_deployer.service import DeploymentService
from components.vertex_deployer.version import CLOUD_STORAGE, PushedVersion, described_version
from pipeline.ask.versions import read_summary
from pipeline.config import PipelineConfig, vertex_section
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.pushed import PushedVersions
from trainer_module.errors import ConfigError, ModelError


def deploy_version(config: PipelineConfig, model: str | None, serving: Path) -> Deployment:
    """Deploys a version according to the section `vertex.deploy`.

    Args:
        config: The experiment.
        model: URI of a version; None means the latest version in the bucket.
        serving: Directory of the versions that local runs pushed, for a message.

    Raises:
        ConfigError: The experiment has no such section, or the version is on this machine.
        ModelError: The version does not exist, or it was not good enough to be pushed.
        ServiceError: The service refused a request.
    """
    vertex, chosen = vertex_section(config), _section(config)
    name, base = config.pipeline_name, vertex.under_bucket("serving", config.pipeline_name)
    if model and not model.startswith(CLOUD_STORAGE):
        DeploymentRequests(vertex.target, chosen, PushedVersion(model.rstrip("/"), name)).check_place()
    pushed = PushedVersions(vertex)
    uri = model or pushed.latest(base)
    if uri is None:
        local = latest_version(serving)
        hint = f", or copy the latest local version: `gcloud storage cp --recursive {local} {base}/`" if local else ""
        raise ModelError(f"{base} has no pushed version. `recspan pipeline submit` starts a run that pushes one{hint}")
    version = described_version(uri, name, pushed.summary(uri))
    return deploy(DeploymentRequests(vertex.target, chosen, version), DeploymentService(vertex.target))


def plan_version(config: PipelineConfig, model: str | None, serving: Path) -> str:
    """Returns the requests of `deploy_version` as JSON. This calls no service and needs no credentials.

    Args:
        config: The experiment.
        model: URI or directory of a version; None means the latest local version. A local version stands for the one
            of the same number in the bucket.
        serving: Directory of the versions that local runs pushed.

    Raises:
        ConfigError: The configuration does not fit the version.
        ModelError: No local version exists, or it was not good enough to be pushed.
    """
    vertex, chosen = vertex_section(config), _section(config)
    version = _version_without_service(config, vertex, model, serving)
    return planned_json(DeploymentRequests(vertex.target, chosen, version))


def _version_without_service(
    config: PipelineConfig, vertex: VertexConfig, model: str | None, serving: Path
) -> PushedVersion:
    name = config.pipeline_name
    if model and model.startswith(CLOUD_STORAGE):
        return PushedVersion(model.rstrip("/"), name)
    directory = Path(model) if model else latest_version(serving)
    if directory is None:
        raise ModelError(
            f"{serving} has no pushed version, and --dry-run does not search the bucket. Name a version, as in "
            f"--model {vertex.under_bucket('serving', name)}/1"
        )
    summary = read_summary(directory, needed=("blessing",))
    uri = f"{vertex.under_bucket('serving', name)}/{directory.name}"
    return described_version(uri, name, summary)


def _section(config: PipelineConfig) -> DeployConfig:
    """Returns the section `vertex.deploy`.

    Raises:
        ConfigError: The experiment has no such section.
    """
    chosen = vertex_section(config).deploy
    if chosen is None:
        raise ConfigError(
            f"{SECTION}: the experiment has no such section. An empty section registers the model. To add an endpoint: "
            f"--set '{SECTION}={{endpoint: {{machine: n1-standard-4}}}}' (docs/vertex_guide.md)"
        )
    return chosen
