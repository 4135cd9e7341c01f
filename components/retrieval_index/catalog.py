"""Embeds the catalog: keeps identifiers, titles and counts in memory and writes vectors to disk."""

import logging
import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.retrieval_index.config import SECTION
from components.retrieval_index.vertex import json_lines
from trainer_module.data.example_files import read_file
from trainer_module.data.spec import TRAIN_COUNT
from trainer_module.errors import ConfigError, DataError, ModelError

_log = logging.getLogger(__name__)

_VECTORS_FILE = "vectors.float32"
_SECONDS_BETWEEN_REPORTS = 10.0

# Maps raw examples to vectors, float32 `[batch, dim]`.
Embed = Callable[[pa.RecordBatch], np.ndarray]


@dataclass(frozen=True)
class CandidateColumns:
    """Names of the columns that the index reads from a candidate's example.

    Attributes:
        item: Column of the identifier, one token or integer.
        title: Column of the title, at most one text.
        restricts: Columns that Vertex AI Vector Search can filter by.
    """

    item: str
    title: str
    restricts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """All candidates, in the order of their files.

    Attributes:
        ids: Distinct identifiers; integers in decimal.
        titles: Titles as bytes, as they are in the data.
        train_counts: Number of rows in the training split, int64 `[candidates]`.
        vectors: Float32 `[candidates, dim]`, memory-mapped.
        item_dtype: Type of the identifiers in the data, string or int64.
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
    """Embeds candidates batch by batch and writes their vectors and Vertex AI's import file.

    Memory holds one batch and every candidate's identifier, title and count.

    Args:
        files: Of examples, as `ExampleFiles` reads them.
        columns: Names of the columns to read.
        embed: The candidate tower.
        batch_size: Number of candidates embedded at once.
        scratch: Local directory for the vectors.
        vertex_file: Path of Vertex AI's import file, possibly remote.

    Raises:
        DataError: There is no candidate, or an identifier, title or count is invalid.
        ModelError: A vector is not finite.
        ConfigError: A column in `restricts` has no value in any candidate.
    """
    path = os.path.join(scratch, _VECTORS_FILE)
    known, progress, dim = _Known(columns), _Progress(), 0
    tf.io.gfile.makedirs(os.path.dirname(vertex_file))
    with open(path, "wb") as vectors_file, tf.io.gfile.GFile(vertex_file, "w") as lines_file:
        for file, first_row, batch in batches(files, batch_size):
            rows = [f"{file}, row {first_row + number}" for number in range(batch.num_rows)]
            candidates = _candidates(batch, columns, rows)
            known.add(candidates, rows)
            vectors = embed(batch)
            _check_finite(vectors, candidates, rows)
            dim = vectors.shape[1]
            vectors.tofile(vectors_file)
            ids, restricts = [each.id for each in candidates], [each.restricts for each in candidates]
            lines_file.write("".join(json_lines(ids, vectors, restricts)))
            progress.report(len(known.titles))
    num_candidates = len(known.titles)
    if not num_candidates:
        raise DataError(f"no candidate in {', '.join(files) or 'the split candidates'}; there is nothing to retrieve")
    if unused := [name for name in columns.restricts if name not in known.namespaces]:
        raise ConfigError(
            f"{SECTION}.restricts names {', '.join(unused)}, but no candidate has a value there; name columns of the "
            "candidates"
        )
    _log.info("embedded %d candidates, dimension %d", num_candidates, dim)
    vectors = np.memmap(path, np.float32, mode="r", shape=(num_candidates, dim))
    counts = np.array(known.train_counts, np.int64)
    return Catalog(list(known.numbers), known.titles, counts, vectors, known.item_dtype)


def batches(files: Sequence[str], batch_size: int) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Yields batches of examples with their file and the row of their first example, counted from 0.

    No batch spans two files.
    """
    for file in files:
        row = 0
        for batch in read_file(file):
            for start in range(0, batch.num_rows, batch_size):
                part = batch.slice(start, batch_size)
                yield file, row, part
                row += part.num_rows


