"""From an experiment to the job that Vertex AI Pipelines runs."""

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2 import pipeline_builder

from pipeline.config import PipelineConfig, vertex_section
from pipeline.job_options import DEFAULT_TRAIN_ARGS, TRAIN_ARGS
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.leaks import check_portable
from pipeline.vertex.platform import vertex_platform
from pipeline.wiring import create_pipeline

Job = dict[str, Any]
"""A `ml_pipelines.PipelineJob` as JSON."""


def compile_job(config: PipelineConfig) -> Job:
    """The job of an experiment, checked.

    Raises:
        ConfigError: There is no section `vertex`, or the job would not run there: names the key and what to change.
    """
    vertex = vertex_section(config)
    job = _compiled(config, vertex, write_out=False)
    job["labels"] = dict(vertex.labels) | job["labels"]
    check_job(job)
    return job


def compile_to_file(config: PipelineConfig) -> None:
    """Has TFX's runner write `pipeline.json`, where the `tfx` CLI looks for it or into the current directory.

    Raises:
        ConfigError: As `compile_job` says; nothing was written.
    """
    vertex = vertex_section(config)
    pipeline = create_pipeline(config, vertex_platform(vertex, config))
    # The CLI takes hold of every call of the runner, so what is looked at before the call comes from its builder.
    spec = pipeline_builder.PipelineBuilder(tfx_pipeline=pipeline, default_image=vertex.image).build()
    check_portable(json_format.MessageToDict(spec))
    _compiled(config, vertex, write_out=True)


def _compiled(config: PipelineConfig, vertex: VertexConfig, write_out: bool) -> Job:
    pipeline = create_pipeline(config, vertex_platform(vertex, config))
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(default_image=vertex.image)
    )
    return runner.run(pipeline, parameter_values=default_parameters(), write_out=write_out)


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
