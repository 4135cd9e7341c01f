"""The component VertexDeployer: deploys the pushed version to Model Registry, Endpoint and Vector Search."""

# pyright: reportInvalidTypeArguments=false

import json
import logging
import os

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from components.google_cloud.target import Target
from components.pusher.layout import SUMMARY_FILE_NAME
from components.vertex_deployer.config import DeployConfig
from components.vertex_deployer.deploy import deploy as deploy_version
from components.vertex_deployer.deploy import planned_json
from components.vertex_deployer.requests import DeploymentRequests
from components.vertex_deployer.service import DeploymentService
from components.vertex_deployer.version import CLOUD_STORAGE, described_version

_log = logging.getLogger(__name__)

DEPLOYMENT_FILE = "deployment.json"
REQUESTS_FILE = "requests.json"


@component
def VertexDeployer(  # noqa: N802 (TFX components are named like classes)
    pushed_model: InputArtifact[standard_artifacts.PushedModel],
    deployed_model: OutputArtifact[standard_artifacts.PushedModel],
    target: Parameter[str],
    deploy: Parameter[str],
    pipeline_name: Parameter[str],
    source_hash: Parameter[str],
) -> None:
    """Deploys a pushed version on Vertex AI; does nothing if the model was not good enough to be pushed.

    In a rehearsal, the version is in a local directory that Vertex AI cannot read. The requests are then written to a
    file instead of being sent.

    Args:
        pushed_model: Output of the Pusher.
        deployed_model: Output. Properties and `deployment.json` name the created resources.
        target: A `Target` as JSON.
        deploy: A `DeployConfig` as JSON.
        pipeline_name: Default name of created resources.
        source_hash: Hash of this component's sources; part of the cache key.

    Raises:
        ConfigError: The configuration does not fit the version.
        ServiceError: Vertex AI refused a request, or a deployment failed.
    """
    del source_hash
    with tf.io.gfile.GFile(os.path.join(pushed_model.uri, SUMMARY_FILE_NAME)) as file:
        summary = json.loads(file.read())
    deployed_model.set_int_custom_property("deployed", 0)
    if not summary["blessing"]["push"]:
        _log.warning("not deployed: %s", summary["blessing"]["reason"])
        return
    place, config = Target.model_validate_json(target), DeployConfig.model_validate_json(deploy)
    version = described_version(summary["pushed_to"], pipeline_name, summary)
    requests = DeploymentRequests(place, config, version)
    tf.io.gfile.makedirs(deployed_model.uri)
    if not version.uri.startswith(CLOUD_STORAGE):
        _log.warning("not deployed: %s is not in Cloud Storage; see %s", version.uri, REQUESTS_FILE)
        _write(os.path.join(deployed_model.uri, REQUESTS_FILE), planned_json(requests))
        return
    resources = deploy_version(requests, DeploymentService(place)).as_json()
    for kind, name in resources.items():
        deployed_model.set_string_custom_property(kind, name)
    deployed_model.set_int_custom_property("deployed", 1)
    _write(os.path.join(deployed_model.uri, DEPLOYMENT_FILE), json.dumps(resources, indent=2))


def _write(path: str, text: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)