def _candidates(batch: pa.RecordBatch, columns: CandidateColumns, rows: Sequence[str]) -> list[_Candidate]:
    names = {columns.item, columns.title, TRAIN_COUNT, *columns.restricts} & set(batch.schema.names)
    values = {name: batch.column(name).to_pylist() for name in names}
    return [
        _candidate({name: of_column[number] or () for name, of_column in values.items()}, columns, row)
        for number, row in enumerate(rows)
    ]


def _candidate(
    features: Mapping[str, Sequence[bytes | int | float]], columns: CandidateColumns, row: str
) -> _Candidate:
    def values(name: str) -> Sequence[bytes | int | float]:
        return features.get(name, ())

    def one(name: str) -> bytes | int | float:
        if len(values(name)) != 1:
            raise DataError(f"{row}: {name} holds {len(values(name))} values; a candidate must have exactly one")
        return values(name)[0]

    count = one(TRAIN_COUNT)
    if not isinstance(count, int) or count < 0:
        raise DataError(f"{row}: {TRAIN_COUNT} is {count!r}; expected a number of training rows")
    title = values(columns.title)
    if len(title) > 1 or not all(isinstance(text, bytes) for text in title):
        raise DataError(f"{row}: {columns.title} is {list(title)!r}; expected one text at most")
    restricts = {name: [_text(value, name, row) for value in values(name)] for name in columns.restricts}
    item = one(columns.item)
    if isinstance(item, float):
        raise DataError(f"{row}: {columns.item} is the number {item}; an identifier is a token or an integer")
    dtype = tf.string if isinstance(item, bytes) else tf.int64
    return _Candidate(_identifier(item, columns.item, row), dtype, b"".join(title), count, restricts)


def _identifier(value: bytes | int, column: str, row: str) -> str:
    text = _text(value, column, row)
    # The lookup of excluded items and the rows of FAISS are both stored as files with one identifier per line.
    if not text or "\n" in text or "\r" in text:
        raise DataError(f"{row}: {column} is {text!r}; an identifier is not empty and holds no line break")
    return text


def _text(value: bytes | int | float, column: str, row: str) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise DataError(f"{row}: {column} {value!r} is not UTF-8, which Vertex AI's file must be") from None


def _check_finite(vectors: np.ndarray, candidates: Sequence[_Candidate], rows: Sequence[str]) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ModelError(
            f"{rows[first]}: the vector of candidate {candidates[first].id!r} holds "
            f"{vectors[first][~np.isfinite(vectors[first])][0]} ({np.sum(~finite)} such candidates in this batch); the "
            "model has diverged, or a number of the candidate is not finite"
        )


class _Known:
    """Identifiers, titles and counts of the candidates read so far."""

    def __init__(self, columns: CandidateColumns):
        self._item = columns.item
        self.numbers: dict[str, int] = {}
        self.titles: list[bytes] = []
        self.train_counts = array("q")
        self.item_dtype = tf.string
        self.namespaces: set[str] = set()

    def add(self, candidates: Sequence[_Candidate], rows: Sequence[str]) -> None:
        """Adds candidates. `rows` describes their origin for error messages."""
        for candidate, row in zip(candidates, rows, strict=True):
            if candidate.id in self.numbers:
                raise DataError(
                    f"{row}: {self._item} {candidate.id!r} is that of candidate {self.numbers[candidate.id]} too, "
                    "counted from 0 over all files in the order of their names; every candidate must have an "
                    "identifier of its own"
                )
            self.numbers[candidate.id] = len(self.numbers)
            self.titles.append(candidate.title)
            self.train_counts.append(candidate.train_count)
            self.item_dtype = candidate.item_dtype
            self.namespaces.update(name for name, values in candidate.restricts.items() if values)


class _Progress:
    """Logs progress at most every `_SECONDS_BETWEEN_REPORTS`."""

    def __init__(self):
        self._started = self._last_report = time.monotonic()

    def report(self, count: int) -> None:
        now = time.monotonic()
        if now - self._last_report >= _SECONDS_BETWEEN_REPORTS:
            _log.info("embedded %d candidates, %.0f per second", count, count / (now - self._started))
            self._last_report = now
