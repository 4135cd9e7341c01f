"""The component VertexDeployer: deploys the pushed version to Model Registry, Endpoint and Vector Search."""

import json
import logging
import os
from typing import Any

import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.google_cloud.target import Target
from components.pusher.layout import SUMMARY_FILE_NAME
from components.vertex_deployer.config import DeployConfig
from components.vertex_deployer.deploy import deploy, planned_json
from components.vertex_deployer.requests import DeploymentRequests
from components.vertex_deployer.service import DeploymentService
from components.vertex_deployer.version import CLOUD_STORAGE, described_version

_log = logging.getLogger(__name__)

DEPLOYMENT_FILE = "deployment.json"
REQUESTS_FILE = "requests.json"


class Executor(base_executor.BaseExecutor):
    """Deploys the pushed version."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Deploys the version, unless the model was not pushed.

        In a rehearsal, the version is in a local directory that Vertex AI cannot read. The requests are then written to
        a file instead of being sent.

        Raises:
            ConfigError: The configuration does not fit the version.
            ServiceError: Vertex AI refused a request, or a deployment failed.
        """
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        deployed = artifact_utils.get_single_instance(output_dict["deployed_model"])
        with tf.io.gfile.GFile(os.path.join(pushed.uri, SUMMARY_FILE_NAME)) as file:
            summary = json.loads(file.read())
        deployed.set_int_custom_property("deployed", 0)
        if not summary["blessing"]["push"]:
            _log.warning("not deployed: %s", summary["blessing"]["reason"])
            return
        target = Target.model_validate_json(exec_properties["target"])
        config = DeployConfig.model_validate_json(exec_properties["deploy"])
        version = described_version(summary["pushed_to"], exec_properties["pipeline_name"], summary)
        requests = DeploymentRequests(target, config, version)
        tf.io.gfile.makedirs(deployed.uri)
        if not version.uri.startswith(CLOUD_STORAGE):
            _log.warning("not deployed: %s is not in Cloud Storage; see %s", version.uri, REQUESTS_FILE)
            _write(os.path.join(deployed.uri, REQUESTS_FILE), planned_json(requests))
            return
        made = deploy(requests, DeploymentService(target)).as_json()
        for kind, name in made.items():
            deployed.set_string_custom_property(kind, name)
        deployed.set_int_custom_property("deployed", 1)
        _write(os.path.join(deployed.uri, DEPLOYMENT_FILE), json.dumps(made, indent=2))


class VertexDeployerSpec(ComponentSpec):
    """Inputs, outputs and parameters of `VertexDeployer`."""

    PARAMETERS = {
        "target": ExecutionParameter(type=str),
        "deploy": ExecutionParameter(type=str),
        "pipeline_name": ExecutionParameter(type=str),
        "source_hash": ExecutionParameter(type=str),
    }
    INPUTS = {"pushed_model": ChannelParameter(type=tfx.types.standard_artifacts.PushedModel)}
    OUTPUTS = {"deployed_model": ChannelParameter(type=tfx.types.standard_artifacts.PushedModel)}


class VertexDeployer(base_component.BaseComponent):
    """Deploys a pushed version on Vertex AI; does nothing if the model was not good enough to be pushed."""

    SPEC_CLASS = VertexDeployerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, pushed_model: tfx.types.BaseChannel, target: str, deploy: str, pipeline_name: str, source_hash: str
    ):
        """Connects the component.

        Args:
            pushed_model: Output of the Pusher.
            target: A `Target` as JSON.
            deploy: A `DeployConfig` as JSON.
            pipeline_name: Default name of created resources.
            source_hash: Hash of this component's sources; part of the cache key.
        """
        super().__init__(
            VertexDeployerSpec(
                pushed_model=pushed_model,
                target=target,
                deploy=deploy,
                pipeline_name=pipeline_name,
                source_hash=source_hash,
                deployed_model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.PushedModel),
            )
        )


def _write(path: str, text: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)
