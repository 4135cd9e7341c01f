"""What is sent to Vertex AI: pure, so that it can be looked at before it is sent."""

import re
from collections.abc import Mapping
from typing import Any

from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from pipeline.vertex.compile import Job
from pipeline.vertex.config import Schedule, VertexConfig
from trainer_module.errors import ConfigError

_RUN_NAME = re.compile(r"[a-z][-a-z0-9]{0,127}")


def run_request(
    vertex: VertexConfig, job: Job, run_name: str, parameters: Mapping[str, Any]
) -> types.CreatePipelineJobRequest:
    """The request that starts a run.

    Args:
        vertex: The section `vertex`.
        job: As `compile_job` makes it.
        run_name: Of the run; its id and display name.
        parameters: Values of runtime parameters, as `parse_parameters` makes them.

    Raises:
        ConfigError: The name is none that a run may have.
    """
    if not _RUN_NAME.fullmatch(run_name):
        raise ConfigError(
            f"--run-name {run_name}: expected up to 128 lower-case letters, digits and hyphens, a letter first"
        )
    return types.CreatePipelineJobRequest(
        parent=vertex.location,
        pipeline_job=_pipeline_job(vertex, job, run_name, parameters),
        pipeline_job_id=run_name,
    )


def schedule_request(
    vertex: VertexConfig, schedule: Schedule, job: Job, name: str, parameters: Mapping[str, Any]
) -> types.CreateScheduleRequest:
    """The request that has runs started again and again; the service names each run.

    Args:
        vertex: The section `vertex`.
        schedule: The section `vertex.schedule`.
        job: As `compile_job` makes it.
        name: Shown for the schedule and its runs.
        parameters: As for `run_request`.
    """
    of_job = types.CreatePipelineJobRequest(
        parent=vertex.location, pipeline_job=_pipeline_job(vertex, job, name, parameters)
    )
    resource = types.Schedule(
        display_name=name,
        cron=schedule.cron_in_zone,
        create_pipeline_job_request=of_job,
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
    vertex: VertexConfig, job: Job, display_name: str, parameters: Mapping[str, Any]
) -> types.PipelineJob:
    runtime = dict(job["runtimeConfig"])
    runtime["parameters"] = runtime.get("parameters", {}) | {key: _value(value) for key, value in parameters.items()}
    access = {"serviceAccount": vertex.service_account, "network": vertex.network}
    fields = {
        "displayName": display_name,
        "labels": job["labels"],
        "pipelineSpec": job["pipelineSpec"],
        "runtimeConfig": runtime,
        **{name: value for name, value in access.items() if value},
    }
    resource = types.PipelineJob()
    json_format.ParseDict(fields, types.PipelineJob.pb(resource))
    return resource


def _value(value: Any) -> dict[str, Any]:
    """A `Value` of a pipeline, whose numbers are 64 bits wide and therefore text in JSON."""
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
