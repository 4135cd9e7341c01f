"""Compares the latency of a two-stage model on one core with that of its parts: the matrix product and the ranking.

python -m benchmarks.two_stage

Trains a retrieval and a ranking model on generated clicks for one epoch each, with the product's commands, and joins
them: with exact candidates, and with approximate ones from several numbers of cells. The floor is what every model with
exact candidates must do: multiply the query's vector with those of all items, take the best candidates, and score them
with the ranking model. Users mostly click items of one category, so that the items' vectors have cells to be found in.
"""

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
import typer
from rich.console import Console

from benchmarks.machine import measured_on
from components.pusher.publish import latest_version
from components.pusher.requests import request
from components.retrieval_index.config import K
from components.retrieval_index.exact import BY_COLUMN as RECOMMEND
from components.retrieval_index.exact import IDS
from components.two_stage.candidates import ApproximateCandidates, CandidateSearch, Cells, ExactCandidates, read_cells
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
_PRODUCT, _RANKING, _EXACT = "matrix product and its best", "ranking model", "both stages, exact candidates"
_CLICKS_PER_ITEM, _CLICKS_PER_USER = 3, 15
_CATEGORIES = 50
# Share of the clicks on items of the user's own category.
_OWN_CATEGORY = 0.8
# Queries whose candidates are compared, and how many of them a request asks for at once.
_COMPARED, _AT_ONCE = 128, 64
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
{sections}"""
# The benchmark measures the recall that the gate would judge.
_INDEX = "retrieval_index: {faiss: {type: ivf}, min_recall: 0}\n"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of a model or a part of one.

    Attributes:
        milliseconds: Of each call, `[calls]`.
        recall: Mean share of the exact candidates that it finds; None for parts.
    """

    milliseconds: np.ndarray
    recall: float | None = None

    @property
    def median(self) -> float:
        """Median of the milliseconds."""
        return float(np.median(self.milliseconds))


def main(
    items: Annotated[int, typer.Option(help="Number of items.", min=1000)] = 100_000,
    candidates: Annotated[int, typer.Option(help="Items that are ranked for each query.", min=1)] = 100,
    nprobe: Annotated[list[int] | None, typer.Option(help="Cells that an approximate search visits.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of each measurement.", min=0.1)] = 5.0,
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
) -> None:
    """Train and join both models, measure the whole and its parts, print a table and write it to a file."""
    console, nprobe = Console(stderr=True), nprobe or [16, 64, 256]
    with tempfile.TemporaryDirectory() as scratch, console.status("data") as status:
        _write_clicks(Path(scratch), items)
        models = {}
        for task, model, sections in (("retrieval", "{type: two_tower}", _INDEX), ("click", "{type: dlrm}", "")):
            status.update(f"training the model of task {task}")
            models[task] = _trained(Path(scratch), task, model, sections)
        # TensorFlow starts its threads with its first operation.
        with one_core():
            status.update("joining")
            whole = _join_all(models["retrieval"], models["click"], candidates, nprobe, Path(scratch))
            status.update("measuring")
            found = _measure(whole, models["retrieval"], models["click"], items, candidates, seconds)
    cells = "".join(f" --nprobe {number}" for number in nprobe)
    options = f"--items {items} --candidates {candidates}{cells} --seconds {seconds:g}"
    report = _report(found, options, items, candidates)
    print(report)
    output.write_text(report + "\n")


def _write_clicks(directory: Path, num_items: int) -> None:
    random = np.random.default_rng(0)
    count = num_items * _CLICKS_PER_ITEM
    # Every item is clicked, so that all are candidates.
    item = np.concatenate([np.arange(num_items), random.integers(num_items, size=count - num_items)])
    num_users = count // _CLICKS_PER_USER
    user = random.integers(num_users, size=count)
    of_category = np.minimum(user - user % _CATEGORIES + item % _CATEGORIES, num_users - 1)
    user = np.where(random.random(count) < _OWN_CATEGORY, of_category, user)
    clicked = random.integers(2, size=count)
    with open(directory / "clicks.csv", "w") as file:
        file.write("user,item,ts,device,clicked\n")
        for number, (u, i, c) in enumerate(zip(user.tolist(), item.tolist(), clicked.tolist(), strict=True)):
            file.write(f"u{u},i{i},{1_700_000_000 + number},d{number % 3},{c}\n")
    with open(directory / "items.csv", "w") as file:
        file.write("item,category,price\n")
        for number in range(num_items):
            file.write(f"i{number},c{number % _CATEGORIES},{number % 97}.5\n")


