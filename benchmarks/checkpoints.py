"""Times what it costs to keep a training safe: checkpoints, written at once or in the background, and resuming.

python -m benchmarks.checkpoints

Every size of the tables is measured in a process of its own.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from benchmarks.workload import Workload, criteo_rows

_RESULT = Path(__file__).parent / "results" / "checkpoints.md"
_COLUMNS = ("save", "save, asynchronous: until training goes on", "the same: until it is on disk", "resume")


def main(
    scales: Annotated[str, typer.Option(help="Comma-separated; 1 is 26 tables of 2M to 1k rows.")] = "0.05,0.25,1",
    repetitions: Annotated[int, typer.Option(help="Of everything; medians count.", min=1)] = 3,
    output: Annotated[Path, typer.Option(help="Where the table goes.")] = _RESULT,
) -> None:
    """Measures every size, prints a table and writes it to a file."""
    console = Console(stderr=True)
    rows = []
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("")
        for scale in map(float, scales.split(",")):
            progress.update(task, description=f"tables at scale {scale:g}")
            with tempfile.TemporaryDirectory() as scratch:
                path = Workload(scratch, criteo_rows(scale)).save()
                command = [sys.executable, "-m", "benchmarks.checkpoints", "--measure", str(path), str(repetitions)]
                # What TensorFlow has to say goes to this process's standard error.
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    table = _table(rows, f"--scales {scales} --repetitions {repetitions}", repetitions)
    print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table + "\n")


def measure(workload: Workload, repetitions: int) -> dict:
    """Medians in seconds, and bytes, for the product's `Checkpoints` over one model."""
    # TensorFlow starts here, in the measuring process alone.
    from benchmarks.click_model import build, training_config
    from trainer_module.training.checkpoints import Checkpoints, Progress

    seconds: dict[str, list[float]] = {name: [] for name in _COLUMNS}
    directory = workload.file("checkpoints")
    _, model, optimizer = build(workload, training_config(workload, workload.batch_sizes[0]))
    of_kind = {
        kind: Checkpoints(
            str(directory / kind),
            model,
            optimizer,
            training_config(workload, 1024, async_checkpoints=kind == "async"),
            fingerprints={},
        )
        for kind in ("sync", "async")
    }
    # The first save in the background makes its copy of all variables, once for the whole training.
    for checkpoints in of_kind.values():
        checkpoints.save(Progress(step=1))
        checkpoints.resume()
    for step in range(2, 2 + repetitions):
        seconds["save"].append(_seconds(lambda step=step: of_kind["sync"].save(Progress(step=step))))
        blocked = _seconds(lambda step=step: of_kind["async"].save(Progress(step=step)))
        written = _seconds(of_kind["async"].wait)
        seconds["save, asynchronous: until training goes on"].append(blocked)
        seconds["the same: until it is on disk"].append(blocked + written)
        seconds["resume"].append(_seconds(of_kind["sync"].resume))
    size = sum(file.stat().st_size for file in (directory / "sync").glob(f"*-{1 + repetitions}.*"))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"tables": workload.table_bytes, "checkpoint": size, "seconds": medians}


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _table(rows: list[dict], options: str, repetitions: int) -> str:
    lines = [
        "# What checkpoints cost",
        "",
        f"`python -m benchmarks.checkpoints {options}`",
        "",
        "A DLRM of 26 tables with Adagrad: a checkpoint holds the tables, as much again of accumulators, and the dense "
        f"part. Seconds (GB/s of the checkpoint), medians of {repetitions}, on files that the page cache holds.",
        "",
        f"| tables | checkpoint | {' | '.join(_COLUMNS)} |",
        f"|---:|---:|{'---:|' * len(_COLUMNS)}",
        *(
            f"| {row['tables'] / 1e9:.2f} GB | {row['checkpoint'] / 1e9:.2f} GB | "
            + " | ".join(
                f"{row['seconds'][name]:.2f} ({row['checkpoint'] / 1e9 / row['seconds'][name]:.2f})"
                for name in _COLUMNS
            )
            + " |"
            for row in rows
        ),
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"tensorflow {version('tensorflow')}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Workload.load(sys.argv[2]), int(sys.argv[3]))))
    else:
        typer.run(main)
