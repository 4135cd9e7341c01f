"""Measures the whole way from a CSV file to test metrics: stock TFX, this product, and Polars with PyTorch.

python -m benchmarks.data_path --rows 1000 --rows 1000000

All read the same file, split it 8:1:1, learn vocabularies, train the same small DLRM for one epoch with Adam in batches
of 1,024, and measure RMSE on the test split. Stock TFX and the product also compute statistics, validate and export;
the product in addition compares with a naive baseline, verifies the exported model in a new process and pushes it.
Contenders run one after another, each in a new process. The product's Transform works beside its StatisticsGen, so all
components take less than the sum of their seconds. Memory is that of one process; of the product's others, one verifies
the model and holds TensorFlow, and one draws charts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.data_path_workload import BOTTOM, DENSE_RATE, DIM, TABLE_RATE, TOP, write_ratings
from benchmarks.line_charts import LineChart, as_svg
from benchmarks.machine import measured_on
from benchmarks.torch_environment import PYTHON, ROOT, TORCH, ContenderFailed, make_environment

_RESULT = Path(__file__).parent / "results" / "data_path.md"
_PLOT = ROOT / "docs" / "data_path.svg"
_PACKAGES = ("tfx", "tensorflow", "apache-beam", "pyarrow")
_STOCK, _OWN, _TORCH = "stock TFX", "this product", "Polars + PyTorch"
# `ru_maxrss` counts kilobytes on Linux.
_RSS_UNIT = 1024
_EXPERIMENT = """\
name: data-path
data:
  interactions: {{files: {file}, user: user, item: item, label: rating, numeric: [number]}}
  task: rating
  label_range: [1, 5]
  slices: []
  split: {{by: random, eval_fraction: 0.1, test_fraction: 0.1}}
model: {{type: dlrm, bottom: [{bottom}], top: [{top}]}}
embeddings: {{dim: {dim}}}
training:
  epochs: 1
  dense_optimizer: {{name: adam, learning_rate: {dense_rate}}}
  embedding_optimizer: {{name: lazy_adam, learning_rate: {table_rate}}}
