"""The arithmetic of plans by hand, and against TensorFlow's own layout of tables under a described TPU strategy."""

from dataclasses import replace

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.planning.accelerators import GIB, Slice, parse_slice
from pipeline.planning.plan import (
    EXPORTER_BYTES,
    PlannedFeature,
    PlannedTable,
    Workload,
    export_forecasts,
    make_plan,
    next_multiple,
    rows_per_core,
    smallest_fit,
    stack_tables,
)
from tpu_worker.described_tpu import EmbeddingFeature, described_tpu_strategy

E = tf.tpu.experimental.embedding
OPTIMIZERS = {
    "sgd": E.SGD(0.1),
    "adagrad": E.Adagrad(0.1),
    "adagrad_momentum": E.AdagradMomentum(0.1),
    "adam": E.Adam(0.1),
    "ftrl": E.FTRL(0.1),
}
SLOTS = {"sgd": 0, "adagrad": 1, "adagrad_momentum": 2, "adam": 2, "ftrl": 2}


def table(name: str, rows: int, dim: int, optimizer: str = "adagrad") -> PlannedTable:
    return PlannedTable(name, rows, dim, optimizer, SLOTS[optimizer])


def workload(*tables: PlannedTable, batch_size: int = 1024, **options) -> Workload:
    features = tuple(PlannedFeature(f"f_{t.name}", t.name) for t in tables)
    return Workload(tables, features, batch_size, **options)


def described_strategy(slice_: Slice, feature: EmbeddingFeature) -> tf.distribute.TPUStrategy:
    """A TPU strategy of the slice's shape, without a TPU."""
    per_host, sparse_cores = slice_.replicas // slice_.hosts, slice_.generation.sparse_cores_per_chip.value
    return described_tpu_strategy(slice_.hosts, per_host, feature, sparse_cores)


def feature_configs(work: Workload, slice_: Slice) -> dict[str, E.FeatureConfig]:
    tables = {t.name: E.TableConfig(t.rows, t.dim, optimizer=OPTIMIZERS[t.optimizer], name=t.name) for t in work.tables}
    batch = work.batch_size // slice_.replicas
    return {
        f.name: E.FeatureConfig(tables[f.table], output_shape=[batch * f.rows_per_example], name=f.name)
        for f in work.features
    }


def sparse_core_embedding(work: Workload, slice_: Slice) -> E.TPUEmbeddingV2:
    with described_strategy(slice_, "V2").scope():
        return E.TPUEmbeddingV2(
            feature_configs(work, slice_),
            E.Adagrad(0.1),
            sparse_core_embedding_config=E.SparseCoreEmbeddingConfig(disable_table_stacking=not work.stacking),
        )


def assert_as_tensorflow_lays_out(work: Workload, slice_: Slice) -> None:
    plan, embedding = make_plan(work, slice_, "V2"), sparse_core_embedding(work, slice_)
    assert {stack.name: [t.name for t in stack.tables] for stack in plan.stacks} == {
        name: [t.name for t in tables] for name, tables in embedding._stacked_table_to_tables.items()
    }
    stacks = {stack.name: stack for stack in plan.stacks}
    for placed in plan.placed:
        layout = embedding.embedding_layouts[placed.table.name]
        height, width = layout.unsharded_padded_shape
        assert (placed.rows * placed.shards, placed.width) == (height, width)
        assert placed.stack == layout.stacked_table_name
        assert stacks[placed.stack].rows == layout.total_rows_per_sparse_core_shard
    for name, tables in embedding._stacked_table_to_tables.items():
        slots = len(tables[0].optimizer._slot_names())
        layout = embedding.embedding_layouts[tables[0].name]
        theirs = layout.total_rows_per_sparse_core_shard * layout.unsharded_padded_shape[1] * 4 * (1 + slots)
        assert sum(placed.shard_bytes for placed in plan.placed if placed.stack == name) == theirs


def test_sparse_core_rows_and_bytes_by_hand():
    work = workload(table("users", 100, 16), table("items", 301, 12, "adagrad"), table("big", 5000, 64, "adam"))
    plan = make_plan(work, parse_slice("v6e-4"))  # 4 chips of 2 SparseCores
    users, items, big = plan.placed
    assert (users.rows, users.width, users.shard_bytes) == (16, 16, 16 * 16 * 4 * 2)  # 128 rows over 8 SparseCores
    assert (items.rows, items.width, items.shard_bytes) == (40, 16, 40 * 16 * 4 * 2)  # 320 rows
    assert (big.rows, big.width, big.shard_bytes) == (632, 64, 632 * 64 * 4 * 3)  # 5056 rows
    assert [stack.name for stack in plan.stacks] == ["big", "items_users"]
    assert plan.checkpoint_bytes == 8 * sum(placed.shard_bytes for placed in plan.placed)
    assert make_plan(work, parse_slice("v2-8")).checkpoint_bytes == work.training_bytes
    assert plan.table_bytes == 2 * (users.shard_bytes + items.shard_bytes + big.shard_bytes)


