"""Builds the search indexes of a two-tower model and measures the recall of the approximate one."""

import dataclasses
import gc
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.retrieval_index import approximate
from components.retrieval_index.catalog import CandidateColumns, Catalog, batches, embed_catalog
from components.retrieval_index.config import SECTION, RetrievalIndexConfig
from components.retrieval_index.exact import BY_EXAMPLE, IDS, SCORES, queries_at_once, save_exact_search
from components.retrieval_index.layout import FAISS_DIRECTORY, VERTEX_FILE
from components.retrieval_index.recall import recall
from components.retrieval_index.towers import Towers, load_towers
from trainer_module.data.example_files import serialized
from trainer_module.data.spec import SEEN
from trainer_module.errors import DataError, ModelError
from trainer_module.export.serving import saved_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexReport:
    """Sizes, recall and build times of an index.

    Attributes:
        candidates: Number of items.
        dim: Dimension of the item vectors.
        faiss_index: FAISS's description of the index, for example `IVF164,Flat`.
        faiss_bytes: Size of the FAISS file.
        recall: Share of the `recall_k` best items that the FAISS index finds.
        recall_k: The configured value, or the number of candidates if that is smaller.
        recall_queries: Number of held-out queries.
        min_recall: Minimum recall allowed.
        saved_bytes: Size of the SavedModel, without the files in `assets.extra`.
        int8_recall: With int8 vectors, the share of the `recall_k` best items by float32 vectors that the SavedModel
            finds for the same query vectors; None with float32 vectors, whose search is exact.
        float32_saved_bytes: With int8 vectors, size of the float32 SavedModel that it is compared with; else None.
        seconds: Wall-clock seconds by step.
    """

    candidates: int
    dim: int
    faiss_index: str
    faiss_bytes: int
    recall: float
    recall_k: int
    recall_queries: int
    min_recall: float
    saved_bytes: int
    int8_recall: float | None = None
    float32_saved_bytes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return min(self.recall, 1.0 if self.int8_recall is None else self.int8_recall) >= self.min_recall

    def as_json(self) -> dict:
        """Converts the report to JSON-serializable values."""
        return dataclasses.asdict(self) | {"holds": self.holds}


@dataclass(frozen=True)
class Float32Index:
    """What a quantized model is compared with.

    Attributes:
        model_dir: The Trainer's float32 SavedModel.
        directory: Where its exact search is written, possibly remote.
    """

    model_dir: str
    directory: str


def build_index(
    config: RetrievalIndexConfig,
    columns: CandidateColumns,
    candidate_files: Sequence[str],
    query_files: Sequence[str],
    model_dir: str,
    scratch: str,
    directory: str,
    float32: Float32Index | None = None,
) -> IndexReport:
    """Writes the exact search, the FAISS index and Vertex AI's import file, and measures the recall of the FAISS index.

    With `float32`, vectors in the exact search are int8 rows. Those in the FAISS index and Vertex AI's file stay
    float32, from the same towers.

    Args:
        config: What to build.
        columns: Names of the columns in a candidate's example.
        candidate_files: Of the split `candidates`.
        query_files: Of the split `queries`.
        model_dir: The Trainer's two-tower SavedModel.
        scratch: Local directory with space for all vectors.
        directory: Output directory of the SavedModel, possibly remote. Other files go to its `assets.extra`.
        float32: The float32 towers beside quantized ones, and where their exact search is written; None if the model is
            not quantized.

    Raises:
        DataError: There are no candidates or no queries, or a candidate is malformed.
        ModelError: The model is not a two-tower model, or its vectors are not finite.
        ConfigError: The parameters of the FAISS index do not fit the candidates.
    """
    seconds: dict[str, float] = {}
    towers = load_towers(model_dir)
    with _timed("embedding", seconds):
        vertex_file = os.path.join(directory, VERTEX_FILE)
        catalog = _embedded(towers, candidate_files, columns, config.batch_size, scratch, vertex_file)
    with _timed("faiss", seconds):
        faiss_dir = os.path.join(directory, FAISS_DIRECTORY)
        approximate.save(approximate.build(config.faiss, catalog.vectors), catalog.ids, faiss_dir)
    with _timed("exact", seconds):
        save_exact_search(towers, catalog, config.max_k, scratch, directory, quantize=float32 is not None)
        # The saved module is part of a reference cycle. Without this, loading the model holds the vectors twice.
        gc.collect()
    with _timed("recall", seconds):
        k = min(config.recall_k, len(catalog.ids))
        queries = _queries(query_files, config.recall_queries)
        shares = _recall(towers, queries, catalog, k, directory, faiss_dir, is_int8=float32 is not None)
    if float32 is not None:
        with _timed("float32", seconds):
            _save_float32(float32, candidate_files, columns, config, scratch)
            gc.collect()
    num_candidates, dim = catalog.vectors.shape
    return IndexReport(
        candidates=num_candidates,
        dim=dim,
        faiss_index=config.faiss.description(num_candidates, dim),
        faiss_bytes=tf.io.gfile.stat(os.path.join(faiss_dir, approximate.INDEX_FILE)).length,
        recall=shares.faiss,
        recall_k=k,
        recall_queries=len(queries),
        min_recall=config.min_recall,
        saved_bytes=saved_bytes(directory),
        int8_recall=shares.int8,
        float32_saved_bytes=float32 and saved_bytes(float32.directory),
        seconds=seconds,
    )


