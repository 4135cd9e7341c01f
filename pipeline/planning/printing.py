"""Prints plans as tables and sentences."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.planning.accelerators import HBM_RESERVE_FRACTION, Slice
from pipeline.planning.plan import Plan, export_forecasts, make_plan, smallest_fit
from pipeline.planning.plan_input import PlanInput, check_table_names

_TABLE_WIDTH = 80

_FACT_NAMES = {
    "features": "embedding accelerator",
    "replicas_per_chip": "replicas per chip",
    "host_memory_per_chip": "host memory",
}

_FEATURE_NAMES = {"V0": "no embedding accelerator (V0)", "V1": "embedding accelerator V1", "V2": "SparseCores (V2)"}

_SHARD_NAMES = {"V0": "replica", "V1": "TensorCore", "V2": "SparseCore"}


def print_plans(plan_input: PlanInput, slices: Sequence[Slice], subset: Sequence[str], console: Console) -> None:
    """Prints one plan per slice.

    Args:
        plan_input: Tables, features and batch size.
        slices: TPU slices to plan for.
        subset: Names of the tables that the export route `subset` exports; empty means the largest table.
        console: Console to print on.

    Raises:
        ConfigError: `subset` holds an unknown table name.
    """
    workload = plan_input.workload
    check_table_names("--subset", subset, [table.name for table in workload.tables])
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
    """Returns a console that is wide enough for the numbers of a plan."""
    console = Console()
    console.width = max(console.width, _TABLE_WIDTH)
    return console


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
