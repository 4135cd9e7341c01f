"""How much memory an export will take, before it takes it. Free of TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass

from trainer_module.data.features import FeatureSpec
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError
from trainer_module.export.config import ExportConfig, Route
from trainer_module.training.config import TrainingConfig

_BYTES_PER_NUMBER = 4

SCALE_BYTES = 4
"""Bytes of the scale of a row of int8 numbers."""

# Tracing, the dense part, buffers of files; `python -m benchmarks.export` shows what it came to.
WORKING_BYTES = 128 << 20


def table_bytes(spec: FeatureSpec, rows: Mapping[str, int], embeddings: EmbeddingsConfig) -> dict[str, int]:
    """Bytes of every table, without optimizer slots."""
    return {table.name: rows[table.name] * (table.dim or embeddings.dim) * _BYTES_PER_NUMBER for table in spec.tables}


def quantized_bytes(spec: FeatureSpec, rows: Mapping[str, int], embeddings: EmbeddingsConfig) -> dict[str, int]:
    """Bytes of every table as int8 rows and their scales."""
    return {table.name: rows[table.name] * ((table.dim or embeddings.dim) + SCALE_BYTES) for table in spec.tables}


def slot_bytes(spec: FeatureSpec, tables: Mapping[str, int], training: TrainingConfig) -> int:
    """Bytes of the optimizer slots of all tables: each slot is as large as its table."""
    return sum(
        tables[table.name] * len((table.optimizer or training.embedding_optimizer).slots) for table in spec.tables
    )


def subset_tables(spec: FeatureSpec, features: tuple[str, ...]) -> set[str]:
    """Tables in which `features` look up.

    Raises:
        ConfigError: A name is not that of a categorical column.
    """
    table_of = {column.name: column.table for column in spec.categorical}
    if unknown := [name for name in features if name not in table_of]:
        raise ConfigError(f"export.features: no categorical column {', '.join(unknown)}; known: {', '.join(table_of)}")
    return {table_of[name] for name in features}


@dataclass(frozen=True)
class Forecast:
    """What the routes would take.

    Attributes:
        table_bytes: Of the tables to be exported, without slots.
        slot_bytes: Of the optimizer slots, which every route leaves behind.
        resident_bytes: Of this process before the export, the training model included if it lives here.
        available_bytes: What the machine still has.
        quantized_bytes: Of the int8 rows that are made beside the copy; 0 where tables stay as they are.
    """

    table_bytes: int
    slot_bytes: int
    resident_bytes: int
    available_bytes: int
    quantized_bytes: int = 0

    def peak_bytes(self, route: Route) -> int:
        """Largest resident memory on a route.

        A copy adds its tables, one after the other, and their int8 rows if it is quantized; `direct` adds none.
        """
        return self.resident_bytes + self._growth(route)

    def choose(self, config: ExportConfig, model_lives_here: bool) -> Route:
        """The configured route; for `auto` the copy if it fits, is to be quantized or nothing else is possible.

        The copy is preferred since it needs neither strategy nor accelerator and computes in float32.

        Args:
            config: Says which.
            model_lives_here: Whether this process holds the training model, which alone can be exported directly.
        """
        if config.route != "auto":
            return config.route
        if config.quantize:
            return "checkpoint"
        return "direct" if model_lives_here and self._growth("checkpoint") > self.available_bytes else "checkpoint"

    def describe(self, route: Route) -> str:
        """One line for the log."""
        return (
            f"export by route {route}: tables {_gigabytes(self.table_bytes)}, optimizer slots "
            f"{_gigabytes(self.slot_bytes)} (left behind), resident {_gigabytes(self.resident_bytes)}, available "
            f"{_gigabytes(self.available_bytes)}; forecast peak {_gigabytes(self.peak_bytes(route))}"
        )

    def _growth(self, route: Route) -> int:
        return WORKING_BYTES + (0 if route == "direct" else self.table_bytes + self.quantized_bytes)


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.2f} GB"
