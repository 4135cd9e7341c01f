"""Shows and cancels runs on Vertex AI."""

from rich.console import Console
from rich.table import Table

from pipeline.config import PipelineConfig, vertex_section
from pipeline.vertex.service import VertexService


def print_run(config: PipelineConfig, run_name: str, console: Console) -> None:
    """Prints the state of a run and of its tasks."""
    vertex = vertex_section(config)
    run = VertexService(vertex).get_run(run_name)
    console.print(f"{run_name}: {_state(run.state.name)}", markup=False, highlight=False)
    for task in run.job_detail.task_details:
        console.print(f"  {task.task_name}: {_state(task.state.name)}", markup=False, highlight=False)
        if task.error.message:
            console.print(f"    {task.error.message}", markup=False, highlight=False)
    if run.error.message:
        console.print(run.error.message, markup=False, highlight=False)
    console.print(vertex.run_url(run_name), markup=False, highlight=False)


def print_runs(config: PipelineConfig, limit: int, console: Console) -> None:
    """Prints the latest runs, newest first."""
    vertex = vertex_section(config)
    table = Table("run", "state", "created")
    for run in VertexService(vertex).list_runs(limit):
        created = f"{run.create_time:%Y-%m-%d %H:%M}" if run.create_time else ""
        table.add_row(run.name.rpartition("/")[2], _state(run.state.name), created)
    console.print(table)


def cancel_run(config: PipelineConfig, run_name: str) -> None:
    """Asks a run to stop."""
    VertexService(vertex_section(config)).cancel_run(run_name)


def _state(name: str) -> str:
    """Shortens `PIPELINE_STATE_RUNNING` to `running`."""
    return name.removeprefix("PIPELINE_STATE_").lower()
