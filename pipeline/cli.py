"""The `recspan` command: its groups and commands, and how failures become messages and exit codes.

TensorFlow and TFX take seconds to import, so each command imports what it needs only when it runs.
"""

import sys

import typer

from pipeline.commands import datasets, environment, prediction, runs, vertex
from pipeline.exit_codes import FAILED, PREEMPTED
from trainer_module.errors import Preempted, RecspanError

app = typer.Typer(
    help="Recommenders with large embedding tables, from raw ratings to a pushed model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Get or generate datasets.", no_args_is_help=True)
pipeline_app = typer.Typer(help="Run the pipeline, here or on Vertex AI.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(pipeline_app, name="pipeline")

# Help texts list commands in this order.
app.command()(environment.doctor)
app.command()(prediction.predict)
app.command()(prediction.recommend)
app.command()(environment.plan)
data_app.command()(datasets.fetch)
data_app.command()(datasets.inspect)
data_app.command()(datasets.generate)
data_app.command()(datasets.generate_clicks)
pipeline_app.command()(runs.run)
pipeline_app.command("compile")(vertex.compile_pipeline)
pipeline_app.command()(vertex.submit)
pipeline_app.command()(vertex.deploy)
pipeline_app.command()(vertex.cost)
pipeline_app.command()(runs.rehearse)
pipeline_app.command()(vertex.status)
pipeline_app.command("list")(vertex.list_runs)
pipeline_app.command()(vertex.cancel)


def main() -> None:
    """Runs the command line; a failure that the user can mend prints its message and exits with 1, or 75 if the same
    command will go on from where it was asked to stop."""
    try:
        app()
    except RecspanError as error:
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print("[bold red]error:[/bold red]", end=" ")
        console.print(str(error), markup=False)
        sys.exit(PREEMPTED if isinstance(error, Preempted) else FAILED)
