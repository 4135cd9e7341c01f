"""Plans embedding tables on a TPU slice: their placement, their memory and whether they fit.

A plan needs no machine and no TensorFlow. It holds the rows and bytes of every table per TensorCore or SparseCore with
optimizer slots, padding and stacking, the rules for the batch size, and the sizes of checkpoints and exports. The
layout on SparseCores follows TensorFlow 2.21 (`tensorflow/core/tpu/kernels/sparse_core_layout.cc`); tests compare it
with TensorFlow's own objects. The padding of tables on the first embedding accelerator is not public.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pipeline.planning.accelerators import HBM_RESERVE_FRACTION, EmbeddingFeature, Slice, slices_of
from trainer_module.embeddings.config import REPLICATED_ROWS, Placement, is_replicated
from trainer_module.export.config import Route
from trainer_module.export.forecast import WORKING_BYTES, Forecast

Place = Literal["replicated", "V1 sharded", "V2 SparseCore", "V0 replicated"]

FLOAT_BYTES = 4
"""Tables and slots are float32 on every accelerator."""

EXPORTER_BYTES = 2**30
"""Peak memory of an exporting process without its tables; `python -m benchmarks.export` measured 0.7 to 0.8 GB."""

# SparseCore layout: `SparseCoreLayoutStacker` and tensorflow/compiler/jit/flags.cc.
PADDING = 8
"""Rows per SparseCore and columns are padded to multiples of this."""
STACK_ACTIVATION_BYTES = 2 * 2**20
"""A stack's activations per SparseCore stay below this."""
STACK_SHARD_BYTES = 2**31
"""A stack's table bytes per chip, without slots, stay below this."""
STACK_ROWS = 2**31 - 1
"""A stack's rows stay below this; row numbers are signed 32-bit integers."""

# Defaults of `SparseCoreEmbeddingConfig` and `TPUEmbeddingV2`.
MAX_IDS_PER_EXAMPLE = 64
MAX_IDS_PER_PARTITION = 256


@dataclass(frozen=True)
class PlannedTable:
    """Size of a table.

    Attributes:
        name: Unique name.
        rows: Number of rows, including out-of-vocabulary rows.
        dim: Width of a row.
        optimizer: Name of the update rule with all its arguments; only tables with the same one are stacked.
        slots: Number of optimizer slots, each as large as the table.
    """

    name: str
    rows: int
    dim: int
    optimizer: str
    slots: int

    @property
    def parameter_bytes(self) -> int:
        return self.rows * self.dim * FLOAT_BYTES

    @property
    def training_bytes(self) -> int:
        """With slots, without padding."""
        return self.parameter_bytes * (1 + self.slots)


@dataclass(frozen=True)
class PlannedFeature:
    """A feature that looks up rows.

    Attributes:
        name: Unique name.
        table: Name of its table.
        valency: Average number of ids per example.
        max_sequence_length: 0 if the rows of an example are combined to one.
    """

    name: str
    table: str
    valency: float = 1.0
    max_sequence_length: int = 0

    @property
    def rows_per_example(self) -> int:
        """Number of rows that the lookup returns per example."""
        return max(1, self.max_sequence_length)


