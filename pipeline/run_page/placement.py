"""Where the embedding tables would lie on a TPU."""

from components.run_report.page import Block, Cell, Column, Section, Table
from pipeline.planning.accelerators import GENERATIONS, Slice, slices_of
from pipeline.planning.plan import Plan, Workload, make_plan, smallest_fit
from pipeline.vertex.config import TrainerMachine
from pipeline.vertex.machines import find_machine

ID = "placement"
_MEGABYTE = 10**6
_DRAWN = "v6e"


def placement(workload: Workload, trainer: TrainerMachine | None) -> Section | None:
    """The smallest slices that hold the tables, and where each table lies on one; None for a model without tables.

    Args:
        workload: The tables with their rows.
        trainer: The machine that the experiment trains on; None for any other than Vertex AI's.
    """
    if not workload.tables:
        return None
    plans = {generation.name: _smallest(workload, slices_of(generation)[0]) for generation in GENERATIONS}
    fitting: list[tuple[Cell, ...]] = [
        (name, "none", None, None)
        if plan is None
        else (name, plan.slice.name, float(plan.slice.chips), _megabytes(plan))
        for name, plan in plans.items()
    ]
    columns = (
        Column(name="generation"),
        Column(name="smallest slice that fits"),
        Column(name="chips", digits=0),
        Column(name="tables and slots on a replica, MB", digits=2),
    )
    blocks: list[Block] = [Table(title="by TPU generation", columns=columns, rows=tuple(fitting))]
    chosen = _chosen(trainer, workload) or plans.get(_DRAWN)
    if chosen is not None:
        blocks.append(_tables(chosen))
    return Section(id=ID, title="Placement on TPUs", blocks=tuple(blocks))


def _smallest(workload: Workload, first: Slice) -> Plan | None:
    return smallest_fit(workload, first, first.generation.features.value[0])


def _chosen(trainer: TrainerMachine | None, workload: Workload) -> Plan | None:
    """The plan on the slice that the experiment trains on."""
    if trainer is None:
        return None
    machine = find_machine(trainer)
    return make_plan(workload, machine.slice) if machine.slice else None


def _megabytes(plan: Plan) -> float:
    return plan.table_bytes / _MEGABYTE


def _tables(plan: Plan) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            placed.table.name,
            placed.place,
            float(placed.table.rows),
            float(placed.table.dim),
            float(placed.table.slots),
            float(placed.shards),
            float(placed.rows),
            placed.shard_bytes / _MEGABYTE,
        )
        for placed in plan.placed
    ]
    heads = (("rows", 0), ("dim", 0), ("slots", 0), ("shards", 0), ("rows of a shard", 0), ("MB of a shard", 3))
    return Table(
        title=f"tables on {plan.slice.name}",
        columns=(
            Column(name="table"),
            Column(name="place"),
            *(Column(name=name, digits=digits) for name, digits in heads),
        ),
        rows=tuple(rows),
        note="The command recspan plan explains the numbers, for any slice.",
    )
