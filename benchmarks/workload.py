"""The benchmark's click model as plain data, and the measurement functions.

Imports neither TensorFlow nor PyTorch, because contenders of both use it.
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """A DLRM and its data.

    Attributes:
        directory: Directory of the workload's files; see `file`.
        rows: Number of rows of each table.
        num_examples: Size of the data set.
        batch_sizes: Batch sizes in ascending order, so that the peak memory after each belongs to that size.
        seconds: Length of one measurement.
        dim: Width of the tables and of the bottom MLP's output.
        num_numbers: Number of numeric columns.
        bottom: Hidden widths of the bottom MLP.
        top: Hidden widths of the top MLP.
        learning_rate: Adagrad's learning rate for tables and dense part.
        initial_accumulator_value: Adagrad's initial accumulator; small, so that table updates affect the loss within a
            few steps.
        epsilon: Adagrad's epsilon; Keras' default.
        checked_steps: Number of steps per mean loss. Contenders are compared on two consecutive means.
    """

    directory: str
    rows: tuple[int, ...]
    num_examples: int = 131_072
    batch_sizes: tuple[int, ...] = (1024, 4096, 16_384)
    seconds: float = 2.0
    dim: int = 32
    num_numbers: int = 13
    bottom: tuple[int, ...] = (256, 64)
    top: tuple[int, ...] = (256, 128)
    learning_rate: float = 0.01
    initial_accumulator_value: float = 1e-8
    epsilon: float = 1e-7
    checked_steps: int = 20

    @property
    def table_bytes(self) -> int:
        """Bytes of all tables, without optimizer slots."""
        return sum(self.rows) * self.dim * 4

    @property
    def dense_shapes(self) -> list[tuple[int, int]]:
        """Shapes of the dense layers' kernels, bottom MLP first."""
        num_vectors = len(self.rows) + 1
        bottom = [self.num_numbers, *self.bottom, self.dim]
        top = [self.dim + num_vectors * (num_vectors - 1) // 2, *self.top, 1]
        return [pair for widths in (bottom, top) for pair in itertools.pairwise(widths)]

    def file(self, name: str) -> Path:
        """Path of a file of the workload.

        The files are `table-N.f32` (raw `[rows, dim]`), `dense.npz` (`kernel-N`, `bias-N`), `ids.npy`, `numbers.npy`,
        `labels.npy` (in the order of the first epoch) and `examples-*.gz`.
        """
        return Path(self.directory, name)

    def save(self) -> Path:
        """Writes the description as JSON and returns its path."""
        path = self.file("workload.json")
        path.write_text(json.dumps(dataclasses.asdict(self)))
        return path

    @classmethod
    def load(cls, path: str) -> "Workload":
        values = json.loads(Path(path).read_text())
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def criteo_rows(
    scale: float = 1.0, largest: int = 2_000_000, smallest: int = 1000, tables: int = 26
) -> tuple[int, ...]:
    """Row counts that decrease geometrically from `largest` to `smallest`, times `scale`."""
    ratio = (smallest / largest) ** (1 / (tables - 1))
    return tuple(max(2, round(scale * largest * ratio**number)) for number in range(tables))


def throughput(run: Callable[[int], object], batch_size: int, seconds: float) -> float:
    """Measures examples per second of `run(num_steps)`, which must return when the steps are done."""
    run(2)
    started = time.perf_counter()
    run(4)
    steps = max(4, round(4 * seconds / (time.perf_counter() - started)))
    started = time.perf_counter()
    run(steps)
    return steps * batch_size / (time.perf_counter() - started)


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes (Linux only)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