@dataclass(frozen=True)
class Workload:
    """The tables and the batch of a training.

    Attributes:
        tables: All embedding tables.
        features: All features; each names a table of `tables`.
        batch_size: Examples per step over all replicas.
        placement: Same as `embeddings.placement` in an experiment.
        size_threshold: Same as `embeddings.size_threshold` in an experiment, in rows.
        stacking: Whether tables on SparseCores may be stacked.
    """

    tables: tuple[PlannedTable, ...]
    features: tuple[PlannedFeature, ...]
    batch_size: int
    placement: Placement = "tpu_embedding"
    size_threshold: int = REPLICATED_ROWS
    stacking: bool = True

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all tables without slots, which an export holds."""
        return sum(table.parameter_bytes for table in self.tables)

    @property
    def training_bytes(self) -> int:
        """Bytes of all tables with slots."""
        return sum(table.training_bytes for table in self.tables)

    @property
    def accelerated(self) -> tuple[PlannedTable, ...]:
        """The tables that go to the embedding accelerator, if there is one."""
        return tuple(
            table for table in self.tables if not is_replicated(table.rows, self.placement, self.size_threshold)
        )


@dataclass(frozen=True)
class PlacedTable:
    """A table on a slice.

    Attributes:
        table: The table.
        place: Kind of memory that holds it.
        shards: Number of TensorCores (V1), SparseCores (V2) or replicas (otherwise) that hold a part or a copy.
        rows: Rows per shard, with padding.
        width: Width of a row, with padding.
        stack: Name of the stacked table that contains it; empty without SparseCores.
    """

    table: PlannedTable
    place: Place
    shards: int
    rows: int
    width: int
    stack: str = ""

    @property
    def shard_bytes(self) -> int:
        """Bytes of one shard with slots and padding."""
        return self.rows * self.width * FLOAT_BYTES * (1 + self.table.slots)

    @property
    def is_sharded(self) -> bool:
        return self.place in ("V1 sharded", "V2 SparseCore")

    @property
    def stored_bytes(self) -> int:
        """Bytes of table and slots in a checkpoint: padded on SparseCores, one plain copy elsewhere."""
        return self.shard_bytes * self.shards if self.place == "V2 SparseCore" else self.table.training_bytes


@dataclass(frozen=True)
class Stack:
    """Tables that share one variable on SparseCores.

    Attributes:
        tables: Tables in the order of the variable's rows.
        rows: Rows per SparseCore over all tables, with padding.
        width: Width of a row, with padding.
    """

    tables: tuple[PlannedTable, ...]
    rows: int
    width: int

    @property
    def name(self) -> str:
        return "_".join(table.name for table in self.tables)


@dataclass(frozen=True)
class Check:
    """Result of checking one rule.

    Attributes:
        ok: Whether the plan obeys the rule.
        text: The rule with its numbers, and how to mend a violation.
    """

    ok: bool
    text: str


@dataclass(frozen=True)
class Plan:
    """A workload on a slice.

    Attributes:
        workload: Tables and batch.
        slice: The slice.
        feature: Hardware that looks up embeddings.
        placed: Every table, in the order of the workload.
        stacks: Stacked tables; empty without SparseCores.
    """

    workload: Workload
    slice: Slice
    feature: EmbeddingFeature
    placed: tuple[PlacedTable, ...]
    stacks: tuple[Stack, ...]

    @cached_property
    def table_bytes(self) -> int:
        """HBM that tables and slots take on one replica."""
        return sum(placed.shard_bytes * placed.shards // self.slice.replicas for placed in self.placed)

    @property
    def budget(self) -> int:
        """HBM that tables may take on one replica."""
        return self.slice.hbm_per_replica - self.reserve

    @property
    def reserve(self) -> int:
        """HBM that is kept free of tables on one replica."""
        return int(self.slice.hbm_per_replica * HBM_RESERVE_FRACTION)

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of the looked-up rows and their gradients, for one step on one replica."""
        dims = {table.name: table.dim for table in self.workload.tables}
        values = sum(feature.rows_per_example * dims[feature.table] for feature in self.workload.features)
        return 2 * FLOAT_BYTES * values * math.ceil(self.workload.batch_size / self.slice.replicas)

    @property
    def fits(self) -> bool:
        return self.table_bytes <= self.budget and self.activation_bytes <= self.reserve

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of tables and slots in a checkpoint."""
        return sum(placed.stored_bytes for placed in self.placed)

    @property
    def host_table_bytes(self) -> int:
        """Bytes of tables and slots in one host's memory when they are saved, loaded or exported there.

        Sharded tables are divided evenly among the hosts; a replicated table is copied to each.
        """
        return sum(placed.stored_bytes // (self.slice.hosts if placed.is_sharded else 1) for placed in self.placed)

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Results of all rules for the batch and the tables."""
        return (*_batch_checks(self), *_table_checks(self))


@dataclass(frozen=True)
class ExportForecast:
    """Expected memory of an export route.

    Attributes:
        route: Name of the route in the configuration.
        host_bytes: Peak resident memory of the exporting process; None if the route is not possible.
        reason: Explains the memory, or why the route is not possible.
    """

    route: Route
    host_bytes: int | None
    reason: str


def make_plan(workload: Workload, slice_: Slice, feature: EmbeddingFeature | None = None) -> Plan:
    """Places a workload on a slice.

    Args:
        workload: Tables and batch.
        slice_: The slice.
        feature: Hardware that looks up embeddings; None means what the generation most likely has.
    """
    feature = feature or slice_.generation.features.value[0]
    accelerated = workload.accelerated if feature != "V0" else ()
    stacks = _stacks(workload, accelerated, slice_) if feature == "V2" else ()
    stack_of = {table.name: stack for stack in stacks for table in stack.tables}
    names = {table.name for table in accelerated}

    def place(table: PlannedTable) -> PlacedTable:
        if table.name not in names:
            wanted = any(table.name == other.name for other in workload.accelerated)
            how: Place = "V0 replicated" if wanted else "replicated"
            return PlacedTable(table, how, slice_.replicas, table.rows, table.dim)
        if feature == "V1":
            return PlacedTable(table, "V1 sharded", slice_.cores, rows_per_core(table.rows, slice_), table.dim)
        stack = stack_of[table.name]
        rows = rows_per_sparse_core(table.rows, slice_.sparse_cores)
        return PlacedTable(table, "V2 SparseCore", slice_.sparse_cores, rows, stack.width, stack.name)

    return Plan(workload, slice_, feature, tuple(place(table) for table in workload.tables), stacks)


