"""`recspan plan`: gathers tables, features and slices, and prints where everything goes and whether it fits."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.config import Locations, PipelineConfig, load_config, read_settings
from pipeline.planning.accelerators import GENERATIONS, HBM_RESERVE_FRACTION, Slice, parse_slice
from pipeline.planning.plan import (
    Plan,
    PlannedFeature,
    PlannedTable,
    Workload,
    export_forecasts,
    make_plan,
    smallest_fit,
)
from trainer_module.data.features import Categorical, FeatureSpec, HashBuckets
from trainer_module.embeddings.config import REPLICATED_ROWS, Placement
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS, TableOptimizerConfig
from trainer_module.suggestions import did_you_mean

_TABLE_SETS = Path(__file__).parent / "table_sets"

_TABLE_WIDTH = 80

_FACT_NAMES = {
    "features": "embedding accelerator",
    "replicas_per_chip": "replicas per chip",
    "host_memory_per_chip": "host memory",
}

_FEATURE_NAMES = {"V0": "no embedding accelerator (V0)", "V1": "embedding accelerator V1", "V2": "SparseCores (V2)"}

_SHARD_NAMES = {"V0": "replica", "V1": "TensorCore", "V2": "SparseCore"}


class TableSize(Frozen):
    """A table of a table set.

    Attributes:
        rows: Including out-of-vocabulary rows.
        dim: Width; None takes the set's.
        optimizer: None takes the set's.
    """

    rows: int = Field(ge=1)
    dim: int | None = Field(default=None, ge=1)
    optimizer: TableOptimizerConfig | None = None


class FeatureUse(Frozen):
    """A feature of a table set.

    Attributes:
        table: Where its ids are looked up.
        valency: Ids per example, on average.
        max_sequence_length: 0 combines the rows of an example to one.
    """

    table: str
    valency: float = Field(default=1.0, gt=0)
    max_sequence_length: int = Field(default=0, ge=0)


class TableSet(Frozen):
    """Tables that have no data yet, as `--tables` reads them.

    Attributes:
        batch_size: Examples per step over all replicas.
        dim: Width of every table that names none.
        optimizer: Of every table that names none.
        placement: As `embeddings.placement` in an experiment.
        size_threshold: As `embeddings.size_threshold` in an experiment.
        stacking: Whether tables on SparseCores may be stacked.
        tables: By name.
        features: By name; without any, every table has one feature of one id.
    """

    batch_size: int = Field(ge=1)
    dim: int = Field(default=32, ge=1)
    optimizer: TableOptimizerConfig
    placement: Placement = "tpu_embedding"
    size_threshold: int = Field(default=REPLICATED_ROWS, ge=0)
    stacking: bool = True
    tables: dict[str, TableSize] = Field(min_length=1)
    features: dict[str, FeatureUse] = {}


@dataclass(frozen=True)
class PlanInput:
    """What is planned.

    Attributes:
        title: Where the tables come from.
        workload: Tables, features and batch.
        assumptions: What the data would have told and was assumed instead.
    """

    title: str
    workload: Workload
    assumptions: tuple[str, ...] = ()


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
        _check_known(f"{file}: features.{name}.table", [use.table], tables.tables)
    workload = Workload(
        tables=tuple(
            _planned_table(name, size.rows, size.dim or tables.dim, size.optimizer or tables.optimizer)
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


def from_experiment(
    file: Path | None, overrides: Mapping[str, Any], root: Path, transform_graph: Path | None
) -> PlanInput:
    """Takes tables from an experiment and their rows from a transform graph.

    Args:
        file: Experiment file; None is the preset of the dataset.
        overrides: Values by dotted key, as in `{"embeddings.dim": 64}`.
        root: Holds the artifacts of the pipeline's runs.
        transform_graph: Directory of the graph; None takes the newest one of this pipeline below `root`.

    Raises:
        ConfigError: The experiment is wrong, or there is no transform graph that knows its tables.
    """
    config = load_config(file, overrides)
    spec = config.experiment.features(config.dataset.features)
    graph = transform_graph or _newest_transform_graph(config, root)
    rows = _table_rows(spec, graph)
    return PlanInput(
        f"experiment {config.pipeline_name}, rows from {graph}", _workload(config, spec, rows), _assumptions(spec)
    )


def print_plans(plan_input: PlanInput, slices: Sequence[Slice], subset: Sequence[str], console: Console) -> None:
    """Prints one plan per slice.

    Args:
        plan_input: What is planned.
        slices: Where.
        subset: Tables that the export route `subset` holds; empty means the largest one.
        console: Where to print.

    Raises:
        ConfigError: `subset` names no table.
    """
    workload = plan_input.workload
    _check_known("--subset", subset, [table.name for table in workload.tables])
    subset = subset or [max(workload.tables, key=lambda table: table.parameter_bytes).name]
    _print_lines(
        console,
        [
            f"[bold]{escape(plan_input.title)}[/bold]",
            f"{_count(len(workload.tables), 'table')}, {sum(table.rows for table in workload.tables):,} rows; "
            f"{_count(len(workload.features), 'feature')}; batch size {workload.batch_size:,}; placement "
            f"{workload.placement}",
            f"export (tables without slots): {_size(workload.parameter_bytes)}; with slots: "
            f"{_size(workload.training_bytes)}",
            *(f"assumed: {escape(text)}" for text in plan_input.assumptions),
        ],
    )
    for slice_ in slices:
        console.print()
        _print_plan(make_plan(workload, slice_), subset, console)


def plan_console() -> Console:
    """A console that is never narrower than the numbers of a plan need."""
    console = Console()
    console.width = max(console.width, _TABLE_WIDTH)
    return console


def parse_slices(names: Iterable[str]) -> list[Slice]:
    """Reads the names of slices.

    Raises:
        ConfigError: There is none, or one is unknown.
    """
    slices = [parse_slice(name) for name in names]
    if not slices:
        known = ", ".join(f"{g.slice_names[0]} to {g.slice_names[-1]}" for g in GENERATIONS)
        raise ConfigError(f"--tpu: name at least one slice, as in --tpu v4-8 --tpu v6e-16. Known: {known}")
    return slices


def _table_set_file(file: Path) -> Path:
    if file.exists():
        return file
    shipped = {path.stem: path for path in sorted(_TABLE_SETS.glob("*.yaml"))}
    if str(file) in shipped:
        return shipped[str(file)]
    raise ConfigError(f"--tables {file}: no such file. Sets that come with the product: {', '.join(shipped)}")


def _planned_table(name: str, rows: int, dim: int, optimizer: TableOptimizerConfig) -> PlannedTable:
    slots = EMBEDDING_OPTIMIZERS[optimizer.name].slots
    return PlannedTable(name, rows, dim, optimizer.model_dump_json(), len(slots))


def _workload(config: PipelineConfig, spec: FeatureSpec, rows: Mapping[str, int]) -> Workload:
    embeddings, training = config.embeddings, config.training
    return Workload(
        tables=tuple(
            _planned_table(
                table.name,
                rows[table.name],
                table.dim or embeddings.dim,
                table.optimizer or training.embedding_optimizer,
            )
            for table in spec.tables
        ),
        features=tuple(
            PlannedFeature(column.name, column.table, column.max_sequence_length or 1, column.max_sequence_length)
            for column in spec.categorical
        ),
        batch_size=training.batch_size,
        placement=embeddings.placement,
        size_threshold=embeddings.size_threshold,
    )


def _assumptions(spec: FeatureSpec) -> tuple[str, ...]:
    def names(columns: Iterable[Categorical]) -> str:
        return ", ".join(column.name for column in columns)

    bags = [column for column in spec.categorical if column.multivalent and not column.max_sequence_length]
    sequences = [column for column in spec.categorical if column.max_sequence_length]
    return (
        *([f"one id per example in {names(bags)}; their true number is only in the data"] if bags else ()),
        *([f"full sequences in {names(sequences)}"] if sequences else ()),
    )


def _newest_transform_graph(config: PipelineConfig, root: Path) -> Path:
    where = Locations.resolve(config, root).artifacts(config.pipeline_name) / "Transform" / "transform_graph"
    graphs = [graph for graph in where.glob("*") if graph.name.isdecimal() and (graph / "transform_fn").is_dir()]
    if not graphs:
        raise ConfigError(
            f"no transform graph of the pipeline {config.pipeline_name} in {where}; the number of rows comes from "
            "there. Run `recspan pipeline run` with this experiment once, name a graph with --transform-graph, or plan "
            "without data with --tables"
        )
    return max(graphs, key=lambda graph: int(graph.name))


def _table_rows(spec: FeatureSpec, graph: Path) -> dict[str, int]:
    if not (graph / "transform_fn").is_dir():
        raise ConfigError(f"--transform-graph {graph}: not a transform graph, it holds no directory transform_fn")
    from pipeline.console import chatter_to

    with chatter_to(Path(os.devnull)):
        import tensorflow_transform as tft

        from trainer_module.data.vocabularies import table_rows

        output = tft.TFTransformOutput(str(graph))
        counted = [table.name for table in spec.tables if not isinstance(table.vocabulary, HashBuckets)]
        missing = [name for name in counted if not output.vocabulary_file_by_name(name)]
        rows = {} if missing else table_rows(spec, output)
    if missing:
        raise ConfigError(
            f"{graph}: has no vocabulary of table(s) {', '.join(missing)}. Run `recspan pipeline run` with this "
            "experiment, or name another graph with --transform-graph"
        )
    return rows


def _check_known(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{where}: no table is called {name}. {did_you_mean(name, known)}Known: {', '.join(known)}"
            )


def _print_plan(plan: Plan, subset: Sequence[str], console: Console) -> None:
    _print_lines(console, [_machine(plan)])
    console.print(_placement(plan))
    if plan.stacks:
        console.print(_stacking(plan))
    _print_lines(console, [*_verdict(plan), *_alternatives(plan), _checkpoint(plan), *_limits(plan)])
    console.print(_exports(plan, subset))
    _print_lines(console, _caveats(plan))


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _machine(plan: Plan) -> str:
    slice_ = plan.slice
    parts = [_count(slice_.chips, "chip"), _count(slice_.cores, "TensorCore")]
    if plan.feature == "V2":
        parts.append(_count(slice_.sparse_cores, "SparseCore"))
    parts.append(f"{_count(slice_.replicas, 'replica')} of {_size(slice_.hbm_per_replica)} HBM")
    parts.append(_count(slice_.hosts, "host"))
    return f"[bold]{slice_.name}[/bold]: {_FEATURE_NAMES[plan.feature]}; {', '.join(parts)}"


def _placement(plan: Plan) -> Table:
    shard = _SHARD_NAMES[plan.feature]
    stack_numbers = {stack.name: str(number) for number, stack in enumerate(plan.stacks, 1)}
    table = _table()
    table.add_column("table", overflow="fold", min_width=8)
    table.add_column("place", no_wrap=True)
    _add_numeric(table, "rows", "dim", "slots", f"rows per\n{shard}", f"bytes per\n{shard}")
    if plan.stacks:
        _add_numeric(table, "stack")
    for placed in plan.placed:
        size = placed.table
        dim = str(size.dim) if placed.width == size.dim else f"{size.dim} → {placed.width}"
        cells = [f"{size.rows:,}", dim, str(size.slots), f"{placed.rows:,}", _size(placed.shard_bytes)]
        stack = [stack_numbers.get(placed.stack, "")] if plan.stacks else []
        table.add_row(escape(size.name), placed.place, *cells, *stack)
    return table


def _stacking(plan: Plan) -> Table:
    table = _table()
    _add_numeric(table, "stack", "tables", "width", "rows per\nSparseCore", "bytes per\nSparseCore")
    for number, stack in enumerate(plan.stacks, 1):
        held = sum(placed.shard_bytes for placed in plan.placed if placed.stack == stack.name)
        table.add_row(str(number), str(len(stack.tables)), str(stack.width), f"{stack.rows:,}", _size(held))
    return table


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _add_numeric(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)


def _verdict(plan: Plan) -> list[str]:
    numbers = (
        f"tables and slots take {_size(plan.table_bytes)} of a replica's HBM, {_size(plan.budget)} are there for them "
        f"({HBM_RESERVE_FRACTION:.0%} of {_size(plan.slice.hbm_per_replica)} stay free for everything else); "
        f"looked-up rows and their gradients take {_size(plan.activation_bytes)} of the {_size(plan.reserve)} kept free"
    )
    verdict = "[bold green]fits[/bold green]" if plan.fits else "[bold red]does not fit[/bold red]"
    return [f"{verdict}: {numbers}", _smallest(plan)]


def _smallest(plan: Plan) -> str:
    generation = plan.slice.generation
    found = smallest_fit(plan.workload, plan.slice, plan.feature)
    if found:
        return f"smallest {generation.name} slice that fits: {found.slice.name}"
    why = " (every replica holds every table, so more chips do not help)" if plan.feature == "V0" else ""
    return f"no {generation.name} slice fits, {generation.slice_names[-1]} included{why}"


def _alternatives(plan: Plan) -> list[str]:
    """The result if TensorFlow reports another accelerator than assumed, where that is in doubt."""
    others = (feature for feature in plan.slice.generation.features.value if feature != plan.feature)
    lines = []
    for feature in others:
        other = make_plan(plan.workload, plan.slice, feature)
        verdict = "fits" if other.fits else "does not fit"
        lines.append(
            f"with {_FEATURE_NAMES[feature]} instead: {verdict}, {_size(other.table_bytes)} per replica; "
            f"{_smallest(other)}"
        )
    return lines


def _checkpoint(plan: Plan) -> str:
    padding = ", stacked and padded" if plan.stacks else ""
    return f"checkpoint: {_size(plan.checkpoint_bytes)} of tables and slots{padding}, and the dense part"


def _limits(plan: Plan) -> list[str]:
    return [
        f"{'[green]✓[/green]' if check.ok else '[bold red]✗[/bold red]'} {escape(check.text)}" for check in plan.checks
    ]


def _exports(plan: Plan, subset: Sequence[str]) -> Table:
    host = plan.slice.host_memory
    table = _table()
    table.add_column("export route", no_wrap=True)
    _add_numeric(table, "host memory")
    table.add_column(
        f"of {_size(host)} that a host has" if host else "(what a host has is not documented)", overflow="fold"
    )
    for forecast in export_forecasts(plan, subset):
        if forecast.host_bytes is None:
            table.add_row(forecast.route, "not possible", escape(forecast.reason))
            continue
        over = " [bold red](too much)[/bold red]" if host and forecast.host_bytes > host else ""
        table.add_row(forecast.route, _size(forecast.host_bytes), escape(forecast.reason) + over)
    return table


def _caveats(plan: Plan) -> list[str]:
    generation = plan.slice.generation
    facts = [f"{_FACT_NAMES[name]} of a {generation.name} ({fact.source})" for name, fact in generation.unconfirmed]
    return [
        *(f"[yellow]not confirmed[/yellow]: {escape(fact)}" for fact in facts),
        *(f"[yellow]note[/yellow]: {escape(remark)}" for remark in generation.remarks),
    ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(size: int) -> str:
    """In binary units, as memory is sold."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} TiB"
