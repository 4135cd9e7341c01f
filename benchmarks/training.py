"""Compares the speed of the training loop with Keras `fit` and PyTorch on the same model, data, optimizer and machine.

python -m benchmarks.training

Each measurement runs in a new process and the contenders alternate, so that memory state and load changes affect all
equally. All start from the same values. The losses of those in float32 must agree, or the benchmark fails.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from benchmarks.machine import measured_on
from benchmarks.torch_environment import PYTHON, TORCH, make_environment, run
from benchmarks.workload import Workload, criteo_rows

_RESULT = Path(__file__).parent / "results" / "training.md"
_PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders")
_COMMANDS = {
    "loop": [sys.executable, "-m", "benchmarks.click_model", "loop"],
    "compiled": [sys.executable, "-m", "benchmarks.click_model", "compiled"],
    "bfloat16": [sys.executable, "-m", "benchmarks.click_model", "bfloat16"],
    "keras": [sys.executable, "-m", "benchmarks.click_model", "keras"],
    "torch": [str(PYTHON), "-m", "benchmarks.torch_dlrm"],
    "torch_bfloat16": [str(PYTHON), "-m", "benchmarks.torch_dlrm"],
    "inputs": [sys.executable, "-m", "benchmarks.click_model", "inputs"],
}
_OWN, _BARE, _KERAS, _TORCH_NAME = "the loop, cache=features", "the loop, batches in memory", "Keras fit", "PyTorch"
_COMPILED = "the loop, jit_compile, cache=features"
_BFLOAT16, _TORCH_BFLOAT16 = "the loop, bfloat16, cache=features", "PyTorch, bfloat16"
# What follows the workload on a contender's command line.
_OPTIONS = {"torch_bfloat16": ["bfloat16"]}
# Frameworks sum in different orders, and XLA rounds differently. For comparison: without any table update, the second
# loss would differ by a relative 7e-3.
_LOSS_TOLERANCE = 3e-4

BatchSizes = Annotated[str, typer.Option(help="Comma-separated, ascending.")]


class DifferentWork(Exception):
    """The losses of the contenders differ, so they do not train the same model."""


def main(
    batch_sizes: BatchSizes = "1024,4096,16384",
    seconds: Annotated[float, typer.Option(help="Length of each measurement in seconds.", min=0.1)] = 2.0,
    rounds: Annotated[int, typer.Option(help="Measurements per contender; medians are reported.", min=1)] = 3,
    scale: Annotated[float, typer.Option(help="Scale of table rows; 1 is 26 tables of 2M to 1k rows.", min=1e-6)] = 1.0,
    examples: Annotated[int, typer.Option(help="Size of the data set.", min=1000)] = 131_072,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Measure all contenders, print a table and write it to a file."""
    sizes = tuple(int(size) for size in batch_sizes.split(","))
    if list(sizes) != sorted(set(sizes)) or not 0 < sizes[0] <= sizes[-1] <= examples:
        raise typer.BadParameter(f"--batch-sizes {batch_sizes}: ascending numbers up to {examples} examples are needed")
    # In a second epoch every contender sees the examples in another order.
    compared = 2 * Workload.checked_steps * sizes[0]
    if compared > examples:
        raise typer.BadParameter(f"--examples {examples}: losses of the first {compared} examples are compared")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=console) as progress:
        task = progress.add_task("environment of PyTorch")
        make_environment()
        workload = Workload(scratch, criteo_rows(scale), examples, sizes, seconds)
        path = str(workload.save())
        progress.update(task, description="writing data and initial values")
        run([sys.executable, "-m", "benchmarks.click_model", "write", path])
        runs: dict[str, list[dict]] = {name: [] for name in _COMMANDS}
        for turn in range(rounds):
            for name, command in _COMMANDS.items():
                progress.update(task, description=f"{name}, round {turn + 1} of {rounds}")
                runs[name].append(json.loads(run([*command, path, *_OPTIONS.get(name, [])]).splitlines()[-1]))
                rates = {k: [round(x) for x in v.values()] for k, v in runs[name][-1]["rates"].items()}
                console.print(f"round {turn + 1}: {rates}", highlight=False)
    losses = _compared_losses(runs)
    report = _report(workload, rounds, runs, losses, scale)
    print(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report + "\n")