def check(report: IndexReport, config: RetrievalIndexConfig) -> None:
    """Checks the recall of the FAISS index, and of int8 vectors, against the configured minimum.

    Raises:
        ModelError: A recall is too low.
    """
    found = (
        f"the FAISS index {report.faiss_index} ({SECTION}.faiss.type {config.faiss.type}) has recall@{report.recall_k} "
        f"{report.recall:.4f} against exact search, over {report.recall_queries} held-out queries"
    )
    if report.recall < report.min_recall:
        raise ModelError(
            f"{found}; {SECTION}.min_recall asks for {report.min_recall}. To find more, {config.faiss.remedy}"
        )
    _log.info("%s", found)
    if report.int8_recall is None:
        return
    found = (
        f"search with int8 vectors has recall@{report.recall_k} {report.int8_recall:.4f} against float32 vectors, over "
        f"{report.recall_queries} held-out queries"
    )
    if not report.holds:
        raise ModelError(
            f"{found}; {SECTION}.min_recall asks for {report.min_recall}. Leave export.quantize out, or lower "
            f"{SECTION}.min_recall"
        )
    _log.info(
        "%s; the SavedModel takes %.2f MB, with float32 %.2f MB",
        found,
        report.saved_bytes / 1e6,
        (report.float32_saved_bytes or 0) / 1e6,
    )


def _embedded(
    towers: Towers, files: Sequence[str], columns: CandidateColumns, batch_size: int, scratch: str, vertex_file: str
) -> Catalog:
    def embed(batch: pa.RecordBatch) -> np.ndarray:
        return towers.candidates(tf.constant(serialized(batch))).numpy()

    return embed_catalog(files, columns, embed, batch_size, scratch, vertex_file)


def _save_float32(
    float32: Float32Index,
    files: Sequence[str],
    columns: CandidateColumns,
    config: RetrievalIndexConfig,
    scratch: str,
) -> None:
    """Writes the exact search of the float32 towers."""
    own_scratch = os.path.join(scratch, "float32")
    os.makedirs(own_scratch)
    towers = load_towers(float32.model_dir)
    unused = os.path.join(own_scratch, "candidates.json")
    catalog = _embedded(towers, files, columns, config.batch_size, own_scratch, unused)
    save_exact_search(towers, catalog, config.max_k, own_scratch, float32.directory)


@dataclass(frozen=True)
class _Shares:
    """Mean recall of the FAISS index, and of int8 vectors if there are any."""

    faiss: float
    int8: float | None


def _recall(
    towers: Towers, queries: list[bytes], catalog: Catalog, k: int, exact_dir: str, faiss_dir: str, is_int8: bool
) -> _Shares:
    """Recall of the FAISS index in `faiss_dir` against exact search, both loaded from disk.

    Exact search is the SavedModel in `exact_dir`. If that holds int8 vectors, it is measured too, and both are compared
    with the catalog's float32 vectors.
    """
    exact = tf.saved_model.load(exact_dir)
    index, _ = approximate.load(faiss_dir)
    places = {item: place for place, item in enumerate(catalog.ids)} if is_int8 else {}
    size = queries_at_once(max(len(catalog.ids), k * catalog.vectors.shape[1]))
    of_faiss, of_int8 = [], []
    for start in range(0, len(queries), size):
        batch = queries[start : start + size]
        vectors = towers.queries(tf.constant(batch)).numpy()
        if not np.isfinite(vectors).all():
            raise ModelError("a held-out query's vector is not finite; the model has diverged")
        answer = exact.signatures[BY_EXAMPLE](examples=tf.constant(batch))
        best = answer[SCORES].numpy()[:, :k]
        if is_int8:
            best = np.sort(vectors @ catalog.vectors.T, axis=1)[:, ::-1][:, :k]
            found = np.vectorize(lambda item: places[item.decode()], otypes=[np.int64])(answer[IDS].numpy()[:, :k])
            of_int8.append(recall(vectors, catalog.vectors, found, best))
        _, found = index.search(vectors, k)
        of_faiss.append(recall(vectors, catalog.vectors, found, best))
    return _Shares(
        faiss=float(np.concatenate(of_faiss).mean()),
        int8=float(np.concatenate(of_int8).mean()) if is_int8 else None,
    )


def _queries(files: Sequence[str], count: int) -> list[bytes]:
    """The first held-out queries, serialized, without the column `seen`, so that no candidate is excluded."""
    queries: list[bytes] = []
    for _, _, batch in batches(files, count):
        first = batch.slice(0, count - len(queries))
        queries += serialized(first.select([name for name in first.schema.names if name != SEEN]))
        if len(queries) == count:
            return queries
    if not queries:
        raise DataError(f"no query in {', '.join(files) or 'the split queries'}; the index cannot be judged")
    return queries


@contextmanager
def _timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - started, 3)
    _log.info("%s took %.1f s", step, seconds[step])