def smallest_fit(workload: Workload, slice_: Slice, feature: EmbeddingFeature) -> Plan | None:
    """Returns the plan on the smallest slice of the same generation that fits; None if none fits."""
    plans = (make_plan(workload, candidate, feature) for candidate in slices_of(slice_.generation))
    return next((plan for plan in plans if plan.fits), None)


def export_forecasts(plan: Plan, subset: Sequence[str]) -> tuple[ExportForecast, ...]:
    """Forecasts the host memory of the three export routes.

    Args:
        plan: The plan; the route `direct` depends on how it spreads the tables over hosts.
        subset: Names of the tables that the route `subset` exports.
    """
    chosen = sum(table.parameter_bytes for table in plan.workload.tables if table.name in subset)
    return (
        ExportForecast(
            "checkpoint",
            _export_peak("checkpoint", plan.workload.parameter_bytes),
            "all tables without slots, in any process with a CPU",
        ),
        ExportForecast(
            "subset", _export_peak("subset", chosen), f"the chosen tables without slots, likewise: {', '.join(subset)}"
        ),
        _direct_forecast(plan),
    )


def _direct_forecast(plan: Plan) -> ExportForecast:
    obstacle = ""
    if plan.stacks:
        obstacle = "SparseCores keep tables stacked"
    elif plan.slice.hosts > 1 and any(placed.is_sharded for placed in plan.placed):
        obstacle = f"each of {plan.slice.hosts} hosts holds a part of every table"
    if obstacle:
        return ExportForecast("direct", None, f"{obstacle}; take route checkpoint, on a machine that holds the tables")
    in_training = _export_peak("direct", plan.workload.parameter_bytes, resident=plan.host_table_bytes)
    return ExportForecast("direct", in_training, "tables and slots that the training process holds, and no copy")


def _export_peak(route: Route, table_bytes: int, resident: int = 0) -> int:
    """Peak memory of an export, by the exporter's own forecast.

    Args:
        route: How the tables are exported.
        table_bytes: Bytes of the exported tables, without slots.
        resident: Bytes of tables and slots that the process holds before the export.
    """
    before = EXPORTER_BYTES - WORKING_BYTES + resident
    return Forecast(table_bytes, slot_bytes=0, resident_bytes=before, available_bytes=0).peak_bytes(route)


