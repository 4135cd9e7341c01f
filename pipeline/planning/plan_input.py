"""What a plan is made for, whether it comes from a table set or from an experiment."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.planning.plan import PlannedTable, Workload
from trainer_module.errors import ConfigError
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS, TableOptimizerConfig
from trainer_module.suggestions import did_you_mean


@dataclass(frozen=True)
class PlanInput:
    """Input of the planner.

    Attributes:
        title: Names the source of the tables.
        workload: Tables, features and batch size.
        assumptions: Values that only the data determines and that were assumed, a sentence each.
    """

    title: str
    workload: Workload
    assumptions: tuple[str, ...] = ()


def planned_table(name: str, rows: int, dim: int, optimizer: TableOptimizerConfig) -> PlannedTable:
    """Returns the planner's view of a table; its number of slots follows from the optimizer.

    Args:
        name: Name of the table.
        rows: Number of rows, including out-of-vocabulary rows.
        dim: Width of a row.
        optimizer: Update rule of the table.
    """
    slots = EMBEDDING_OPTIMIZERS[optimizer.name].slots
    return PlannedTable(name, rows, dim, optimizer.model_dump_json(), len(slots))


def check_table_names(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Checks that all names are names of known tables.

    Args:
        where: Option or key that holds the names; begins the message.
        names: Names to check.
        known: Names of the tables.

    Raises:
        ConfigError: A name is unknown; the message suggests the nearest one.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{where}: no table is called {name}. {did_you_mean(name, known)}Known: {', '.join(known)}"
            )