TABLE_SETS = {
    "one": workload(table("a", 1, 1)),
    "widths and optimizers": workload(
        table("users", 100, 16), table("items", 301, 12), table("other", 50, 16, "adam"), table("plain", 9, 15, "sgd")
    ),
    "all optimizers": workload(*(table(name, 1000, 32, name) for name in SLOTS)),
    "beyond the limit of a stack's bytes": workload(*(table(f"t{i}", 2**22, 128) for i in range(6))),
    "beyond the limit of a stack's activations": workload(
        *(table(f"t{i}", 1000, 128) for i in range(4)), batch_size=2**20
    ),
    "unstacked": workload(table("a", 10, 8), table("b", 10, 8), stacking=False),
}


@pytest.mark.parametrize("name", ["v4-8", "v5p-32", "v6e-1", "v6e-16"])
@pytest.mark.parametrize("work", TABLE_SETS.values(), ids=TABLE_SETS)
def test_sparse_core_layout_is_tensorflow_s(work, name):
    assert_as_tensorflow_lays_out(work, parse_slice(name))


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 10**8), st.integers(1, 300), st.sampled_from(sorted(SLOTS))), min_size=1, max_size=8
    ),
    name=st.sampled_from(["v4-8", "v4-64", "v5p-16", "v6e-1", "v6e-8", "v6e-64"]),
    examples=st.integers(1, 5000),
    length=st.integers(0, 50),
)
def test_sparse_core_layout_of_any_tables(sizes, name, examples, length):
    slice_ = parse_slice(name)
    tables = tuple(table(f"t{i}", *size) for i, size in enumerate(sizes))
    features = [PlannedFeature(f"f{i}", t.name, max_sequence_length=length) for i, t in enumerate(reversed(tables))]
    features.append(PlannedFeature("shared", tables[0].name))
    work = Workload(tables, tuple(features), batch_size=examples * slice_.replicas)
    assert_as_tensorflow_lays_out(work, slice_)


def test_stacks_respect_the_activations_of_every_table_that_is_counted():
    tables = [table(name, 64, 128) for name in "ab"]
    assert len(stack_tables(tables, {"a": 8192, "b": 8191}, 1, 4)) == 1  # 2 MiB less one row's share
    assert len(stack_tables(tables, {"a": 8192, "b": 8192}, 1, 4)) == 2  # 2 x 2048 samples x 128 x 4 bytes = 2 MiB


