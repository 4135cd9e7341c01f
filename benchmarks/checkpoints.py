"""Measures the time to save checkpoints (synchronously and asynchronously) and to resume from them.

python -m benchmarks.checkpoints

Each table size is measured in a new process.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from benchmarks.machine import measured_on
from benchmarks.workload import Workload, criteo_rows

_RESULT = Path(__file__).parent / "results" / "checkpoints.md"
_COLUMNS = ("save", "asynchronous save: training blocked", "asynchronous save: until on disk", "resume")


def main(
    scales: Annotated[str, typer.Option(help="Comma-separated; 1 is 26 tables of 2M to 1k rows.")] = "0.05,0.25,1",
    repetitions: Annotated[int, typer.Option(help="Repetitions of each measurement; medians are reported.", min=1)] = 3,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Measure every table size, print a table and write it to a file."""
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
                # TensorFlow's messages go to this process's standard error.
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    table = _table(rows, f"--scales {scales} --repetitions {repetitions}", repetitions)
    print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table + "\n")


def measure(workload: Workload, repetitions: int) -> dict:
    """Measures the product's `Checkpoints` on one model; returns sizes in bytes and median times in seconds."""
    # Imported here so that only the measuring process loads TensorFlow.
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
    # The first asynchronous save allocates its copy of all variables, once per training.
    for checkpoints in of_kind.values():
        checkpoints.save(Progress(step=1))
        checkpoints.resume()
    for step in range(2, 2 + repetitions):
        seconds["save"].append(_seconds(lambda step=step: of_kind["sync"].save(Progress(step=step))))
        blocked = _seconds(lambda step=step: of_kind["async"].save(Progress(step=step)))
        written = _seconds(of_kind["async"].wait)
        seconds["asynchronous save: training blocked"].append(blocked)
        seconds["asynchronous save: until on disk"].append(blocked + written)
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
        "# Time to save and resume checkpoints",
        "",
        f"`python -m benchmarks.checkpoints {options}`",
        "",
        "A DLRM with 26 tables and Adagrad. A checkpoint contains the tables, accumulators of the same size, and the "
        f"dense part. Times are in seconds (throughput in GB/s in parentheses), medians of {repetitions}, with files "
        "in the page cache.",
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
        measured_on(["tensorflow"]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Workload.load(sys.argv[2]), int(sys.argv[3]))))
    else:
        typer.run(main)
