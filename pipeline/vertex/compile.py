"""From an experiment to the job that Vertex AI Pipelines runs."""

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx

from pipeline.config import PipelineConfig
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.leaks import check_portable
from pipeline.vertex.platform import vertex_platform
from pipeline.wiring import DEFAULT_TRAIN_ARGS, TRAIN_ARGS, create_pipeline
from trainer_module.errors import ConfigError

Job = dict[str, Any]
"""A `ml_pipelines.PipelineJob` as JSON."""


def compile_job(config: PipelineConfig) -> Job:
    """The job of an experiment, checked.

    Raises:
        ConfigError: There is no section `vertex`, or the job would not run there: names the key and what to change.
    """
    vertex = vertex_section(config)
    pipeline = create_pipeline(config, vertex_platform(vertex, config))
    job = make_runner(vertex).run(pipeline, parameter_values=default_parameters(), write_out=False)
    job["labels"] = dict(vertex.labels) | job["labels"]
    check_job(job)
    return job


def vertex_section(config: PipelineConfig) -> VertexConfig:
    """The section `vertex` of an experiment.

    Raises:
        ConfigError: There is none, or the pipeline's name does not fit.
    """
    if config.vertex is None:
        raise ConfigError(
            "vertex: the experiment has no such section. It needs at least project, region, bucket, data and image, as "
            "in --set vertex.project=my-project (docs/vertex.md)"
        )
    if not config.pipeline_name[:1].isalpha():
        raise ConfigError(
            f"name: {config.pipeline_name!r} cannot name a run on Vertex AI; it must begin with a letter, as in "
            f"{config.pipeline_name.lstrip('-0123456789') or 'my-pipeline'}"
        )
    return config.vertex


def make_runner(vertex: VertexConfig) -> tfx.orchestration.experimental.KubeflowV2DagRunner:
    """TFX's compiler for Vertex AI Pipelines."""
    return tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(default_image=vertex.image)
    )


def default_parameters() -> dict[str, Any]:
    """Values of the runtime parameters; the compiler keeps those, but not the parameters' own defaults."""
    return {TRAIN_ARGS: DEFAULT_TRAIN_ARGS}


def check_job(job: Job) -> None:
    """Refuses a job that the service would, or that tells of the compiling machine.

    Raises:
        ConfigError: Something of the compiling machine stands in it; names the place.
        ParseError: It is no `PipelineJob` with a `PipelineSpec` in it.
    """
    json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
    json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    deployment = job["pipelineSpec"]["deploymentSpec"]
    json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())
    check_portable(job)


def to_json(job: Mapping[str, Any]) -> str:
    """The same text for the same job."""
    return json.dumps(job, indent=2, sort_keys=True) + "\n"
