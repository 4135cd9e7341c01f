"""Transformed rows that batches are gathered from: in memory within a budget, in files beyond it.

The files have no names (`open(2)`, `O_TMPFILE`): nothing can be found half-written after a process was killed, and the
space is free again when the last reader is gone.
"""

import logging
import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

import numpy as np
import tensorflow as tf

from trainer_module.errors import DataError

Columns = dict[str, tf.Tensor | tf.RaggedTensor]

_log = logging.getLogger(__name__)

# A fault maps up to this many bytes of a file into memory (Linux, `fault_around_bytes`).
_BYTES_PER_FAULT = 65_536


@dataclass(frozen=True)
class Limits:
    """What transformed rows may take.

    Attributes:
        training_bytes: In memory, of the training split; beyond it, it goes to files.
        evaluation_bytes: In memory, of the eval split; beyond it, each evaluation reads the examples again.
        directory: Local directory, for the files; None is that for temporary files.
    """

    training_bytes: int
    evaluation_bytes: int
    directory: str | None = None


class RowStore(Protocol):
    """Rows of columns.

    Attributes:
        num_rows: Of every column.
    """

    num_rows: int

    def gather(self, rows: tf.Tensor) -> Columns:
        """Some rows, by their numbers, int64 `[batch]`; also inside a graph."""
        ...

    def free(self) -> None:
        """Lets the rows go; nothing can be gathered any more."""
        ...


_made_inside: ContextVar[list[RowStore] | None] = ContextVar("made_inside", default=None)


@contextmanager
def freeing_stores() -> Iterator[None]:
    """Frees the stores that were made inside, at the end.

    They would not be freed with their last user: TensorFlow keeps the functions of `tf.numpy_function` as long as the
    outermost graph, which for those of `tf.data` is that of the process.
    """
    made: list[RowStore] = []
    token = _made_inside.set(made)
    try:
        yield
    finally:
        _made_inside.reset(token)
        for each in made:
            each.free()


def store(parts: Iterable[Columns], limits: Limits) -> RowStore:
    """Keeps rows in memory, or in files if they take more than `limits.training_bytes`.

    Args:
        parts: Rows of the same columns: dense `[rows, ...]`, or ragged `[rows, None]`. At least one.
        limits: Of memory, and the directory for files.

    Raises:
        DataError: The files do not fit on the disk.
    """
    made = _store(parts, limits)
    if (made_inside := _made_inside.get()) is not None:
        made_inside.append(made)
    return made


def _store(parts: Iterable[Columns], limits: Limits) -> RowStore:
    remaining, held, num_bytes = iter(parts), [], 0
    for part in remaining:
        held.append(dict(part))
        num_bytes += sum(_bytes(column) for column in part.values())
        if num_bytes > limits.training_bytes:
            return _in_files(_drained(held), remaining, limits)
    in_memory = RowsInMemory(held)
    limit = f"the limit is {_shown(limits.training_bytes)}"
    _log.info("features of %d rows: %s in memory (%s)", in_memory.num_rows, _shown(num_bytes), limit)
    return in_memory


class RowsInMemory:
    """Rows in arrays.

    Dense columns of one type lie side by side, so that a row is one place in memory and not one per column.

    Attributes:
        num_rows: Of every column.
    """

    def __init__(self, parts: list[Columns]):
        """Takes the rows in parts, and empties these, so that memory does not hold the rows twice."""
        first = parts[0]
        self.num_rows = sum(_num_rows(part) for part in parts)
        self._ragged = {
            name: tf.concat([part.pop(name) for part in parts], axis=0)
            for name in list(first)
            if isinstance(first[name], tf.RaggedTensor)
        }
        self._layouts = {dtype: _SideBySide.of(columns) for dtype, columns in _by_type(first).items()}
        # Pages of an empty array take no memory before they are written.
        self._matrices = [
            np.empty((self.num_rows, layout.width), dtype.as_numpy_dtype) for dtype, layout in self._layouts.items()
        ]
        written = 0
        for part in _drained(parts):
            rows = slice(written, written + _num_rows(part))
            by_type = _by_type(part)
            for matrix, (dtype, layout) in zip(self._matrices, self._layouts.items(), strict=True):
                matrix[rows] = layout.together(by_type[dtype])
            written = rows.stop

    def gather(self, rows: tf.Tensor) -> Columns:
        # TensorFlow's operation shares even a thousand rows among threads, which takes longer than to copy them.
        arrays = _taken(self._take, rows, list(self._layouts))
        columns: Columns = {name: tf.gather(column, rows) for name, column in self._ragged.items()}
        for layout, taken in zip(self._layouts.values(), arrays, strict=True):
            columns |= layout.apart(taken, rows.shape[0])
        return columns

    def free(self) -> None:
        self._matrices, self._ragged = [], {}

    def _take(self, rows: np.ndarray) -> list[np.ndarray]:
        return [matrix.take(rows, axis=0) for matrix in self._matrices]


