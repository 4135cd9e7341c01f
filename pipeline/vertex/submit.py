"""Compiles an experiment and hands it to Vertex AI."""

from collections.abc import Sequence

from pipeline.config import PipelineConfig, vertex_section
from pipeline.vertex.compile import compile_job
from pipeline.vertex.requests import (
    new_run_name,
    parse_parameters,
    request_json,
    run_request,
    schedule_request,
)
from pipeline.vertex.service import VertexService
from trainer_module.errors import ConfigError


def submit_run(config: PipelineConfig, run_name: str | None, parameters: Sequence[str], dry_run: bool) -> str:
    """Starts a run.

    Args:
        config: The experiment.
        run_name: None takes the pipeline's name and the time.
        parameters: Runtime parameters as `key=value`.
        dry_run: Sends nothing, and asks for no credentials.

    Returns:
        What to tell: the request, or the run's name and where to watch it.

    Raises:
        RecspanError: The experiment cannot run there, or the service refused.
    """
    vertex, job = vertex_section(config), compile_job(config)
    name = run_name or new_run_name(config.pipeline_name)
    request = run_request(vertex, job, name, parse_parameters(job, parameters))
    if dry_run:
        return request_json(request)
    created = VertexService(vertex).create_run(request)
    run = created.name.rpartition("/")[2]
    return f"run: {run}\nwatch: {vertex.run_url(run)}"


def submit_schedule(config: PipelineConfig, parameters: Sequence[str], dry_run: bool) -> str:
    """Creates the schedule of the section `vertex.schedule`; the arguments are those of `submit_run`.

    Raises:
        RecspanError: There is no such section, the experiment cannot run there, or the service refused.
    """
    vertex = vertex_section(config)
    if vertex.schedule is None:
        raise ConfigError(
            "vertex.schedule: the experiment has none. It needs at least cron, as in --set "
            "'vertex.schedule={cron: 0 3 * * *, time_zone: Europe/Berlin}'"
        )
    job = compile_job(config)
    request = schedule_request(vertex, vertex.schedule, job, config.pipeline_name, parse_parameters(job, parameters))
    if dry_run:
        return request_json(request)
    created = VertexService(vertex).create_schedule(request)
    schedules = f"https://console.cloud.google.com/vertex-ai/pipelines/schedules?project={vertex.project}"
    return f"schedule: {created.name}\nwatch: {schedules}"
