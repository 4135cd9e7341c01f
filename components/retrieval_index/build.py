"""From candidates, held-out queries and a trained model to one directory that can be searched, and its judgement."""

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
from components.retrieval_index.catalog import CandidateColumns, Catalog, Embed, batches, embed_catalog
from components.retrieval_index.config import SECTION, RetrievalIndexConfig
from components.retrieval_index.exact import BY_EXAMPLE, SCORES, save_exact_search
from components.retrieval_index.layout import FAISS_DIRECTORY, VERTEX_FILE
from components.retrieval_index.recall import recall
from components.retrieval_index.towers import load_towers, on_batches
from trainer_module.data.spec import SEEN
from trainer_module.errors import DataError, ModelError

_log = logging.getLogger(__name__)

# Scores, or numbers of vectors found, that are held at once in judging the approximate index: 128 MB.
_NUMBERS_AT_ONCE = 32 << 20


@dataclass(frozen=True)
class IndexReport:
    """What was built, and how good it is.

    Attributes:
        candidates: Number of items.
        dim: Of their vectors.
        faiss_index: In FAISS's own words, as in `IVF164,Flat`.
        faiss_bytes: Size of its file.
        recall: Share of the `recall_k` best that the FAISS index finds.
        recall_k: As configured, or the number of candidates if that is less.
        recall_queries: How many held-out queries were asked.
        min_recall: The least recall allowed.
        seconds: Wall clock, by step.
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
        """As JSON-able values."""
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
    """Writes the exact search, the FAISS index and Vertex AI's file, and compares the second with the first.

    Args:
        config: What to build.
        columns: Where a candidate's example holds what.
        candidate_files: Gzip TFRecords of the split `candidates`.
        query_files: Gzip TFRecords of the split `queries`.
        model_dir: The two-tower SavedModel of the Trainer.
        scratch: Local directory, as large as all vectors.
        directory: Where the SavedModel goes, possibly remote; all else lies in its `assets.extra`.

    Raises:
        DataError: There are no candidates or queries, or a candidate breaks its format.
        ModelError: The model has not two towers, or its vectors are not finite.
        ConfigError: The parameters of the FAISS index do not fit the candidates.
    """
    seconds: dict[str, float] = {}
    towers = load_towers(model_dir)
    with _timed("embedding", seconds):
        catalog = embed_catalog(
            candidate_files,
            columns,
            on_batches(towers.candidates),
            config.batch_size,
            scratch,
            os.path.join(directory, VERTEX_FILE),
        )
    with _timed("faiss", seconds):
        faiss_dir = os.path.join(directory, FAISS_DIRECTORY)
        approximate.save(approximate.build(config.faiss, catalog.vectors), catalog.ids, faiss_dir)
    with _timed("exact", seconds):
        save_exact_search(towers, catalog, config.max_k, scratch, directory)
        # What was saved refers to itself; until it is collected, the vectors are held twice when they are loaded.
        gc.collect()
    with _timed("recall", seconds):
        k = min(config.recall_k, len(catalog.ids))
        queries = _queries(query_files, config.recall_queries)
        share = _recall(on_batches(towers.queries), queries, catalog, k, directory, faiss_dir)
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
    """The recall gate.

    Raises:
        ModelError: The FAISS index finds too little of what the exact search finds.
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


def _recall(embed: Embed, queries: list[bytes], catalog: Catalog, k: int, exact_dir: str, faiss_dir: str) -> float:
    """Recall of the index in `faiss_dir` against the SavedModel in `exact_dir`, both as they were written."""
    exact = tf.saved_model.load(exact_dir)
    index, _ = approximate.load(faiss_dir)
    size = max(1, _NUMBERS_AT_ONCE // max(len(catalog.ids), k * catalog.vectors.shape[1]))
    shares = []
    for start in range(0, len(queries), size):
        batch = queries[start : start + size]
        vectors = embed(batch)
        if not np.isfinite(vectors).all():
            raise ModelError("a held-out query's vector is not finite; the model has diverged")
        best = exact.signatures[BY_EXAMPLE](examples=tf.constant(batch))[SCORES].numpy()[:, :k]
        _, found = index.search(vectors, k)
        shares.append(recall(vectors, catalog.vectors, found, best))
    return float(np.concatenate(shares).mean())


def _queries(files: Sequence[str], count: int) -> list[bytes]:
    """The first held-out queries, serialized, without what their users have seen: all candidates compete."""
    queries: list[bytes] = []
    for _, _, records in batches(files, count):
        queries += [_without_seen(record) for record in records[: count - len(queries)]]
        if len(queries) == count:
            return queries
    if not queries:
        raise DataError(f"no query in {', '.join(files) or 'the split queries'}; the index cannot be judged")
    return queries


def _without_seen(record: bytes) -> bytes:
    example = tf.train.Example.FromString(record)
    example.features.feature.pop(SEEN, None)
    return example.SerializeToString()


@contextmanager
def _timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - started, 3)
    _log.info("%s took %.1f s", step, seconds[step])