def rows_per_core(rows: int, slice_: Slice) -> int:
    """Returns the number of rows of a V1 table on the fullest TensorCore.

    TensorFlow gives a table at least one row per host (`TableConfig._set_table_descriptor`), divides it into blocks
    by host and those by TensorCore.
    """
    per_host = math.ceil(max(rows, slice_.hosts) / slice_.hosts)
    return math.ceil(per_host / (slice_.cores // slice_.hosts))


def rows_per_sparse_core(rows: int, sparse_cores: int) -> int:
    """Returns the number of rows of a V2 table on each SparseCore: divided evenly, then padded."""
    return next_multiple(rows, PADDING * sparse_cores) // sparse_cores


def next_multiple(value: int, factor: int) -> int:
    """Returns the smallest multiple of `factor` that is at least `value`."""
    return -(-value // factor) * factor


def stack_tables(
    tables: Sequence[PlannedTable],
    samples: Mapping[str, int],
    replicas: int,
    sparse_cores_per_replica: int,
    stacking: bool = True,
) -> tuple[Stack, ...]:
    """Groups tables as TensorFlow does: first fit, in order of names, among tables of one padded width and optimizer.

    Args:
        tables: Tables in any order.
        samples: Rows that TensorFlow counts per step and replica, by table.
        replicas: Number of replicas of the strategy.
        sparse_cores_per_replica: Number of SparseCores of a chip.
        stacking: False puts every table into a stack of its own.
    """
    stacks: list[_OpenStack] = []
    sparse_cores = replicas * sparse_cores_per_replica
    for table in sorted(tables, key=lambda table: table.name):
        width = next_multiple(table.dim, PADDING)
        height = next_multiple(table.rows, PADDING * sparse_cores)
        part = _OpenStack(
            key=(width, table.optimizer),
            tables=[table],
            height=height,
            shard_bytes=FLOAT_BYTES * width * height // replicas,
            activation_bytes=FLOAT_BYTES * width * (samples.get(table.name, 0) // sparse_cores_per_replica),
        )
        open_stack = next((stack for stack in stacks if stacking and stack.takes(part)), None)
        if open_stack is None:
            stacks.append(part)
        else:
            open_stack.add(part)
    return tuple(Stack(tuple(s.tables), s.height // sparse_cores, s.key[0]) for s in stacks)


@dataclass
class _OpenStack:
    """A stack under construction; sizes are totals over its tables."""

    key: tuple[int, str]
    tables: list[PlannedTable]
    height: int
    shard_bytes: int
    activation_bytes: int

    def takes(self, part: "_OpenStack") -> bool:
        return (
            self.key == part.key
            and self.height + part.height < STACK_ROWS
            and self.shard_bytes + part.shard_bytes < STACK_SHARD_BYTES
            and self.activation_bytes + part.activation_bytes < STACK_ACTIVATION_BYTES
        )

    def add(self, part: "_OpenStack") -> None:
        self.tables += part.tables
        self.height += part.height
        self.shard_bytes += part.shard_bytes
        self.activation_bytes += part.activation_bytes


def _stacks(workload: Workload, tables: Sequence[PlannedTable], slice_: Slice) -> tuple[Stack, ...]:
    names = {table.name for table in tables}
    features = sorted((f for f in workload.features if f.table in names), key=lambda feature: feature.name)
    per_replica = slice_.sparse_cores // slice_.replicas
    # TensorFlow 2.21 stacks when it has counted the samples of the first feature alone, so only that one's table
    # can meet the limit of activations (`_stack_tables_with_same_table_dim_and_optimizer` in tpu_embedding_v3.py).
    batch = workload.batch_size // slice_.replicas
    samples = {feature.table: batch * feature.rows_per_example for feature in features[:1]}
    return stack_tables(tables, samples, slice_.replicas, per_replica, workload.stacking)


def _batch_checks(plan: Plan) -> list[Check]:
    batch, replicas = plan.workload.batch_size, plan.slice.replicas
    per_replica, rest = divmod(batch, replicas)
    good = next_multiple(batch, replicas)
    checks = [
        Check(
            not rest,
            f"batch size {batch:,} over {replicas:,} replicas: {per_replica:,} examples each"
            + (f", {rest:,} left over; take a multiple of {replicas:,}, such as {good:,}" if rest else ""),
        )
    ]
    if plan.stacks and per_replica:
        checks += _sparse_core_checks(plan, per_replica)
    return checks


def _sparse_core_checks(plan: Plan, batch_per_replica: int) -> list[Check]:
    per_replica = plan.slice.sparse_cores // plan.slice.replicas
    per_core, rest = divmod(batch_per_replica, per_replica)
    step = plan.slice.sparse_cores
    checks = [
        Check(
            not rest,
            f"{batch_per_replica:,} examples of a replica over {per_replica} SparseCores: {per_core:,} each"
            + (f", {rest} left over; take a batch size that is a multiple of {step:,}" if rest else ""),
        )
    ]
    stacked = {table.name for stack in plan.stacks for table in stack.tables}
    ids = sum(feature.valency for feature in plan.workload.features if feature.table in stacked)
    checks.append(
        Check(
            ids <= MAX_IDS_PER_EXAMPLE,
            f"{ids:,.6g} ids per example are looked up on SparseCores, buffers hold {MAX_IDS_PER_EXAMPLE}"
            + ("" if ids <= MAX_IDS_PER_EXAMPLE else "; raise SparseCoreEmbeddingConfig.max_ids_per_chip_per_sample"),
        )
    )
    loads = {stack.name: _ids_per_partition(plan, stack, per_core) for stack in plan.stacks}
    name, load = max(loads.items(), key=lambda item: item[1])
    short = name if len(name) <= 40 else f"{name[:37]}..."
    checks.append(
        Check(
            load <= MAX_IDS_PER_PARTITION,
            f"at least {load:,.6g} ids go from one SparseCore to another for the busiest stack ({short}), "
            f"buffers hold {MAX_IDS_PER_PARTITION}"
            + ("" if load <= MAX_IDS_PER_PARTITION else "; raise SparseCoreEmbeddingConfig.max_ids_per_table"),
        )
    )
    return checks


def _ids_per_partition(plan: Plan, stack: Stack, batch_per_sparse_core: int) -> float:
    """Ids that the examples of one SparseCore look up on another, if all are looked up equally often: the least that
    the busiest pair can have."""
    names = {table.name for table in stack.tables}
    ids = sum(feature.valency for feature in plan.workload.features if feature.table in names)
    return ids * batch_per_sparse_core / plan.slice.sparse_cores


def _table_checks(plan: Plan) -> list[Check]:
    return [
        Check(
            False,
            f"table {placed.table.name} has {placed.table.rows:,} rows; row numbers on an accelerator are signed "
            f"32-bit integers, so at most {STACK_ROWS:,} are possible. Limit its vocabulary (vocabulary.top_k)",
        )
        for placed in plan.placed
        if placed.is_sharded and placed.table.rows > STACK_ROWS
    ]