evaluation: {{beat_baseline: false}}
"""


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Number of rows; may be given several times.")] = None,
    stock_up_to: Annotated[int, typer.Option(help="Stock TFX is left out where there are more rows.")] = 1_000_000,
    output: Annotated[Path, typer.Option(help="File for the result tables.")] = _RESULT,
    plot: Annotated[Path, typer.Option(help="File for the plot.")] = _PLOT,
) -> None:
    """Measure all contenders, print tables, and write them and a plot to files."""
    numbers = rows or [1_000, 1_000_000]
    console = Console(stderr=True)
    with console.status("environment of PyTorch"):
        make_environment()
    results = {}
    for number in numbers:
        with tempfile.TemporaryDirectory() as scratch, console.status(f"{number:,} rows") as status:
            (Path(scratch) / "csv").mkdir()
            file = Path(scratch, "csv", "ratings.csv")
            write_ratings(file, number)
            results[number] = {}
            for name, command in _commands(file, Path(scratch)).items():
                if name == _STOCK and number > stock_up_to:
                    continue
                status.update(f"{number:,} rows: {name}")
                results[number][name] = _measured(name, command, Path(scratch))
                found = results[number][name]
                console.print(f"{number:,} rows, {name}: {found['wall']:.1f} s, {found['peak'] / 1e9:.2f} GB")
    report = _report(results, numbers, stock_up_to, plot)
    print(report)
    for path, text in ((output, report + "\n"), (plot, render_plot(results))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _commands(file: Path, scratch: Path) -> dict[str, list[str]]:
    experiment = scratch / "experiment.yaml"
    experiment.write_text(
        _EXPERIMENT.format(file=file, bottom=BOTTOM, top=TOP, dim=DIM, dense_rate=DENSE_RATE, table_rate=TABLE_RATE)
    )
    recspan = str(Path(sys.executable).parent / "recspan")
    return {
        _TORCH: [str(PYTHON), "-m", "benchmarks.columnar_torch", str(file)],
        _OWN: [recspan, "pipeline", "run", "--config", str(experiment), "--root", str(scratch / "runs")],
        _STOCK: [sys.executable, "-m", "benchmarks.stock_pipeline", str(file.parent), str(scratch / "stock")],
    }


def _measured(name: str, command: list[str], scratch: Path) -> dict:
    """Runs a contender; its seconds by step, from the first step to the last, and with imports; peak bytes and RMSE.

    Raises:
        ContenderFailed: It failed.
    """
    started = time.perf_counter()
    with open(scratch / "stdout", "w+") as stdout, open(scratch / "stderr", "w+") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        stdout.seek(0)
        stderr.seek(0)
        if status:
            raise ContenderFailed(f"{' '.join(command)} failed:\n{stdout.read()[-2000:]}\n{stderr.read()[-3000:]}")
        printed = stdout.read()
    if name == _OWN:
        (summary_file,) = (scratch / "runs" / "runs").glob("*/summary.json")
        summary = json.loads(summary_file.read_text())
        components = summary["components"]
        seconds = {each["component"]: each["seconds"] for each in components}
        # Some run beside others.
        elapsed = max(each["begun"] + each["seconds"] for each in components)
        metrics = summary["evaluation"]["slices"][0]
    else:
        found = json.loads(printed.splitlines()[-1])
        seconds, metrics = found["seconds"], found["metrics"]
        elapsed = sum(seconds.values())
    peak = usage.ru_maxrss * _RSS_UNIT
    return {"seconds": seconds, "elapsed": elapsed, "wall": wall, "peak": peak, "rmse": metrics["rmse"]}


def _report(results: dict[int, dict[str, dict]], numbers: list[int], stock_up_to: int, plot: Path) -> str:
    options = " ".join(f"--rows {number}" for number in numbers)
    lines = [
        "# From a CSV file to test metrics",
        "",
        f"`python -m benchmarks.data_path {options} --stock-up-to {stock_up_to}`",
        "",
        " ".join(line.strip() for line in (__doc__ or "").split("\n\n")[2].splitlines()),
        "",
        f"![Seconds and peak memory by rows](../../docs/{plot.name})",
    ]
    for number, of_rows in results.items():
        lines += ["", f"## {number:,} rows", "", *_table(of_rows)]
    lines += [
        "",
        measured_on(_PACKAGES, f"torch {TORCH}"),
    ]
    return "\n".join(lines)


def render_plot(results: dict[int, dict[str, dict]]) -> str:
    """An SVG: seconds of the whole command, and its peak, of each contender by rows."""
    names = dict.fromkeys(name for of_rows in results.values() for name in of_rows)

    def lines(value: Callable[[dict], float]) -> dict[str, list[tuple[float, float]]]:
        return {
            name: [(number, value(of_rows[name])) for number, of_rows in results.items() if name in of_rows]
            for name in names
        }

    return as_svg(
        [
            LineChart("seconds, whole command", "rows", lines(lambda found: found["wall"]), logarithmic=True),
            LineChart("peak memory, GB", "rows", lines(lambda found: found["peak"] / 1e9)),
        ]
    )


def _table(of_rows: dict[str, dict]) -> list[str]:
    """Seconds by component and in all, memory and metrics, in a column for each contender."""
    own = of_rows[_OWN]
    lines = [f"| | {' | '.join(of_rows)} |", f"|---|{'---:|' * len(of_rows)}"]
    by_component = (of_rows[name]["seconds"] for name in (_OWN, _STOCK) if name in of_rows)
    for step in dict.fromkeys(step for seconds in by_component for step in seconds):
        cells = (f"{found['seconds'][step]:.1f}" if step in found["seconds"] else "" for found in of_rows.values())
        lines.append(f"| {step}, s | {' | '.join(cells)} |")
    rows = {
        "**from the first component or step to the last, s**": [
            f"**{each['elapsed']:.1f}**" for each in of_rows.values()
        ],
        "the same, product = 1": [f"{each['elapsed'] / own['elapsed']:.2f}" for each in of_rows.values()],
        "whole command with imports, s": [f"{found['wall']:.1f}" for found in of_rows.values()],
        "whole command, product = 1": [f"{found['wall'] / own['wall']:.2f}" for found in of_rows.values()],
        "peak resident memory, GB": [f"{found['peak'] / 1e9:.2f}" for found in of_rows.values()],
        "RMSE on the test split": [f"{found['rmse']:.4f}" for found in of_rows.values()],
    }
    return [*lines, *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows.items())]


if __name__ == "__main__":
    typer.run(main)
