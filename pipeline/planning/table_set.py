"""Reads table sets: tables that have no data yet, described in YAML (`recspan plan --tables`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.config import read_settings
from pipeline.planning.plan import PlannedFeature, Workload
from pipeline.planning.plan_input import PlanInput, check_table_names, planned_table
from trainer_module.embeddings.config import REPLICATED_ROWS, Placement
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen
from trainer_module.optimizers.config import TableOptimizerConfig

_DIRECTORY = Path(__file__).parent / "table_sets"


class TableSize(Frozen):
    """A table of a table set.

    Attributes:
        rows: Number of rows, including out-of-vocabulary rows.
        dim: Width of a row; None means the set's `dim`.
        optimizer: Update rule of the table; None means the set's `optimizer`.
    """

    rows: int = Field(ge=1)
    dim: int | None = Field(default=None, ge=1)
    optimizer: TableOptimizerConfig | None = None


class FeatureUse(Frozen):
    """A feature of a table set.

    Attributes:
        table: Table in which the ids are looked up.
        valency: Average number of ids per example.
        max_sequence_length: Rows that the lookup returns per example; 0 combines the rows to one.
    """

    table: str
    valency: float = Field(default=1.0, gt=0)
    max_sequence_length: int = Field(default=0, ge=0)


class TableSet(Frozen):
    """File format of `--tables`: tables without data.

    Attributes:
        batch_size: Examples per step over all replicas.
        dim: Width of tables that do not set their own.
        optimizer: Update rule of tables that do not set their own.
        placement: Same as `embeddings.placement` in an experiment.
        size_threshold: Same as `embeddings.size_threshold` in an experiment.
        stacking: Whether tables on SparseCores may be stacked.
        tables: Tables by name.
        features: Features by name; if empty, every table gets one feature with one id per example.
    """

    batch_size: int = Field(ge=1)
    dim: int = Field(default=32, ge=1)
    optimizer: TableOptimizerConfig
    placement: Placement = "tpu_embedding"
    size_threshold: int = Field(default=REPLICATED_ROWS, ge=0)
    stacking: bool = True
    tables: dict[str, TableSize] = Field(min_length=1)
    features: dict[str, FeatureUse] = {}


def from_table_set(file: Path, overrides: Mapping[str, Any]) -> PlanInput:
    """Reads a table set.

    Args:
        file: YAML, or the name of a set that comes with the product, such as `criteo-1tb`.
        overrides: Values by dotted key, as in `{"batch_size": 4096}`.

    Raises:
        ConfigError: There is no such file, a key is unknown, a value is wrong, or a feature names no table.
    """
    source = _table_set_file(file)
    tables = read_settings(TableSet, source, overrides, where=f"{file}: ")
    uses = tables.features or {name: FeatureUse(table=name) for name in tables.tables}
    for name, use in uses.items():
        check_table_names(f"{file}: features.{name}.table", [use.table], tables.tables)
    workload = Workload(
        tables=tuple(
            planned_table(name, size.rows, size.dim or tables.dim, size.optimizer or tables.optimizer)
            for name, size in tables.tables.items()
        ),
        features=tuple(
            PlannedFeature(name, use.table, use.valency, use.max_sequence_length) for name, use in uses.items()
        ),
        batch_size=tables.batch_size,
        placement=tables.placement,
        size_threshold=tables.size_threshold,
        stacking=tables.stacking,
    )
    return PlanInput(f"tables of {file}", workload)


def _table_set_file(file: Path) -> Path:
    if file.exists():
        return file
    shipped = {path.stem: path for path in sorted(_DIRECTORY.glob("*.yaml"))}
    if str(file) in shipped:
        return shipped[str(file)]
    raise ConfigError(f"--tables {file}: no such file. Sets that come with the product: {', '.join(shipped)}")
