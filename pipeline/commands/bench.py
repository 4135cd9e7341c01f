"""Measurements on the user's own data: `bench data`, `bench train` and `bench serve`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import AsJson, Assignments, ConfigFile, DataDir, Root

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Locations, PipelineConfig
    from pipeline.console import ComponentProgress

Scratch = Annotated[
    Path | None, typer.Option(help="Where a directory is made and removed; among temporary files if not given.")
]
MemoryGb = Annotated[float | None, typer.Option(help="Short for --set memory_gb=...")]
Seconds = Annotated[float, typer.Option(min=0.1, max=600, help="Length of each measurement.")]


def data(
    config: ConfigFile = None,
    until: Annotated[str, typer.Option(help="The last component: Transform, Trainer, Evaluator, ...")] = "Transform",
    memory_gb: MemoryGb = None,
    as_json: AsJson = False,
    assignments: Assignments = None,
    scratch: Scratch = None,
    data_dir: DataDir = None,
) -> None:
    """Measure seconds, rows per second and peak memory of each component, in a directory that is removed."""
    from pipeline.bench.tables import print_rows
    from pipeline.config import Locations

    settings = _settings(config, assignments, memory_gb)
    with _scratch(scratch) as root, _output() as (console, progress):
        locations = Locations.resolve(settings, root, data_dir)
        with _occupied(locations):
            progress.begins("importing TensorFlow and TFX")
            from pipeline.bench.data import measure

            rows, facts = measure(settings, locations.data, until, locations.root, progress)
        print_rows(console, rows, facts, as_json)


def train(
    config: ConfigFile = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="May be repeated; training.batch_size if not given.")
    ] = None,
    seconds: Seconds = 5.0,
    memory_gb: MemoryGb = None,
    as_json: AsJson = False,
    assignments: Assignments = None,
    root: Root = Path("runs"),
    scratch: Scratch = None,
    data_dir: DataDir = None,
) -> None:
    """Measure training steps with and without their input; data is prepared below --root, as a run would."""
    from pipeline.bench.tables import print_rows
    from pipeline.config import Locations

    settings = _settings(config, assignments, memory_gb)
    locations = Locations.resolve(settings, root, data_dir)
    sizes = batch_size or [settings.training.batch_size]
    with _scratch(scratch) as directory, _output() as (console, progress), _occupied(locations):
        progress.begins("importing TensorFlow and TFX")
        from pipeline.bench.components import run_until
        from pipeline.bench.train import measure

        outputs = run_until(settings, locations, "Transform", progress)
        rows = []
        progress.begins("training steps")
        for speed in measure(settings, outputs, sizes, seconds, directory):
            rows.append(speed.row())
            progress.progressed(f"batch {speed.batch_size:,}: {speed.whole:,.0f} examples/s")
        print_rows(console, rows, {"cores": os.cpu_count()}, as_json)


def serve(
    config: ConfigFile = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="Examples per request; may be repeated; 1, 16 and 256 if not given.")
    ] = None,
    seconds: Seconds = 2.0,
    as_json: AsJson = False,
    assignments: Assignments = None,
    root: Root = Path("runs"),
    data_dir: DataDir = None,
) -> None:
    """Measure latency and requests per second of the pushed model, on one core and with examples of the test split."""
    from pipeline.bench.tables import print_rows
    from pipeline.config import Locations

    settings = _settings(config, assignments, None)
    locations = Locations.resolve(settings, root, data_dir)
    with _output() as (console, progress):
        from pipeline.bench.serve import measure, one_core, pushed

        model = pushed(locations.serving(settings.pipeline_name))
        rows: list[dict[str, Any]] = []
        with one_core(), _occupied(locations):
            progress.begins("importing TensorFlow and TFX")
            from pipeline.bench.components import run_until
            from pipeline.bench.requests import some_examples

            outputs = run_until(settings, locations, "ExampleGen", progress)
            progress.begins("requests")
            examples = some_examples(outputs, settings.dataset)
            for row in measure(model, examples, batch_size or [1, 16, 256], seconds):
                rows.append(row)
                progress.progressed(f"{row['signature']}, batch {row['batch_size']:,}: {row['p50_ms']:.2f} ms")
        print_rows(console, rows, {"model": str(model)}, as_json)


def _settings(config: Path | None, assignments: list[str] | None, memory_gb: float | None) -> "PipelineConfig":
    from pipeline.config import load_config, parse_assignments
    from trainer_module.memory import check

    overrides = parse_assignments(assignments or [])
    if memory_gb is not None:
        overrides["memory_gb"] = memory_gb
    settings = load_config(config, overrides)
    settings.beam.check_local()
    if settings.memory_gb is not None:
        check(settings.memory_gb, "memory_gb")
    return settings


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    """A directory that is removed in the end."""
    from components.scratch import scratch_directory
    from pipeline.roots import require_writable

    if parent is not None:
        require_writable(parent, "--scratch")
    with scratch_directory(parent or Path(tempfile.gettempdir()), "recspan-bench-") as directory:
        yield directory


@contextmanager
def _output() -> Iterator[tuple["Console", "ComponentProgress"]]:
    """A console that prints results, and progress where errors go, so that a program can read the results."""
    from rich.console import Console

    from pipeline.console import ComponentProgress, output_to

    with (
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace") as stream,
        output_to(Path(os.devnull), errors := Console(file=stream)) as console,
        ComponentProgress(errors) as progress,
    ):
        yield console, progress


@contextmanager
def _occupied(locations: "Locations") -> Iterator[None]:
    """Keeps runs out of the root, and temporary files in it until the end."""
    from pipeline.local.root import occupied
    from pipeline.roots import require_writable

    require_writable(locations.root, "--root")
    with occupied(locations.root, "bench"):
        yield
