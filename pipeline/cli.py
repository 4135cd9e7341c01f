"""The `recspan` command: its groups and commands, and how failures become messages and exit codes.

TensorFlow and TFX take seconds to import, so each command imports what it needs only when it runs.
"""

import gc
import os
import sys

import typer

from pipeline.commands import bench, datasets, environment, history, models, prediction, runs, skew, tuning, vertex
from pipeline.exit_codes import FAILED
from pipeline.interruption import end_when_asked_to, exit_code
from pipeline.streams import prepare_streams
from trainer_module.errors import RecspanError

# Imports and graphs make hundreds of thousands of objects, nearly all of which stay. With Python's default of 700, the
# collector takes a third of the time of importing TFX.
_NEW_OBJECTS_BETWEEN_COLLECTIONS = 50_000

app = typer.Typer(
    help="Recommenders with large embedding tables, from raw ratings to a pushed model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Get or generate datasets.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure this machine on your own experiment and data.", no_args_is_help=True)
pipeline_app = typer.Typer(help="Run the pipeline, here or on Vertex AI.", no_args_is_help=True)
models_app = typer.Typer(help="See pushed models, go back to an earlier version, export items.", no_args_is_help=True)
runs_app = typer.Typer(help="List, show and compare what runs of this machine left behind.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(pipeline_app, name="pipeline")
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")
app.add_typer(bench_app, name="bench")

# Help texts list commands in this order.
app.command()(environment.doctor)
app.command()(prediction.predict)
app.command()(prediction.recommend)
app.command()(prediction.explain)
app.command()(prediction.neighbours)
app.command()(skew.skew)
app.command()(environment.plan)
app.command()(tuning.tune)
data_app.command()(datasets.fetch)
data_app.command()(datasets.inspect)
data_app.command()(datasets.generate)
data_app.command()(datasets.generate_clicks)
data_app.command()(datasets.generate_days)
pipeline_app.command()(runs.run)
pipeline_app.command()(runs.combine)
pipeline_app.command("stages")(runs.write_stages)
pipeline_app.command("compile")(vertex.compile_pipeline)
pipeline_app.command()(vertex.submit)
pipeline_app.command()(vertex.deploy)
pipeline_app.command()(vertex.cost)
pipeline_app.command()(runs.rehearse)
pipeline_app.command()(vertex.status)
pipeline_app.command("list")(vertex.list_runs)
pipeline_app.command()(vertex.cancel)
models_app.command("list")(models.list_models)
models_app.command()(models.rollback)
models_app.command("export-items")(models.export_items)
runs_app.command("list")(history.list_runs)
runs_app.command()(history.show)
runs_app.command()(history.compare)
bench_app.command()(bench.data)
bench_app.command()(bench.train)
bench_app.command()(bench.serve)


def main() -> None:
    """Runs the command line.

    A failure prints one message and exits with 1. Nothing else turns exceptions into messages; tracebacks go to a log.
    A command that is asked to stop exits with 75 (SIGTERM) or 130 (Ctrl-C).
    """
    gc.set_threshold(_NEW_OBJECTS_BETWEEN_COLLECTIONS)
    prepare_streams()
    end_when_asked_to()
    try:
        app()
    except BrokenPipeError:
        # The reader of a pipe has ended, as in `recspan ... | head`; Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        sys.exit(_fail(error))
    finally:
        # Nothing outlives the process, but Python would look for garbage in all that TensorFlow and TFX have made.
        gc.freeze()


def _fail(error: Exception) -> int:
    """Prints the message of an exception and returns the exit code."""
    from rich.console import Console

    from pipeline.failures import describe, write_traceback

    message = str(error) if isinstance(error, RecspanError) else describe(error)
    if not isinstance(error, RecspanError):
        log = write_traceback(error)
        message += f"\n(log: {log})" if log else "\n(no directory for a log can be written to; set XDG_STATE_HOME)"
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("[bold red]error:[/bold red]", end=" ")
    console.print(message, markup=False)
    return exit_code(error)
