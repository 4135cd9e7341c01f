"""Compares exact search with every FAISS index: build time, size, recall and latency.

python -m benchmarks.retrieval_index --items 100000 --items 1000000
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import faiss
import numpy as np
import tensorflow as tf
import typer

from benchmarks.machine import measured_on
from components.retrieval_index import approximate
from components.retrieval_index.catalog import Catalog
from components.retrieval_index.config import FaissConfig, FlatConfig, HnswConfig, IvfConfig, IvfPqConfig
from components.retrieval_index.exact import save_exact_search
from components.retrieval_index.recall import recall
from components.retrieval_index.towers import load_towers
from trainer_module.models.signatures import EMBED_CANDIDATES, EMBED_QUERIES, EMBED_QUERY, EMBEDDING

_RESULT = Path(__file__).parent / "results" / "retrieval_index.md"
_DIM, _K, _QUERIES, _BATCH = 64, 100, 500, 64
_STARTS = range(0, _QUERIES, _BATCH)
# Vectors of a trained model form groups: number of groups, and spread of a group around its centre.
_GROUPS, _SPREAD = 1000, 0.7
_CONFIGS: tuple[FaissConfig, ...] = (
    FlatConfig(),
    IvfConfig(),
    IvfConfig(nprobe=64),
    IvfPqConfig(m=16, nprobe=64),
    HnswConfig(),
)

app = typer.Typer(add_completion=False)

# Maps query vectors `[batch, dim]` to the scores of the best candidates and their rows, each `[batch, k]`.
Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Measured:
    """Measurements of one search method.

    Attributes:
        name: Name in the table.
        build_seconds: Time to build and write the index.
        megabytes: Size on disk in 10^6 bytes.
        recall: Share of the exact answer that was found.
        single_ms: Median time of a single query.
        batch_ms: Time per query in batches.
    """

    name: str
    build_seconds: float
    megabytes: float
    recall: float
    single_ms: float
    batch_ms: float


@app.command()
def main(
    items: Annotated[list[int], typer.Option(help="Number of items in the catalog; may be repeated.", min=10_000)],
    output: Annotated[Path, typer.Option(help="File for the result table.")] = _RESULT,
    only_saved_models: Annotated[bool, typer.Option(help="Leave FAISS out.")] = False,
) -> None:
    """Measure every index for every catalog size, print a table and write it to a file."""
    table = _table({size: _measure(size, only_saved_models) for size in items}, only_saved_models)
    print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table + "\n")


def _measure(num_items: int, only_saved_models: bool) -> list[Measured]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(_GROUPS, _DIM))
    vectors, queries = _unit_vectors(random, centres, num_items), _unit_vectors(random, centres, _QUERIES)
    names = [str(number) for number in range(num_items)]
    titles = [name.encode() for name in names]
    catalog = Catalog(names, titles, np.zeros(num_items, np.int64), vectors, tf.string)
    with tempfile.TemporaryDirectory() as directory:
        towers = load_towers(_towers(f"{directory}/towers"))
        measured = []
        best_scores = np.empty(0)
        for name, quantize in (("SavedModel, exact", False), ("SavedModel, int8", True)):
            path = f"{directory}/{len(measured)}"
            started = time.monotonic()
            save_exact_search(towers, catalog, _K, directory, path, quantize)
            seconds = time.monotonic() - started
            search = _recommending(path)
            scores, rows = map(np.concatenate, zip(*(search(queries[i : i + _BATCH]) for i in _STARTS), strict=True))
            if not quantize:
                best_scores = scores
            share = float(recall(queries, vectors, rows, best_scores).mean())
            measured.append(_timed(name, search, queries, seconds, path, share))
            print(measured[-1], flush=True)
        if only_saved_models:
            return measured
        for config in _CONFIGS:
            measured.append(_approximate(config, catalog, queries, best_scores, f"{directory}/{len(measured)}"))
            print(measured[-1], flush=True)
    return measured


def _recommending(directory: str) -> Search:
    """Search by the SavedModel in a directory, whose identifiers are row numbers."""
    model = tf.saved_model.load(directory)

    def search(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nothing = tf.zeros([len(batch), 0], tf.string)
        # Signatures work only while their model exists.
        answer = model.signatures["recommend"](vector=tf.constant(batch), exclude=nothing, k=tf.constant(_K))
        return answer["scores"].numpy(), answer["ids"].numpy().astype(np.int64)

    return search


def _approximate(
    config: FaissConfig, catalog: Catalog, queries: np.ndarray, best_scores: np.ndarray, directory: str
) -> Measured:
    started = time.monotonic()
    approximate.save(approximate.build(config, catalog.vectors), catalog.ids, directory)
    seconds = time.monotonic() - started
    index, _ = approximate.load(directory)
    _, found = index.search(queries, _K)
    share = float(recall(queries, catalog.vectors, found, best_scores).mean())
    parameters = ", ".join(f"{name} {value}" for name, value in config.parameters.items())
    name = ", ".join(filter(None, [f"FAISS {config.description(*catalog.vectors.shape)}", parameters]))
    return _timed(name, lambda batch: index.search(batch, _K), queries, seconds, directory, share)


def _timed(name: str, search: Search, queries: np.ndarray, seconds: float, directory: str, share: float) -> Measured:
    size = sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())
    # For a single query, several threads are slower than one because they wait for each other.
    faiss.omp_set_num_threads(1)
    search(queries[:1])
    singles = [_seconds(search, queries[number : number + 1]) for number in range(100)]
    faiss.omp_set_num_threads(os.cpu_count())
    search(queries[:_BATCH])
    batches = [_seconds(search, queries[start : start + _BATCH]) for start in range(0, 4 * _BATCH, _BATCH)]
    return Measured(
        name, seconds, size / 1e6, share, 1e3 * float(np.median(singles)), 1e3 * float(np.median(batches)) / _BATCH
    )


def _seconds(search: Search, batch: np.ndarray) -> float:
    started = time.perf_counter()
    search(batch)
    return time.perf_counter() - started


def _unit_vectors(random: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    """Random unit vectors around the centres, float32 `[count, dim]`."""
    vectors = centres[random.integers(len(centres), size=count)].astype(np.float32)
    vectors += _SPREAD * random.standard_normal(vectors.shape, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _towers(directory: str) -> str:
    """Writes a SavedModel whose towers return their input vector, and returns its directory."""
    spec = {"vector": tf.io.FixedLenFeature([_DIM], tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def of_examples(examples):
        return {EMBEDDING: tf.io.parse_example(examples, spec)["vector"]}

    @tf.function(input_signature=[tf.TensorSpec([None, _DIM], tf.float32, name="vector")])
    def of_vectors(vector):
        return {EMBEDDING: tf.identity(vector)}

    signatures = {EMBED_QUERIES: of_examples, EMBED_CANDIDATES: of_examples, EMBED_QUERY: of_vectors}
    tf.saved_model.save(tf.Module(), directory, signatures=signatures)
    return directory


def _table(measured: dict[int, list[Measured]], only_saved_models: bool) -> str:
    options = " ".join(f"--items {size}" for size in measured) + only_saved_models * " --only-saved-models"
    lines = [
        "# Exact and approximate search",
        "",
        f"Measured with `python -m benchmarks.retrieval_index {options}`.",
        "",
        f"- Data: unit vectors of dimension {_DIM} in {_GROUPS} groups.",
        f"- Recall: recall@{_K} of {_QUERIES} queries against exact search.",
        f"- Latency: a single query (median of 100) and batches of {_BATCH}. FAISS gets a vector and uses one thread",
        "  for a single query. The SavedModel gets a request and returns identifiers and titles.",
        "- Size: MB are 10^6 bytes on disk. The SavedModel includes titles.",
        "- `SavedModel, int8` has int8 vectors (`export.quantize: int8`); all others have float32 ones.",
    ]
    for size, rows in measured.items():
        lines += [
            "",
            f"## {size:,} items",
            "",
            "| search | build time in s | MB | recall | ms per single query | ms per query in batches |",
            "|---|---:|---:|---:|---:|---:|",
            *(
                f"| {row.name} | {row.build_seconds:.1f} | {row.megabytes:.0f} | {row.recall:.3f} "
                f"| {row.single_ms:.2f} | {row.batch_ms:.2f} |"
                for row in rows
            ),
        ]
    lines += [
        "",
        measured_on(["tensorflow"], f"faiss {faiss.__version__}"),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    app()