@pytest.mark.parametrize("name", ["v2-8", "v3-32", "v3-2048"])
def test_v1_tables_are_tensorflow_s(name):
    slice_ = parse_slice(name)
    work = workload(
        table("tiny", 3, 8), table("users", 1000, 16, "adam"), table("items", 10**7, 12, "sgd"), batch_size=2048 * 4
    )
    with described_strategy(slice_, "V1").scope():
        embedding = E.TPUEmbedding(feature_configs(work, slice_), E.Adagrad(0.1))
    embedding._output_shapes = [tf.TensorShape([work.batch_size // slice_.replicas])] * len(work.features)
    proto = embedding._create_config_proto()
    assert (proto.num_hosts, proto.num_tensor_cores) == (slice_.hosts, slice_.cores)
    described = {descriptor.name: descriptor for descriptor in proto.table_descriptor}
    for placed in make_plan(work, slice_, "V1").placed:
        descriptor = described[placed.table.name]
        assert descriptor.dimension == placed.width
        assert placed.rows * placed.shards >= descriptor.vocabulary_size > 0
        # No core could hold fewer rows and no host's block is rounded up by more than its cores.
        assert placed.rows == next_multiple(
            next_multiple(descriptor.vocabulary_size, slice_.hosts) // slice_.hosts, slice_.cores // slice_.hosts
        ) // (slice_.cores // slice_.hosts)


def test_v1_rows_per_core_by_hand():
    v3_32 = parse_slice("v3-32")  # 4 hosts of 8 cores
    assert rows_per_core(1, v3_32) == 1
    assert rows_per_core(32, v3_32) == 1
    assert rows_per_core(33, v3_32) == 2  # 9 rows on the fullest host, 2 on its fullest core
    plan = make_plan(workload(table("t", 33, 10)), v3_32)
    assert plan.placed[0].shard_bytes == 2 * 10 * 4 * 2
    assert plan.table_bytes == plan.placed[0].shard_bytes


def test_two_cores_that_share_memory_count_twice():
    plan = make_plan(workload(table("t", 800, 8, "sgd")), parse_slice("v4-8"), "V1")
    assert plan.placed[0].rows == 100
    assert plan.table_bytes == 2 * 100 * 8 * 4


def test_the_threshold_itself_is_replicated():
    work = workload(table("at", 10_000, 8), table("above", 10_001, 8), placement="partial")
    at, above = make_plan(work, parse_slice("v2-8")).placed
    assert (at.place, at.rows, at.shards) == ("replicated", 10_000, 8)
    assert (above.place, above.rows) == ("V1 sharded", 1251)
    everything = make_plan(replace(work, placement="tpu_embedding"), parse_slice("v2-8"))
    assert {placed.place for placed in everything.placed} == {"V1 sharded"}
    nothing = make_plan(replace(work, placement="replicated"), parse_slice("v4-8"))
    assert {placed.place for placed in nothing.placed} == {"replicated"}
    assert not nothing.stacks


def test_without_an_accelerator_every_replica_holds_everything():
    work = workload(table("small", 100, 8), table("large", 20_000, 8), placement="partial")
    plan = make_plan(work, parse_slice("v5e-8"))
    assert [placed.place for placed in plan.placed] == ["replicated", "V0 replicated"]
    assert plan.table_bytes == work.training_bytes == 20_100 * 8 * 4 * 2


def test_what_fits_and_the_smallest_slice_that_does():
    # 40 GiB with slots: 16 chips of 16 GiB with a quarter kept free hold 192 GiB, but whole copies never fit.
    work = workload(table("t", 40 * 2**20, 128), batch_size=4096)
    assert work.training_bytes == 40 * GIB
    v2 = make_plan(work, parse_slice("v2-8"))
    assert v2.budget == 6 * GIB and v2.table_bytes == 5 * GIB and v2.fits
    assert not make_plan(work, parse_slice("v6e-1")).fits
    found = smallest_fit(work, parse_slice("v6e-1"), "V2")
    assert found and found.slice.name == "v6e-4"
    assert smallest_fit(work, parse_slice("v5e-8"), "V0") is None


def test_activations_take_the_reserve():
    work = replace(workload(table("t", 100, 128)), batch_size=8 * 2**20)
    plan = make_plan(work, parse_slice("v2-8"))
    assert plan.activation_bytes == 2**20 * 128 * 4 * 2  # rows and their gradients of one replica
    assert plan.fits
    assert not make_plan(replace(work, batch_size=8 * (2**21 + 1)), parse_slice("v2-8")).fits


def failures(plan) -> list[str]:
    return [check.text for check in plan.checks if not check.ok]


def test_batches_must_divide():
    work = workload(table("t", 100, 8), batch_size=1001)
    assert "take a multiple of 8, such as 1,008" in failures(make_plan(work, parse_slice("v2-8")))[0]
    assert not failures(make_plan(replace(work, batch_size=1008), parse_slice("v2-8")))
    sparse = make_plan(replace(work, batch_size=12), parse_slice("v5p-8"))  # 3 examples for 4 SparseCores
    assert "take a batch size that is a multiple of 16" in failures(sparse)[0]


def test_buffers_of_ids_are_checked():
    work = workload(table("t", 100, 8), batch_size=1024)
    many = replace(work, features=(PlannedFeature("f", "t", valency=65),))
    assert "max_ids_per_chip_per_sample" in failures(make_plan(many, parse_slice("v6e-4")))[0]
    # 8192 examples per replica, 4096 per SparseCore, 512 of those go to each of the 8.
    assert "at least 512 ids go" in failures(make_plan(replace(work, batch_size=4 * 8192), parse_slice("v6e-4")))[0]


def test_rows_that_32_bits_cannot_number():
    work = workload(table("t", 2**31, 8), table("u", 2**31 - 1, 8), batch_size=2048)
    (failure,) = failures(make_plan(work, parse_slice("v3-2048")))
    assert failure.startswith("table t has 2,147,483,648 rows")


def forecasts(work: Workload, slice_: str) -> dict[str, int | None]:
    """Bytes beside the process itself, by route."""
    planned = export_forecasts(make_plan(work, parse_slice(slice_)), ["a"])
    return {f.route: f.host_bytes and f.host_bytes - EXPORTER_BYTES for f in planned}


def test_export_forecasts_by_hand():
    work = workload(table("a", 1000, 25, "adam"), table("b", 2000, 25, "sgd"))  # 100 kB and 200 kB without slots
    assert forecasts(work, "v3-8") == {"checkpoint": 300_000, "subset": 100_000, "direct": 500_000}
    assert forecasts(work, "v3-32")["direct"] is None
    assert forecasts(work, "v6e-4")["direct"] is None
    replicated = replace(work, placement="replicated")
    assert forecasts(replicated, "v3-32")["direct"] == 500_000
    whole = make_plan(replicated, parse_slice("v3-32"))
    assert whole.checkpoint_bytes == 500_000
    assert whole.host_table_bytes == work.training_bytes == 500_000
