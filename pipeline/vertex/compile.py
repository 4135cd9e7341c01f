"""Compiles an experiment to a job of Vertex AI Pipelines."""

import json

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2 import pipeline_builder

from pipeline.config import PipelineConfig, vertex_section
from pipeline.job_options import Job
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.leaks import check_portable
from pipeline.vertex.platform import vertex_platform
from pipeline.wiring import create_pipeline, runtime_parameters


def compile_job(config: PipelineConfig, only_training: bool = False) -> Job:
    """Compiles and checks an experiment.

    Args:
        config: The experiment.
        only_training: Whether the job ends with the Trainer. It has the name of the whole pipeline, and so its cache.

    Raises:
        ConfigError: The experiment has no section `vertex`, or the job would not run on Vertex AI; the message names
            the key and what to change.
    """
    vertex = vertex_section(config)
    job = _compiled(config, vertex, write_out=False, only_training=only_training)
    job["labels"] = dict(vertex.labels) | job["labels"]
    check_job(job)
    return job


def compile_to_file(config: PipelineConfig) -> None:
    """Writes `pipeline.json` with TFX's runner, to the directory that the `tfx` CLI sets, or to the current one.

    Raises:
        ConfigError: See `compile_job`; nothing was written.
    """
    vertex = vertex_section(config)
    pipeline = create_pipeline(config, vertex_platform(vertex, config))
    # The CLI intercepts every call of the runner, so the check before that call uses the runner's builder.
    spec = pipeline_builder.PipelineBuilder(tfx_pipeline=pipeline, default_image=vertex.image).build()
    check_portable(json_format.MessageToDict(spec))
    _compiled(config, vertex, write_out=True)


def _compiled(config: PipelineConfig, vertex: VertexConfig, write_out: bool, only_training: bool = False) -> Job:
    pipeline = create_pipeline(config, vertex_platform(vertex, config), only_training)
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(default_image=vertex.image)
    )
    # The compiler drops the defaults of runtime parameters, but keeps given values.
    return runner.run(pipeline, parameter_values=runtime_parameters(config), write_out=write_out)


def check_job(job: Job) -> None:
    """Refuses an invalid job and a job that names the compiling machine.

    Raises:
        ConfigError: See `check_portable`.
        ParseError: The JSON is not a `PipelineJob` with a `PipelineSpec`.
    """
    json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
    json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    deployment = job["pipelineSpec"]["deploymentSpec"]
    json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())
    check_portable(job)


def to_json(job: Job) -> str:
    """Returns the job as JSON text, with sorted keys."""
    return json.dumps(job, indent=2, sort_keys=True) + "\n"