def _compared_losses(runs: Mapping[str, list[dict]]) -> dict[str, list[float]]:
    """Returns the losses of the contenders that saw the same batches, after comparing them.

    Raises:
        DifferentWork: The losses differ by more than the order of summation explains.
    """
    losses = {name: of_name[0]["losses"] for name, of_name in runs.items() if of_name[0]["losses"]}
    for half in zip(*losses.values(), strict=True):
        if max(half) - min(half) > _LOSS_TOLERANCE * max(half):
            raise DifferentWork(f"the contenders do not train the same model, so ratios are meaningless: {losses}")
    return losses


def _medians(runs: Mapping[str, list[dict]], key: str) -> dict[str, dict[int, float]]:
    """Medians over the runs, by measurement and batch size."""
    return {
        name: {int(size): statistics.median(run[key][name][size] for run in of_contender) for size in by_size}
        for of_contender in runs.values()
        for name, by_size in of_contender[0][key].items()
    }


def _report(
    workload: Workload, rounds: int, runs: Mapping[str, list[dict]], losses: Mapping[str, list[float]], scale: float
) -> str:
    rates, waiting = _medians(runs, "rates"), _medians(runs, "waiting")
    sizes = workload.batch_sizes
    order = [
        _OWN,
        *(name for name in rates if name.startswith("the loop") and name != _OWN),
        _KERAS,
        _TORCH_NAME,
        _TORCH_BFLOAT16,
    ]
    lines = [
        "# Training a DLRM on two frameworks",
        "",
        f"`python -m benchmarks.training --batch-sizes {','.join(map(str, sizes))} --seconds {workload.seconds:g} "
        f"--rounds {rounds} --scale {scale:g} --examples {workload.num_examples}`",
        "",
        f"{len(workload.rows)} tables of {workload.rows[0]:,} to {workload.rows[-1]:,} rows, geometric, "
        f"{sum(workload.rows):,} in total, width {workload.dim}: {workload.table_bytes / 1e9:.2f} GB, and the same "
        f"size for Adagrad's accumulators. Bottom MLP {workload.num_numbers}-{'-'.join(map(str, workload.bottom))}-"
        f"{workload.dim}, top MLP {'-'.join(map(str, workload.top))}-1, float32. Uniform ids. Adagrad for all weights.",
        "",
        f"Examples per second, medians of {rounds}:",
        "",
        f"| batch | {' | '.join(map(str, sizes))} |",
        f"|---|{'---:|' * len(sizes)}",
        *(f"| {name} | {' | '.join(f'{rates[name][size]:,.0f}' for size in sizes)} |" for name in order),
        "",
        "`Keras fit` and `PyTorch` read batches from memory. The loop is therefore also measured that way.",
        "",
        "| ratio |" + "".join(f" {size} |" for size in sizes),
        f"|---|{'---:|' * len(sizes)}",
        *(
            f"| {one} : {other} | {' | '.join(f'{rates[one][size] / rates[other][size]:.2f}' for size in sizes)} |"
            for one, other in (
                (_OWN, _BARE),
                (_OWN, _KERAS),
                (_OWN, _TORCH_NAME),
                (_COMPILED, _OWN),
                (_COMPILED, _TORCH_NAME),
                (_BFLOAT16, _OWN),
                (_BFLOAT16, _TORCH_NAME),
                (_BFLOAT16, _TORCH_BFLOAT16),
            )
        ),
        "",
        "Share of time in which the step waits for its batch, in percent. Above 50, the input is the bottleneck:",
        "",
        f"| batch | {' | '.join(map(str, sizes))} |",
        f"|---|{'---:|' * len(sizes)}",
        *(
            f"| {name} | {' | '.join(f'{waiting[name][size]:.0f}' for size in sizes)} |"
            for name in order
            if name in waiting
        ),
        "",
        "Peak resident memory of the process in GB (tables, accumulators, data, and creating them):",
        "",
        f"| batch | {' | '.join(map(str, sizes))} |",
        f"|---|{'---:|' * len(sizes)}",
        *(
            f"| {name} | "
            + " | ".join(f"{statistics.median(run['peaks'][str(s)] for run in runs[key]) / 1e9:.2f}" for s in sizes)
            + " |"
            for key, name in (("loop", _OWN), ("keras", _KERAS), ("torch", _TORCH_NAME))
        ),
        "",
        f"All contenders in float32 train the same model. Mean log loss of steps 1-{workload.checked_steps} and "
        f"{workload.checked_steps + 1}-{2 * workload.checked_steps} at batch {sizes[0]}: "
        + "; ".join(f"{name} {first:.6f}, {second:.6f}" for name, (first, second) in losses.items())
        + ".",
        "",
        measured_on(_PACKAGES, f"torch {TORCH}"),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
