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
import tensorflow as tf

from components.retrieval_index import approximate
from components.retrieval_index.catalog import CandidateColumns, Catalog, batches, embed_catalog
from components.retrieval_index.config import SECTION, RetrievalIndexConfig
from components.retrieval_index.exact import BY_EXAMPLE, SCORES, save_exact_search
from components.retrieval_index.layout import FAISS_DIRECTORY, VERTEX_FILE
from components.retrieval_index.recall import recall
from components.retrieval_index.towers import Towers, load_towers
from trainer_module.data.example_files import serialized
from trainer_module.data.spec import SEEN
from trainer_module.errors import DataError, ModelError

_log = logging.getLogger(__name__)

# Largest array of scores or found vectors during the recall measurement: 128 MB of float32.
_NUMBERS_AT_ONCE = 32 << 20


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
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return self.recall >= self.min_recall

    def as_json(self) -> dict:
        """Converts the report to JSON-serializable values."""
        return dataclasses.asdict(self) | {"holds": self.holds}


def build_index(
    config: RetrievalIndexConfig,
    columns: CandidateColumns,
    candidate_files: Sequence[str],
    query_files: Sequence[str],
    model_dir: str,
    scratch: str,
    directory: str,
) -> IndexReport:
    """Writes the exact search, the FAISS index and Vertex AI's import file, and measures the recall of the FAISS index.

    Args:
        config: What to build.
        columns: Names of the columns in a candidate's example.
        candidate_files: Of the split `candidates`.
        query_files: Of the split `queries`.
        model_dir: The Trainer's two-tower SavedModel.
        scratch: Local directory with space for all vectors.
        directory: Output directory of the SavedModel, possibly remote. Other files go to its `assets.extra`.

    Raises:
        DataError: There are no candidates or no queries, or a candidate is malformed.
        ModelError: The model is not a two-tower model, or its vectors are not finite.
        ConfigError: The parameters of the FAISS index do not fit the candidates.
    """
    seconds: dict[str, float] = {}
    towers = load_towers(model_dir)
    with _timed("embedding", seconds):
        catalog = embed_catalog(
            candidate_files,
            columns,
            lambda batch: towers.candidates(tf.constant(serialized(batch))).numpy(),
            config.batch_size,
            scratch,
            os.path.join(directory, VERTEX_FILE),
        )
    with _timed("faiss", seconds):
        faiss_dir = os.path.join(directory, FAISS_DIRECTORY)
        approximate.save(approximate.build(config.faiss, catalog.vectors), catalog.ids, faiss_dir)
    with _timed("exact", seconds):
        save_exact_search(towers, catalog, config.max_k, scratch, directory)
        # The saved module is part of a reference cycle. Without this, loading the model holds the vectors twice.
        gc.collect()
    with _timed("recall", seconds):
        k = min(config.recall_k, len(catalog.ids))
        queries = _queries(query_files, config.recall_queries)
        share = _recall(towers, queries, catalog, k, directory, faiss_dir)
    num_candidates, dim = catalog.vectors.shape
    return IndexReport(
        candidates=num_candidates,
        dim=dim,
        faiss_index=config.faiss.description(num_candidates, dim),
        faiss_bytes=tf.io.gfile.stat(os.path.join(faiss_dir, approximate.INDEX_FILE)).length,
        recall=share,
        recall_k=k,
        recall_queries=len(queries),
        min_recall=config.min_recall,
        seconds=seconds,
    )


def check(report: IndexReport, config: RetrievalIndexConfig) -> None:
    """Checks the recall of the FAISS index against the configured minimum.

    Raises:
        ModelError: The recall is too low.
    """
    found = (
        f"the FAISS index {report.faiss_index} ({SECTION}.faiss.type {config.faiss.type}) has recall@{report.recall_k} "
        f"{report.recall:.4f} against exact search, over {report.recall_queries} held-out queries"
    )
    if not report.holds:
        raise ModelError(
            f"{found}; {SECTION}.min_recall asks for {report.min_recall}. To find more, {config.faiss.remedy}"
        )
    _log.info("%s", found)


def _recall(towers: Towers, queries: list[bytes], catalog: Catalog, k: int, exact_dir: str, faiss_dir: str) -> float:
    """Recall of the FAISS index in `faiss_dir` against the SavedModel in `exact_dir`, both loaded from disk."""
    exact = tf.saved_model.load(exact_dir)
    index, _ = approximate.load(faiss_dir)
    size = max(1, _NUMBERS_AT_ONCE // max(len(catalog.ids), k * catalog.vectors.shape[1]))
    shares = []
    for start in range(0, len(queries), size):
        batch = queries[start : start + size]
        vectors = towers.queries(tf.constant(batch)).numpy()
        if not np.isfinite(vectors).all():
            raise ModelError("a held-out query's vector is not finite; the model has diverged")
        best = exact.signatures[BY_EXAMPLE](examples=tf.constant(batch))[SCORES].numpy()[:, :k]
        _, found = index.search(vectors, k)
        shares.append(recall(vectors, catalog.vectors, found, best))
    return float(np.concatenate(shares).mean())


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
