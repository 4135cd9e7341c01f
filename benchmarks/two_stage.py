"""Compares the latency of a two-stage model on one core with that of its parts: the matrix product and the ranking.

python -m benchmarks.two_stage

Trains a retrieval and a ranking model on generated clicks for one epoch each, with the product's commands, and joins
them. The floor is what every two-stage model must do: multiply the query's vector with those of all items, take the
best candidates, and score them with the ranking model.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
import typer
from rich.console import Console

from benchmarks.machine import measured_on
from components.pusher.publish import latest_version
from components.pusher.requests import request
from components.retrieval_index.exact import BY_COLUMN as RECOMMEND
from components.two_stage.candidates import ExactCandidates
from components.two_stage.model import save_two_stage
from pipeline.ask.versions import load_model, raw_directory, read_summary
from pipeline.bench.serve import latencies, one_core
from pipeline.lineage import examples_of
from pipeline.two_stage.combine import item_columns
from trainer_module.data.example_files import read_file, serialized
from trainer_module.models.signatures import BY_COLUMN as PREDICT

_RESULT = Path(__file__).parent / "results" / "two_stage.md"
_PACKAGES = ("tensorflow",)
_DIM, _REQUESTS = 64, 16
_PRODUCT, _RANKING, _BOTH = "matrix product and its best", "ranking model", "both stages"
_CLICKS_PER_ITEM, _CLICKS_PER_USER = 3, 15
_EXPERIMENT = """\
name: {name}
data:
  interactions: {{files: {directory}/clicks.csv, user: user, item: item, time: ts, context: [device]{label}}}
  items: {{files: {directory}/items.csv, key: item, categorical: [category], numeric: [price]}}
  task: {task}
  split: {{by: leave-last-out}}
model: {model}
embeddings: {{dim: {dim}}}
training: {{epochs: 1, batch_size: 4096}}
evaluation: {{beat_baseline: false}}
"""


def main(
    items: Annotated[int, typer.Option(help="Number of items.", min=1000)] = 100_000,
    candidates: Annotated[int, typer.Option(help="Items that are ranked for each query.", min=1)] = 100,
    seconds: Annotated[float, typer.Option(help="Length of each measurement.", min=0.1)] = 5.0,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Train and join both models, measure the whole and its parts, print a table and write it to a file."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch, console.status("data") as status:
        _write_clicks(Path(scratch), items)
        models = {}
        for task, model in (("retrieval", "{type: two_tower}"), ("click", "{type: dlrm}")):
            status.update(f"training the model of task {task}")
            models[task] = _trained(Path(scratch), task, model)
        # TensorFlow starts its threads with its first operation.
        with one_core():
            status.update("joining")
            directory = Path(scratch, "model")
            _join(models["retrieval"], models["click"], candidates, directory)
            status.update("measuring")
            found = _measure(directory, models["retrieval"], models["click"], items, candidates, seconds)
    report = _report(found, f"--items {items} --candidates {candidates} --seconds {seconds:g}", items, candidates)
    print(report)
    output.write_text(report + "\n")


def _write_clicks(directory: Path, num_items: int) -> None:
    random = np.random.default_rng(0)
    count = num_items * _CLICKS_PER_ITEM
    # Every item is clicked, so that all are candidates.
    item = np.concatenate([np.arange(num_items), random.integers(num_items, size=count - num_items)])
    user = random.integers(count // _CLICKS_PER_USER, size=count)
    clicked = random.integers(2, size=count)
    with open(directory / "clicks.csv", "w") as file:
        file.write("user,item,ts,device,clicked\n")
        for number, (u, i, c) in enumerate(zip(user.tolist(), item.tolist(), clicked.tolist(), strict=True)):
            file.write(f"u{u},i{i},{1_700_000_000 + number},d{number % 3},{c}\n")
    with open(directory / "items.csv", "w") as file:
        file.write("item,category,price\n")
        for number in range(num_items):
            file.write(f"i{number},c{number % 50},{number % 97}.5\n")


def _trained(directory: Path, task: str, model: str) -> Path:
    """Runs the pipeline; the pushed version."""
    experiment = directory / f"{task}.yaml"
    label = ", label: clicked" if task == "click" else ""
    experiment.write_text(
        _EXPERIMENT.format(name=task, directory=directory, label=label, task=task, model=model, dim=_DIM)
    )
    recspan = str(Path(sys.executable).parent / "recspan")
    command = [recspan, "pipeline", "run", "--config", str(experiment), "--root", str(directory / "runs")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    version = latest_version(directory / "runs" / "serving" / task)
    assert version is not None
    return version


def _join(retrieval: Path, ranking: Path, candidates: int, directory: Path) -> None:
    summary = read_summary(ranking)
    model = load_model(ranking, PREDICT)
    columns, ids = item_columns(raw_directory(summary, None), summary, model)
    save_two_stage(ExactCandidates(load_model(retrieval, RECOMMEND)), model, columns, ids, candidates, str(directory))


def _measure(
    both: Path, retrieval: Path, ranking: Path, items: int, candidates: int, seconds: float
) -> dict[str, np.ndarray]:
    """Milliseconds of each call, by what was called."""
    vectors = tf.Variable(tf.random.normal([items, _DIM]))

    @tf.function(input_signature=[tf.TensorSpec([1, _DIM], tf.float32)])
    def product(query):
        best = tf.math.top_k(tf.matmul(query, vectors, transpose_b=True), candidates)
        return {"scores": best.values, "places": best.indices}

    queries, rows = _examples(retrieval, "queries", _REQUESTS), _examples(ranking, "train", _REQUESTS * candidates)
    calls = {
        _PRODUCT: (product, [{"query": tf.random.normal([1, _DIM])} for _ in range(_REQUESTS)]),
        _RANKING: _calls(
            ranking, PREDICT, [rows[start : start + candidates] for start in range(0, len(rows), candidates)]
        ),
        "retrieval model": _calls(retrieval, RECOMMEND, [[query] for query in queries]),
        _BOTH: _calls(both, RECOMMEND, [[query] for query in queries]),
    }
    return {name: 1000 * latencies(function, requests, seconds) for name, (function, requests) in calls.items()}


def _calls(model: Path, signature: str, batches: list[list[bytes]]) -> tuple[Any, list[dict[str, tf.Tensor]]]:
    function = load_model(model, signature).signatures[signature]
    specs = function.structured_input_signature[1]
    return function, [request(signature, specs, batch) for batch in batches]


def _examples(version: Path, split: str, count: int) -> list[bytes]:
    files = sorted(tf.io.gfile.glob(f"{examples_of(version)}/Split-{split}/*"))
    batches = (batch for file in files for batch in read_file(file))
    return serialized(next(batch for batch in batches if batch.num_rows >= count).slice(0, count))


def _report(found: dict[str, np.ndarray], options: str, items: int, candidates: int) -> str:
    floor = np.median(found[_PRODUCT]) + np.median(found[_RANKING])
    lines = [
        "# Latency of a two-stage model",
        "",
        f"`python -m benchmarks.two_stage {options}`",
        "",
        f"One query at a time on one core; {items:,} items with vectors of {_DIM} numbers; {candidates} candidates:",
        "",
        "| | p50, ms | p99, ms | calls |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {np.median(of):.2f} | {np.percentile(of, 99):.2f} | {len(of):,} |"
            for name, of in found.items()
        ),
        "",
        f"Both stages take {np.median(found[_BOTH]) / floor:.2f} times the {floor:.2f} ms of the matrix product and "
        "the ranking model (medians, from tensors to answers).",
        "",
        measured_on(_PACKAGES),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