class RowsInFiles:
    """Rows in nameless files, mapped into memory.

    Dense columns of one type lie side by side, so that a row is one place on the disk and not one per column. Of ragged
    columns there are values and row splits.

    Attributes:
        num_rows: Of every column.
        num_bytes: Of all files.
    """

    def __init__(self, parts: Iterable[Columns], directory: str | None, mapped_bytes: int):
        """Writes the rows.

        Args:
            parts: As `store` takes them.
            directory: For the files.
            mapped_bytes: So much of the files is mapped at most, by an upper estimate, until the kernel is told to
                forget the pages. Else a process would seem to hold all of the files.

        Raises:
            OSError: The disk is full.
        """
        self.num_rows, self._taken = 0, 0
        self._matrices: dict[tf.DType, _Matrix] = {}
        self._ragged: dict[str, _Ragged] = {}
        for part in parts:
            self._append(part, directory)
        self._files = [matrix.file for matrix in self._matrices.values()]
        self._files += [file for ragged in self._ragged.values() for file in (ragged.values, ragged.splits)]
        for file in self._files:
            file.map()
        self.num_bytes = sum(file.num_bytes for file in self._files)
        self._rows_per_forgetting = max(1, mapped_bytes // (_BYTES_PER_FAULT * len(self._files)))

    def gather(self, rows: tf.Tensor) -> Columns:
        num_rows = rows.shape[0]
        types = [*self._matrices, *(each for ragged in self._ragged.values() for each in (ragged.dtype, tf.int64))]
        arrays = iter(_taken(self._take, rows, types))
        columns: Columns = {}
        for matrix in self._matrices.values():
            columns |= matrix.layout.apart(next(arrays), num_rows)
        for name, (values, row_splits) in zip(self._ragged, zip(arrays, arrays, strict=True), strict=True):
            values.set_shape([None])
            row_splits.set_shape([None if num_rows is None else num_rows + 1])
            columns[name] = tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)
        return columns

    def free(self) -> None:
        for file in self._files:
            file.free()

    def _append(self, part: Columns, directory: str | None) -> None:
        for name, column in part.items():
            if isinstance(column, tf.RaggedTensor):
                if name not in self._ragged:
                    self._ragged[name] = _Ragged.new(column.dtype, directory)
                self._ragged[name].append(column)
        for dtype, columns in _by_type(part).items():
            if dtype not in self._matrices:
                self._matrices[dtype] = _Matrix(_File(dtype, directory), _SideBySide.of(columns))
            self._matrices[dtype].append(columns)
        self.num_rows += _num_rows(part)

    def _take(self, rows: np.ndarray) -> list[np.ndarray]:
        taken = [matrix.take(rows) for matrix in self._matrices.values()]
        taken += [array for ragged in self._ragged.values() for array in ragged.take(rows)]
        # Several threads may take at a time. A number that comes out too low only defers the forgetting a little.
        self._taken += len(rows)
        if self._taken >= self._rows_per_forgetting:
            self._taken = 0
            for file in self._files:
                file.forget()
        return taken


class _File:
    """An array in a nameless file: written once, then mapped."""

    def __init__(self, dtype: tf.DType, directory: str | None):
        self._dtype = dtype.as_numpy_dtype
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 (open as long as it is read)
        self._mapping: mmap.mmap | None = None
        self.array = np.empty(0, self._dtype)
        self.num_bytes = 0

    def append(self, values: np.ndarray) -> None:
        self.num_bytes += self._file.write(np.ascontiguousarray(values, self._dtype).data)

    def map(self) -> None:
        """Ends the writing; the array is flat."""
        self._file.flush()
        if self.num_bytes:
            self._mapping = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            # Rows come in random order, and what lies around one is not needed next.
            self._mapping.madvise(mmap.MADV_RANDOM)
            self.array = np.frombuffer(self._mapping, self._dtype)

    def forget(self) -> None:
        """Unmaps all pages until they are read again; the kernel may keep them as long as memory is free."""
        if self._mapping is not None:
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def free(self) -> None:
        """Gives the file up. A thread that still takes rows keeps the mapping until it has them."""
        self.array, self._mapping = np.empty(0, self._dtype), None
        self._file.close()


