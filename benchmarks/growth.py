"""Measures how seconds and peak memory of every component grow with the number of rows.

python -m benchmarks.growth --rows 250000 --rows 1000000 --rows 4000000 --clicks 250000 --clicks 1000000

Ratings are those of `benchmarks.data_path`, of 50,000 users and 20,000 items whatever the number of rows; clicks are
generated in Criteo's format, with 13 numbers and 26 categories of 33,000 tokens in all. A small DLRM is trained for one
epoch. Every run is a new process under the same memory budget. Vocabularies have the same size or nearly so at any
number of rows: what grows, grows with the rows. Users (`--users`) are the opposite: two ratings of each, so that the
vocabulary grows as fast as the rows. Interactions (`--interactions`) are of 20,000 users with a million items. A
two-tower model is trained on them for 300 steps, and then recommends to every user, ten items of the million.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console

from benchmarks.data_path_workload import write_ratings
from benchmarks.line_charts import LineChart, as_svg
from benchmarks.machine import measured_on
from benchmarks.torch_environment import ROOT, ContenderFailed

_RESULT = Path(__file__).parent / "results" / "growth.md"
_PLOT = ROOT / "docs" / "growth.svg"
_PACKAGES = ("tfx", "tensorflow", "apache-beam", "pyarrow")
_RATINGS, _CLICKS, _USERS, _INTERACTIONS = "ratings", "clicks", "users", "interactions"
_RATINGS_OF_A_USER = 2
_USERS_WHO_INTERACT, _ITEMS = 20_000, 1_000_000
# Of the interactions, in seconds since 1970: one each second.
_BEGIN = 1_700_000_000
_RECOMMEND = "recommend --all-users"
# What the claim allows a peak to grow by, from the fewest to the most rows.
_FLAT = 0.2
# Below this a component's time is that of its fixed part.
_SECONDS_WORTH_COMPARING = 5.0

_EXPERIMENTS = {
    _RATINGS: """\
name: growth-ratings
data:
  interactions: {{files: {directory}/ratings.csv, user: user, item: item, label: rating, numeric: [number]}}
  task: rating
  label_range: [1, 5]
  slices: []
  split: {{by: random, eval_fraction: 0.1, test_fraction: 0.1}}
model: {{type: dlrm, bottom: [16], top: [64]}}
embeddings: {{dim: 16}}
training: {{epochs: 1, embedding_optimizer: {{name: lazy_adam, learning_rate: 0.002}}}}
evaluation: {{beat_baseline: false}}
memory_gb: {memory_gb}
""",
    _CLICKS: """\
name: growth-clicks
data: {{dataset: synthetic-criteo, generated: {{rows: {rows}}}}}
model: {{type: dlrm, bottom: [64], top: [64]}}
embeddings: {{dim: 8}}
training: {{epochs: 1, batch_size: 2048}}
evaluation: {{beat_baseline: false}}
memory_gb: {memory_gb}
""",
    _INTERACTIONS: """\
name: growth-interactions
data:
  interactions: {{files: {directory}/interactions.parquet, user: user, item: item, time: time}}
  task: retrieval
  split: {{by: random, eval_fraction: 0.0001, test_fraction: 0.0001}}
