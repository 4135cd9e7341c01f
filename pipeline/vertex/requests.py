"""Builds the requests that start runs and create schedules on Vertex AI, without sending them."""

import re
from collections.abc import Mapping

from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from pipeline.job_options import Job, with_parameters
from pipeline.vertex.config import Schedule, VertexConfig
from trainer_module.errors import ConfigError

_RUN_NAME = re.compile(r"[a-z][-a-z0-9]{0,127}")


def run_request(
    vertex: VertexConfig, job: Job, run_name: str, parameters: Mapping[str, int | str]
) -> types.CreatePipelineJobRequest:
    """Builds the request that starts a run.

    Args:
        vertex: The section `vertex`.
        job: Job from `compile_job`.
        run_name: Id and display name of the run.
        parameters: Values of runtime parameters from `parse_parameters`.

    Raises:
        ConfigError: The name is not valid for a run.
    """
    if not _RUN_NAME.fullmatch(run_name):
        raise ConfigError(
            f"--run-name {run_name}: expected up to 128 lower-case letters, digits and hyphens, starting with a letter"
        )
    return types.CreatePipelineJobRequest(
        parent=vertex.location,
        pipeline_job=_pipeline_job(vertex, job, run_name, parameters),
        pipeline_job_id=run_name,
    )


def schedule_request(
    vertex: VertexConfig, schedule: Schedule, job: Job, name: str, parameters: Mapping[str, int | str]
) -> types.CreateScheduleRequest:
    """Builds the request that creates a schedule. The service names each of its runs.

    Args:
        vertex: The section `vertex`.
        schedule: The section `vertex.schedule`.
        job: Job from `compile_job`.
        name: Display name of the schedule and its runs.
        parameters: Values of runtime parameters from `parse_parameters`.
    """
    run = types.CreatePipelineJobRequest(
        parent=vertex.location, pipeline_job=_pipeline_job(vertex, job, name, parameters)
    )
    resource = types.Schedule(
        display_name=name,
        cron=schedule.cron_in_zone,
        create_pipeline_job_request=run,
        max_concurrent_run_count=schedule.max_concurrent_runs,
    )
    if schedule.max_runs:
        resource.max_run_count = schedule.max_runs
    if schedule.start:
        resource.start_time = schedule.start
    if schedule.end:
        resource.end_time = schedule.end
    return types.CreateScheduleRequest(parent=vertex.location, schedule=resource)


def _pipeline_job(
    vertex: VertexConfig, job: Job, display_name: str, parameters: Mapping[str, int | str]
) -> types.PipelineJob:
    access = {"serviceAccount": vertex.service_account, "network": vertex.network}
    fields = {
        "displayName": display_name,
        "labels": job["labels"],
        "pipelineSpec": job["pipelineSpec"],
        "runtimeConfig": with_parameters(job, parameters)["runtimeConfig"],
        **{name: value for name, value in access.items() if value},
    }
    resource = types.PipelineJob()
    json_format.ParseDict(fields, types.PipelineJob.pb(resource))
    return resource
