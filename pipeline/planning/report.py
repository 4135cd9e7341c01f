"""`recspan plan`: shows where embedding tables go on TPU slices, what they need there and whether they fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.planning.accelerators import parse_slices
from pipeline.planning.experiment_tables import from_experiment
from pipeline.planning.printing import plan_console, print_plans
from pipeline.planning.table_set import from_table_set
from trainer_module.errors import ConfigError


def report_plans(
    slice_names: Sequence[str],
    overrides: Mapping[str, Any],
    *,
    table_set: Path | None,
    experiment: Path | None,
    root: Path,
    transform_graph: Path | None,
    subset: Sequence[str],
) -> None:
    """Plans a table set or an experiment for every slice and prints the plans.

    Args:
        slice_names: Names of TPU slices, as in `v4-8`.
        overrides: Values by dotted key.
        table_set: File or name of a table set; None plans an experiment.
        experiment: Experiment file; None means the dataset's preset. See `from_experiment`.
        root: Directory of the pipeline's runs.
        transform_graph: Source of the numbers of rows; None means the newest one below `root`.
        subset: Names of the tables that the export route `subset` exports; empty means the largest table.

    Raises:
        ConfigError: The options contradict each other, or one of them is invalid.
    """
    if table_set and (experiment or transform_graph):
        raise ConfigError("--tables has rows of its own; give it without --config and --transform-graph")
    slices = parse_slices(slice_names)
    if table_set:
        plan_input = from_table_set(table_set, overrides)
    else:
        plan_input = from_experiment(experiment, overrides, root, transform_graph)
    print_plans(plan_input, slices, subset, plan_console())