model: {{type: two_tower}}
embeddings: {{dim: 16}}
training: {{steps: 300, embedding_optimizer: {{name: lazy_adam, learning_rate: 0.002}}}}
evaluation: {{beat_baseline: false, cutoffs: [10]}}
memory_gb: {memory_gb}
""",
}


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        number: Of rows, or of users.
        seconds: By component, and of the bulk recommendation where there is one.
        peak: Resident memory in GB, likewise.
        features: Where the Trainer kept the transformed split, and its size.
        tokens_gb: Size of the vocabularies' files.
    """

    number: int
    seconds: dict[str, float]
    peak: dict[str, float]
    features: str
    tokens_gb: float

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def largest_peak(self) -> float:
        return max(self.peak.values())


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Number of ratings; may be given several times.")] = None,
    clicks: Annotated[list[int] | None, typer.Option(help="Number of clicks; may be given several times.")] = None,
    users: Annotated[list[int] | None, typer.Option(help="Number of users with two ratings each; likewise.")] = None,
    interactions: Annotated[
        list[int] | None, typer.Option(help="Number of interactions with a million items; likewise.")
    ] = None,
    memory_gb: Annotated[float, typer.Option(help="Budget of every run.")] = 2.5,
    output: Annotated[Path, typer.Option(help="File for the result tables.")] = _RESULT,
    plot: Annotated[Path, typer.Option(help="File for the plot.")] = _PLOT,
) -> None:
    """Measure all sizes; print tables, and write them and a plot to files."""
    asked = {_RATINGS: rows, _CLICKS: clicks, _USERS: users, _INTERACTIONS: interactions}
    sizes = {kind: sorted(numbers or []) for kind, numbers in asked.items()}
    if not any(sizes.values()):
        sizes = {_RATINGS: [250_000, 1_000_000, 4_000_000], _CLICKS: [250_000, 1_000_000]}
    console = Console(stderr=True)
    results: dict[str, list[Measured]] = {}
    for kind, numbers in sizes.items():
        for number in numbers:
            with tempfile.TemporaryDirectory() as scratch, console.status(f"{number:,} {kind}"):
                measured = _measured(kind, number, memory_gb, Path(scratch))
            results.setdefault(kind, []).append(measured)
            console.print(
                f"{number:,} {kind}: {measured.total_seconds:.1f} s, {measured.largest_peak:.2f} GB", highlight=False
            )
    report = _report(results, memory_gb, plot)
    print(report)
    for file, text in ((output, report + "\n"), (plot, render_plot(results))):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _measured(kind: str, number: int, memory_gb: float, scratch: Path) -> Measured:
    """Generates data and runs the pipeline on it in a new process.

    Raises:
        ContenderFailed: The run failed.
    """
    data = scratch / "data"
    data.mkdir()
    recspan = str(Path(sys.executable).parent / "recspan")
    if kind == _CLICKS:
        _run([recspan, "data", "generate-clicks", "--rows", str(number), "--data-dir", str(data / "clicks")])
    elif kind == _USERS:
        write_ratings(data / "ratings.csv", _RATINGS_OF_A_USER * number, num_users=number)
    elif kind == _INTERACTIONS:
        _write_interactions(data / "interactions.parquet", number)
    else:
        write_ratings(data / "ratings.csv", number)
    experiment = scratch / "experiment.yaml"
    experiment.write_text(
        _EXPERIMENTS.get(kind, _EXPERIMENTS[_RATINGS]).format(directory=data, rows=number, memory_gb=memory_gb)
    )
    root = ("--root", str(scratch / "runs"))
    command = [recspan, "pipeline", "run", "--config", str(experiment), *root]
    _run([*command, *(("--data-dir", str(data / "clicks")) if kind == _CLICKS else ())])
    (summary_file,) = (scratch / "runs" / "runs").glob("*/summary.json")
    components = json.loads(summary_file.read_text())["components"]
    log = (summary_file.parent / "log.txt").read_text()
    (features,) = {line.partition(" rows: ")[2] for line in log.splitlines() if ": features of " in line}
    vocabularies = (scratch / "runs").glob("**/transform_fn/assets/*")
    seconds = {each["component"]: each["seconds"] for each in components}
    peaks = {each["component"]: each["peak_memory_gb"] for each in components}
    if kind == _INTERACTIONS:
        begun = time.monotonic()
        peaks[_RECOMMEND] = _run(
            [recspan, "recommend", "--all-users", *root, "--output", str(scratch / "recs.parquet")]
        )
        seconds[_RECOMMEND] = time.monotonic() - begun
    return Measured(
        number,
        seconds,
        peaks,
        features.partition(" (")[0].partition(" below")[0],
        sum(file.stat().st_size for file in vocabularies) / 1e9,
    )


def _write_interactions(path: Path, number: int) -> None:
    """Every user takes items by chance, in turn with the others."""
    random = np.random.default_rng(0)
    rows = np.arange(number)
    columns = {"user": rows % _USERS_WHO_INTERACT, "item": random.integers(_ITEMS, size=number), "time": _BEGIN + rows}
    pq.write_table(pa.table(columns), path)