def _trained(directory: Path, task: str, model: str, sections: str) -> Path:
    """Runs the pipeline; the pushed version."""
    experiment = directory / f"{task}.yaml"
    label = ", label: clicked" if task == "click" else ""
    experiment.write_text(
        _EXPERIMENT.format(
            name=task, directory=directory, label=label, task=task, model=model, dim=_DIM, sections=sections
        )
    )
    recspan = str(Path(sys.executable).parent / "recspan")
    command = [recspan, "pipeline", "run", "--config", str(experiment), "--root", str(directory / "runs")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    version = latest_version(directory / "runs" / "serving" / task)
    assert version is not None
    return version


def _join_all(
    retrieval: Path, ranking: Path, candidates: int, nprobe: Sequence[int], directory: Path
) -> dict[str, Path]:
    """SavedModels of both stages, by name: one with exact candidates, and one for each number of cells."""
    searches: dict[str, CandidateSearch] = {_EXACT: ExactCandidates(load_model(retrieval, RECOMMEND))}
    cells = read_cells(str(retrieval))
    for number in (min(each, len(cells.centroids)) for each in nprobe):
        name = f"both stages, candidates from {number:,} of {len(cells.centroids):,} cells"
        searches[name] = _approximate(retrieval, dataclasses.replace(cells, num_probes=number), directory)
    whole = {}
    for number, (name, search) in enumerate(searches.items()):
        whole[name] = directory / f"model-{number}"
        _join(search, ranking, candidates, whole[name])
    return whole


def _approximate(retrieval: Path, cells: Cells, directory: Path) -> ApproximateCandidates:
    # The items have no titles, so that their identifiers take the place.
    titles = dict(zip(cells.ids, cells.ids, strict=True))
    return ApproximateCandidates(load_model(retrieval, RECOMMEND), cells, titles, str(directory / "candidate_ids.txt"))


def _join(search: CandidateSearch, ranking: Path, candidates: int, directory: Path) -> None:
    summary = read_summary(ranking)
    model = load_model(ranking, PREDICT)
    columns, ids = item_columns(raw_directory(summary, None), summary, model)
    save_two_stage(search, model, columns, ids, candidates, str(directory))


def _measure(
    whole: Mapping[str, Path], retrieval: Path, ranking: Path, items: int, candidates: int, seconds: float
) -> dict[str, Measured]:
    """What each call takes, by what is called, and for both stages the candidates found."""
    vectors = tf.Variable(tf.random.normal([items, _DIM]))

    @tf.function(input_signature=[tf.TensorSpec([1, _DIM], tf.float32)])
    def product(query):
        best = tf.math.top_k(tf.matmul(query, vectors, transpose_b=True), candidates)
        return {"scores": best.values, "places": best.indices}

    queries, rows = _examples(retrieval, "queries", _COMPARED), _examples(ranking, "train", _REQUESTS * candidates)
    requests = [[query] for query in queries[:_REQUESTS]]
    calls = {
        _PRODUCT: (product, [{"query": tf.random.normal([1, _DIM])} for _ in range(_REQUESTS)]),
        _RANKING: _calls(
            ranking, PREDICT, [rows[start : start + candidates] for start in range(0, len(rows), candidates)]
        ),
        "retrieval model": _calls(retrieval, RECOMMEND, requests),
        **{name: _calls(model, RECOMMEND, requests) for name, model in whole.items()},
    }
    found = {name: _candidates(model, queries, candidates) for name, model in whole.items()}
    recalls = {name: recall(found[_EXACT], of_model) for name, of_model in found.items()}
    return {
        name: Measured(1000 * latencies(function, requests, seconds), recalls.get(name))
        for name, (function, requests) in calls.items()
    }


def recall(exact: Sequence[set[bytes]], found: Sequence[set[bytes]]) -> float:
    """Mean share of each query's exact candidates that were found."""
    return float(np.mean([len(one & other) / len(one) for one, other in zip(exact, found, strict=True)]))


def _candidates(model: Path, queries: Sequence[bytes], count: int) -> list[set[bytes]]:
    """Identifiers of the candidates that a model of both stages ranks, for each query."""
    batches = [queries[start : start + _AT_ONCE] for start in range(0, len(queries), _AT_ONCE)]
    function, requests = _calls(model, RECOMMEND, batches)
    answers = [function(**(each | {K: tf.constant(count)}))[IDS].numpy() for each in requests]
    return [set(ids) - {b""} for answer in answers for ids in answer.tolist()]


def _calls(model: Path, signature: str, batches: list[list[bytes]]) -> tuple[Any, list[dict[str, tf.Tensor]]]:
    function = load_model(model, signature).signatures[signature]
    specs = function.structured_input_signature[1]
    return function, [request(signature, specs, batch) for batch in batches]


def _examples(version: Path, split: str, count: int) -> list[bytes]:
    files = sorted(tf.io.gfile.glob(f"{examples_of(version)}/Split-{split}/*"))
    batches = (batch for file in files for batch in read_file(file))
    return serialized(next(batch for batch in batches if batch.num_rows >= count).slice(0, count))


def _report(found: Mapping[str, Measured], options: str, items: int, candidates: int) -> str:
    floor = found[_PRODUCT].median + found[_RANKING].median
    lines = [
        "# Latency of a two-stage model",
        "",
        f"`python -m benchmarks.two_stage {options}`",
        "",
        f"One query at a time on one core; {items:,} items with vectors of {_DIM} numbers; {candidates} candidates. "
        f"The last column is the mean share of the exact candidates that are found, over {_COMPARED} queries:",
        "",
        "| | p50, ms | p99, ms | calls | times the floor | exact candidates found |",
        "|---|---:|---:|---:|---:|---:|",
        *(_line(name, of, floor) for name, of in found.items()),
        "",
        f"The floor is {floor:.2f} ms: the matrix product and the ranking model (medians, from tensors to answers).",
        "",
        measured_on(_PACKAGES),
    ]
    return "\n".join(lines)


def _line(name: str, of: Measured, floor: float) -> str:
    p99, calls = np.percentile(of.milliseconds, 99), len(of.milliseconds)
    whole = " | |" if of.recall is None else f" {of.median / floor:.2f} | {of.recall:.3f} |"
    return f"| {name} | {of.median:.2f} | {p99:.2f} | {calls:,} |{whole}"


if __name__ == "__main__":
    typer.run(main)
