"""Compiles an experiment and sends it to Vertex AI."""

from collections.abc import Sequence

from google.cloud.aiplatform_v1 import types

from pipeline.config import PipelineConfig, vertex_section
from pipeline.job_options import new_run_name, parse_parameters
from pipeline.vertex.compile import compile_job
from pipeline.vertex.requests import run_request, schedule_request
from pipeline.vertex.service import VertexService
from trainer_module.errors import ConfigError

Request = types.CreatePipelineJobRequest | types.CreateScheduleRequest


def prepare_run(config: PipelineConfig, run_name: str | None, parameters: Sequence[str]) -> Request:
    """Builds the request for one run, without sending it. This needs no credentials.

    Args:
        config: The experiment.
        run_name: Name of the run; None means the pipeline's name and the time.
        parameters: Runtime parameters as `key=value`.

    Raises:
        ConfigError: The experiment cannot run on Vertex AI, or a parameter is invalid.
    """
    vertex, job = vertex_section(config), compile_job(config)
    name = run_name or new_run_name(config.pipeline_name)
    return run_request(vertex, job, name, parse_parameters(job, parameters))


def prepare_schedule(config: PipelineConfig, parameters: Sequence[str]) -> Request:
    """Builds the request for the schedule of the section `vertex.schedule`, without sending it.

    Args:
        config: The experiment.
        parameters: Runtime parameters as `key=value`.

    Raises:
        ConfigError: The experiment has no such section, it cannot run on Vertex AI, or a parameter is invalid.
    """
    vertex = vertex_section(config)
    if vertex.schedule is None:
        raise ConfigError(
            "vertex.schedule: the experiment has no such section. It needs at least cron, as in --set "
            "'vertex.schedule={cron: 0 3 * * *, time_zone: Europe/Berlin}'"
        )
    if "interactions" in config.data.queries.keys() - config.data.unpinned_queries.keys():
        raise ConfigError(
            "vertex.schedule: data.as_of fixes the rows of data.interactions.query, so that every run would train on "
            "the same ones. Take @as_of out of the query and set cache: false, or submit each run with its own "
            "--set data.as_of"
        )
    job = compile_job(config)
    return schedule_request(vertex, vertex.schedule, job, config.pipeline_name, parse_parameters(job, parameters))


def send(config: PipelineConfig, request: Request) -> str:
    """Sends a request.

    Returns:
        The name of the run or schedule, and the address of its page in the console.

    Raises:
        RecspanError: The credentials are missing, or the service refused the request.
    """
    vertex = vertex_section(config)
    service = VertexService(vertex)
    if isinstance(request, types.CreateScheduleRequest):
        created = service.create_schedule(request).name
        return f"schedule: {created}\nwatch: {vertex.schedules_url}"
    run = service.create_run(request).name.rpartition("/")[2]
    return f"run: {run}\nwatch: {vertex.run_url(run)}"