@dataclass(frozen=True)
class _SideBySide:
    """Dense columns of one type as one matrix, `[rows, width]`.

    Attributes:
        shapes: Of a row, by column.
    """

    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, columns: dict[str, np.ndarray]) -> "_SideBySide":
        return cls({name: column.shape[1:] for name, column in columns.items()})

    @property
    def width(self) -> int:
        return sum(map(_width, self.shapes.values()))

    def together(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        flat = [columns[name].reshape(len(columns[name]), _width(shape)) for name, shape in self.shapes.items()]
        return np.concatenate(flat, axis=1)

    def apart(self, matrix: tf.Tensor, num_rows: int | None) -> Columns:
        widths = [_width(shape) for shape in self.shapes.values()]
        matrix.set_shape([num_rows, sum(widths)])
        parts = tf.split(matrix, widths, axis=1)
        wanted = zip(self.shapes.items(), parts, strict=True)
        return {
            name: tf.reshape(part, [-1 if num_rows is None else num_rows, *shape]) for (name, shape), part in wanted
        }


@dataclass(frozen=True)
class _Matrix:
    """A matrix in a file."""

    file: _File
    layout: _SideBySide

    def append(self, columns: dict[str, np.ndarray]) -> None:
        self.file.append(self.layout.together(columns))

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.file.array.reshape(-1, self.layout.width).take(rows, axis=0)


@dataclass
class _Ragged:
    """Values and row splits of a ragged column."""

    dtype: tf.DType
    values: _File
    splits: _File
    num_values: int = field(default=0)

    @classmethod
    def new(cls, dtype: tf.DType, directory: str | None) -> "_Ragged":
        made = cls(dtype, _File(dtype, directory), _File(tf.int64, directory))
        made.splits.append(np.zeros(1, np.int64))
        return made

    def append(self, column: tf.RaggedTensor) -> None:
        self.values.append(column.flat_values.numpy())
        self.splits.append(column.row_splits.numpy()[1:] + self.num_values)
        self.num_values += int(column.flat_values.shape[0])

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = self.splits.array.take(rows)
        lengths = self.splits.array.take(rows + 1) - first
        row_splits = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(first - row_splits[:-1], lengths) + np.arange(row_splits[-1])
        return self.values.array.take(places), row_splits


def _in_files(held: Iterator[Columns], remaining: Iterator[Columns], limits: Limits) -> RowsInFiles:
    def all_parts() -> Iterator[Columns]:
        yield from held
        yield from remaining

    directory = limits.directory or tempfile.gettempdir()
    try:
        in_files = RowsInFiles(all_parts(), directory, limits.training_bytes)
    except OSError as error:
        raise DataError(
            f"the transformed training split takes more than the {_shown(limits.training_bytes)} of memory that it "
            f"may, and cannot be written to {directory} ({error}). Free some space there, give more memory "
            "(--memory-gb), or set training.cache to none, which reads the examples in every epoch"
        ) from error
    _log.info(
        "features of %d rows: %s in files below %s, as memory may hold %s of them",
        in_files.num_rows,
        _shown(in_files.num_bytes),
        directory,
        _shown(limits.training_bytes),
    )
    return in_files


def _taken(take: Callable[[np.ndarray], list[np.ndarray]], rows: tf.Tensor, types: list[tf.DType]) -> list[tf.Tensor]:
    """What `take` gives for `rows`, also inside a graph; arrays of these types."""
    # Outside of a graph TensorFlow gives a single array without a list around it.
    return tf.nest.flatten(tf.numpy_function(take, [rows], types, stateful=False))


def _drained(parts: list[Any]) -> Iterator[Any]:
    """The parts, each of which can be freed when the next one is asked for."""
    parts.reverse()
    while parts:
        yield parts.pop()


def _by_type(part: Columns) -> dict[tf.DType, dict[str, np.ndarray]]:
    """The dense columns among `part`."""
    by_type: dict[tf.DType, dict[str, np.ndarray]] = {}
    for name, column in part.items():
        if isinstance(column, tf.Tensor):
            by_type.setdefault(column.dtype, {})[name] = column.numpy()
    return by_type


def _num_rows(part: Columns) -> int:
    first = next(iter(part.values()))
    return int(first.nrows() if isinstance(first, tf.RaggedTensor) else first.shape[0])


def _bytes(column: tf.Tensor | tf.RaggedTensor) -> int:
    tensors = tf.nest.flatten(column, expand_composites=True)
    return sum(tensor.dtype.size * int(tf.size(tensor)) for tensor in tensors)


def _width(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _shown(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.3f} GB"
