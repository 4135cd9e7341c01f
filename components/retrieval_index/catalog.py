"""The catalog: every candidate's identity, held in memory, and its vector, written to disk as it is made."""

import logging
import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from components.retrieval_index.vertex import json_lines
from trainer_module.datasets.spec import TRAIN_COUNT
from trainer_module.errors import DataError, ModelError

_log = logging.getLogger(__name__)

_VECTORS_FILE = "vectors.float32"
_SECONDS_BETWEEN_REPORTS = 10.0

_FORBIDDEN = {"": "is empty", "\n": "holds a line break", "\r": "holds a carriage return"}

# From serialized examples `[batch]` to vectors, float32 `[batch, dim]`.
Embed = Callable[[Sequence[bytes]], np.ndarray]


@dataclass(frozen=True)
class CandidateColumns:
    """Where a candidate's example holds what the index needs.

    Attributes:
        item: Its identifier, one token or integer.
        title: What people call it, at most one text.
        restricts: Columns by whose values Vertex AI Vector Search may filter.
    """

    item: str
    title: str
    restricts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """All candidates, in the order of their files.

    Attributes:
        ids: Identifiers, distinct, in decimal if they are integers.
        titles: UTF-8 or whatever the data holds.
        train_counts: Rows in the training split, int64 `[candidates]`.
        vectors: Float32 `[candidates, dim]`, mapped from a file: the operating system holds as much of it as it likes.
        item_dtype: Of identifiers in the data, string or int64.
    """

    ids: list[str]
    titles: list[bytes]
    train_counts: np.ndarray
    vectors: np.ndarray
    item_dtype: tf.DType


@dataclass(frozen=True)
class _Candidate:
    id: str
    item_dtype: tf.DType
    title: bytes
    train_count: int
    restricts: dict[str, list[str]]


def embed_catalog(
    files: Sequence[str],
    columns: CandidateColumns,
    embed: Embed,
    batch_size: int,
    scratch: str,
    vertex_file: str,
) -> Catalog:
    """Embeds candidates batch by batch, writes their vectors to disk and the file for Vertex AI beside it.

    Memory holds one batch and every candidate's identifier, title and count.

    Args:
        files: Gzip TFRecords of `tf.Example`.
        columns: Where to find what.
        embed: The candidate tower.
        batch_size: Candidates embedded at once.
        scratch: Local directory; the catalog's vectors lie there.
        vertex_file: Where Vertex AI's file goes, possibly remote.

    Raises:
        DataError: There is no candidate, or one's identifier, title or count is not what it must be.
        ModelError: A vector is not finite.
    """
    path = os.path.join(scratch, _VECTORS_FILE)
    rows: dict[str, str] = {}
    titles: list[bytes] = []
    counts = array("q")
    progress = _Progress()
    dim, item_dtype = 0, tf.string
    tf.io.gfile.makedirs(os.path.dirname(vertex_file))
    with open(path, "wb") as vectors_file, tf.io.gfile.GFile(vertex_file, "w") as lines_file:
        for file, first_row, records in batches(files, batch_size):
            where = [f"{file}, row {first_row + number}" for number in range(len(records))]
            found = [_candidate(record, columns, row) for record, row in zip(records, where, strict=True)]
            for candidate, row in zip(found, where, strict=True):
                if candidate.id in rows:
                    raise DataError(
                        f"{row}: {columns.item} {candidate.id!r} stands in {rows[candidate.id]} too; every candidate "
                        "must have an identifier of its own"
                    )
                rows[candidate.id] = row
            vectors = embed(records)
            _check_finite(vectors, found, where)
            dim, item_dtype = vectors.shape[1], found[-1].item_dtype
            vectors.tofile(vectors_file)
            of_batch = [candidate.id for candidate in found], vectors, [candidate.restricts for candidate in found]
            lines_file.write("".join(json_lines(*of_batch)))
            titles += [candidate.title for candidate in found]
            counts.extend(candidate.train_count for candidate in found)
            progress.report(len(titles))
    if not titles:
        raise DataError(f"no candidate in {', '.join(files) or 'the split candidates'}; there is nothing to retrieve")
    _log.info("embedded %d candidates, dimension %d", len(titles), dim)
    vectors = np.memmap(path, np.float32, mode="r", shape=(len(titles), dim))
    return Catalog(list(rows), titles, np.array(counts, np.int64), vectors, item_dtype)


def batches(files: Sequence[str], batch_size: int) -> Iterator[tuple[str, int, list[bytes]]]:
    """Serialized examples, batch by batch and file by file, with their file and the first one's row in it, from 0."""
    for file in files:
        row = 0
        for batch in tf.data.TFRecordDataset(file, "GZIP").batch(batch_size).as_numpy_iterator():
            yield file, row, batch.tolist()
            row += len(batch)


def _candidate(record: bytes, columns: CandidateColumns, where: str) -> _Candidate:
    features = tf.train.Example.FromString(record).features.feature

    def values(name: str) -> Sequence[bytes | int | float]:
        kind = features[name].WhichOneof("kind") if name in features else None
        return getattr(features[name], kind).value if kind else ()

    def one(name: str) -> bytes | int | float:
        if len(values(name)) != 1:
            raise DataError(f"{where}: {name} holds {len(values(name))} values; a candidate must have exactly one")
        return values(name)[0]

    count = one(TRAIN_COUNT)
    if not isinstance(count, int) or count < 0:
        raise DataError(f"{where}: {TRAIN_COUNT} is {count!r}; expected a number of training rows")
    title = values(columns.title)
    if len(title) > 1 or not all(isinstance(text, bytes) for text in title):
        raise DataError(f"{where}: {columns.title} is {list(title)!r}; expected one text at most")
    restricts = {name: [_text(value, name, where) for value in values(name)] for name in columns.restricts}
    item = one(columns.item)
    if isinstance(item, float):
        raise DataError(f"{where}: {columns.item} is the number {item}; an identifier is a token or an integer")
    dtype = tf.string if isinstance(item, bytes) else tf.int64
    return _Candidate(_identifier(item, columns.item, where), dtype, b"".join(title), count, restricts)


def _identifier(value: bytes | int, column: str, where: str) -> str:
    text = _text(value, column, where)
    # One identifier per line is how both the lookup of excluded items and FAISS's rows are stored.
    for forbidden, reason in _FORBIDDEN.items():
        if text == forbidden or (forbidden and forbidden in text):
            raise DataError(f"{where}: {column} {text!r} {reason}, which an identifier must not")
    return text


def _text(value: bytes | int | float, column: str, where: str) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise DataError(f"{where}: {column} {value!r} is not UTF-8, which Vertex AI's file must be") from None


def _check_finite(vectors: np.ndarray, candidates: Sequence[_Candidate], where: Sequence[str]) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ModelError(
            f"{where[first]}: the vector of candidate {candidates[first].id!r} holds "
            f"{vectors[first][~np.isfinite(vectors[first])][0]} ({np.sum(~finite)} such candidates in this batch); the "
            "model has diverged, or a number of the candidate is not finite"
        )


class _Progress:
    """Tells the log how far the catalog is, now and then."""

    def __init__(self):
        self._started = self._told = time.monotonic()

    def report(self, count: int) -> None:
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_REPORTS:
            _log.info("embedded %d candidates, %.0f per second", count, count / (now - self._started))
            self._told = now