def _run(command: list[str]) -> float:
    """Runs a command and gives the peak of its resident memory in GB."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise ContenderFailed(f"{' '.join(command)} failed:\n{output.read()[-5000:]}")
    return usage.ru_maxrss * 1024 / 1e9


def _report(results: dict[str, list[Measured]], memory_gb: float, plot: Path) -> str:
    options = [
        f"--{'rows' if kind == _RATINGS else kind} {each.number}" for kind, runs in results.items() for each in runs
    ]
    lines = [
        "# Time and memory by the number of rows",
        "",
        f"`python -m benchmarks.growth {' '.join(options)} --memory-gb {memory_gb:g}`",
        "",
        " ".join(line.strip() for line in (__doc__ or "").split("\n\n")[2].splitlines()),
        "",
        f"![Seconds and peak memory by rows](../../docs/{plot.name})",
    ]
    for kind, runs in results.items():
        lines += ["", f"## {kind.title()}", "", *_table(runs), "", *_verdict(kind, runs)]
    return "\n".join([*lines, "", measured_on(_PACKAGES)])


def _table(runs: list[Measured]) -> list[str]:
    """Seconds and peaks by component, in two columns for each number of rows."""
    header = " | ".join(f"{run.number:,}: s | GB" for run in runs)
    lines = [f"| component | {header} |", f"|---|{'---:|' * 2 * len(runs)}"]
    for name in runs[0].seconds:
        cells = " | ".join(f"{run.seconds[name]:.1f} | {run.peak[name]:.2f}" for run in runs)
        lines.append(f"| {name} | {cells} |")
    sums = " | ".join(f"**{run.total_seconds:.1f}** | **{run.largest_peak:.2f}**" for run in runs)
    features = " | ".join(f"{run.features} | " for run in runs)
    tokens = " | ".join(f" | {run.tokens_gb:.3f}" for run in runs)
    return [
        *lines,
        f"| **sum, largest peak** | {sums} |",
        f"| transformed training split | {features} |",
        f"| vocabularies' files, GB | {tokens} |",
    ]


def _verdict(kind: str, runs: list[Measured]) -> list[str]:
    """Which components take more than linear time, or a peak that is not flat, between the fewest and the most rows."""
    if len(runs) < 2:
        return []
    first, last = runs[0], runs[-1]
    factor = last.number / first.number
    slow = [
        f"{name} ({last.seconds[name] / first.seconds[name]:.1f} times)"
        for name in first.seconds
        if first.seconds[name] > _SECONDS_WORTH_COMPARING and last.seconds[name] > factor * first.seconds[name]
    ]
    grown = [
        f"{name} ({100 * (last.peak[name] / first.peak[name] - 1):+.0f}%)"
        for name in first.peak
        if last.peak[name] > (1 + _FLAT) * first.peak[name]
    ]
    return [
        f"From {first.number:,} to {last.number:,} {kind}, {factor:g} times as many, the whole takes "
        f"{last.total_seconds / first.total_seconds:.1f} times as long; components of more than "
        f"{_SECONDS_WORTH_COMPARING:g} seconds that take more than {factor:g} "
        f"times as long: {', '.join(slow) or 'none'}. The largest peak grows by "
        f"{100 * (last.largest_peak / first.largest_peak - 1):.0f}%; components whose peak grows by more than "
        f"{100 * _FLAT:.0f}%: {', '.join(grown) or 'none'}."
    ]


def render_plot(results: dict[str, list[Measured]]) -> str:
    """An SVG: seconds of the whole, and the largest peak, by rows or users."""
    seconds = {kind: [(run.number, run.total_seconds) for run in runs] for kind, runs in results.items()}
    peaks = {kind: [(run.number, run.largest_peak) for run in runs] for kind, runs in results.items()}
    across = "rows, or users"
    return as_svg(
        [
            LineChart("seconds, all steps together", across, seconds, logarithmic=True),
            LineChart("largest peak, GB", across, peaks),
        ]
    )


if __name__ == "__main__":
    typer.run(main)
