"""Placement of tables; what runs on the replicas of a TPU is looked up on one CPU that stands in for its core."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python import pywrap_mlir
from tensorflow.python.framework import kernels
from tensorflow.python.tpu.ops import tpu_ops
from tensorflow_recommenders.layers.embedding import TPUEmbedding

from tests import launcher
from tpu_worker.described_tpu import cpu_backed_tpu_strategy, described_tpu_strategy
from trainer_module.embeddings.config import is_replicated
from trainer_module.embeddings.placement import FeatureConfig, PlacedEmbedding, TableConfig, steps_as_samples
from trainer_module.errors import ModelError
from trainer_module.optimizers.adagrad_momentum import AdagradMomentum

PROJECT = Path(__file__).parents[2]
PLACEMENTS = ("tpu_embedding", "partial", "replicated")
SMALL_ROWS, LARGE_ROWS = 10, 11


def counted_up(shape, dtype=tf.float32, **_) -> tf.Tensor:
    """Row r of a table of two columns is (2r + 1, 2r + 2)."""
    return tf.cast(tf.reshape(tf.range(1, 1 + shape[0] * shape[1]), shape), dtype)


def two_tables(optimizers=(None, None), combiner="mean") -> dict[str, FeatureConfig]:
    small, large = (
        TableConfig(rows, 2, counted_up, optimizer, combiner, name)
        for name, rows, optimizer in zip(("small", "large"), (SMALL_ROWS, LARGE_ROWS), optimizers, strict=True)
    )
    return {"one": FeatureConfig(small), "bag": FeatureConfig(small), "other": FeatureConfig(large)}


IDS = {
    "one": tf.constant([[1], [2]]),
    "bag": tf.sparse.from_dense([[1, 2], [0, 3]]),
    "other": tf.sparse.from_dense([[1, 2], [0, 10]]),
}


@pytest.mark.parametrize(("rows", "replicated"), [(9, True), (10, True), (11, False)])
def test_the_table_at_the_threshold_is_replicated(rows, replicated):
    assert is_replicated(rows, "partial", size_threshold=10) is replicated
    assert not is_replicated(rows, "partial", size_threshold=0)
    assert not is_replicated(rows, "tpu_embedding", size_threshold=10)
    assert is_replicated(rows, "replicated", size_threshold=10)


def test_bags_by_hand():
    placed = PlacedEmbedding(two_tables(), "partial", SMALL_ROWS)
    activations = placed(IDS)
    np.testing.assert_array_equal(activations["one"], [[[3, 4]], [[5, 6]]])
    np.testing.assert_array_equal(activations["bag"], [[4, 5], [7, 8]])
    np.testing.assert_array_equal(activations["other"], [[4, 5], [21, 22]])
    assert list(activations) == list(IDS)


@dataclass(frozen=True)
class Lookup:
    """A feature and what is looked up."""

    feature: FeatureConfig
    ids: tf.Tensor | tf.SparseTensor | tf.RaggedTensor
    weights: tf.SparseTensor | tf.RaggedTensor | None
    width: int


@st.composite
def lookups(draw) -> Lookup:
    """Dense ids, sparse or ragged bags with and without weights, sequences; empty ones among them."""
    layout = draw(st.sampled_from(["dense", "sparse", "ragged"]))
    table = TableConfig(SMALL_ROWS, 2, counted_up, combiner=draw(st.sampled_from(["mean", "sum", "sqrtn"])), name="t")
    length = 0 if layout == "dense" else draw(st.integers(0, 3))
    feature = FeatureConfig(table, max_sequence_length=length)
    sizes = [1, 1, 1] if layout == "dense" else draw(st.lists(st.integers(0, 4), min_size=3, max_size=3))
    # TensorFlow's lookup on CPUs drops negative ids from sparse bags, and refuses them elsewhere.
    lowest = -1 if layout == "sparse" and not length else 0
    values = [draw(st.integers(lowest, SMALL_ROWS - 1)) for _ in range(sum(sizes))]
    ids = tf.RaggedTensor.from_row_lengths(tf.constant(values, tf.int64), sizes)
    weights = None
    if layout != "dense" and not length and draw(st.booleans()):
        numbers = [draw(st.sampled_from([-1.0, 0.0, 0.5, 2.0])) for _ in values]
        weights = tf.RaggedTensor.from_row_lengths(tf.constant(numbers, tf.float32), sizes)
    if layout == "sparse":
        ids, weights = ids.to_sparse(), None if weights is None else weights.to_sparse()
    return Lookup(feature, ids.to_tensor() if layout == "dense" else ids, weights, max(sizes))


@settings(max_examples=40, deadline=None)
@given(lookups())
def test_every_placement_looks_up_what_the_layer_of_tensorflow_recommenders_does(lookup: Lookup):
    config, ids, weights = {"f": lookup.feature}, {"f": lookup.ids}, {"f": lookup.weights}
    expected = TPUEmbedding(config, optimizer=None)(ids, weights)["f"].numpy()
    for placement in PLACEMENTS:
        np.testing.assert_array_equal(PlacedEmbedding(config, placement, SMALL_ROWS)(ids, weights)["f"], expected)
    for feature in ("V1", "UNSUPPORTED"):
        with cpu_backed_tpu_strategy(1, feature).scope():
            on_tpu = PlacedEmbedding(config, "replicated", bag_widths={"f": max(1, lookup.width)})
            np.testing.assert_allclose(on_tpu(ids, weights)["f"], expected, rtol=1e-6)


@pytest.mark.parametrize(("validate", "expected"), [(True, [3, 4]), (False, [-1, 0])])
def test_on_a_tpu_what_is_not_valid_is_dropped_as_elsewhere(validate, expected):
    table = TableConfig(SMALL_ROWS, 2, counted_up, combiner="mean", name="t")
    config = {"bag": FeatureConfig(table, validate_weights_and_indices=validate)}
    # Of the ids -1 (only where it is dropped), 1 and 2, whose weight is negative, one is valid.
    ids, weights = ([-1, 1, 2], [2.0, 1.0, -0.5]) if validate else ([1, 2], [1.0, -2.0 / 3])
    bag = tf.SparseTensor([[0, place] for place in range(len(ids))], tf.constant(ids, tf.int64), [1, len(ids)])
    with cpu_backed_tpu_strategy(1, "V1").scope():
        layer = PlacedEmbedding(config, "replicated")
        rows = layer({"bag": bag}, {"bag": bag.with_values(tf.constant(weights))})["bag"]
    # Without validation: ((3, 4) - 2/3 (5, 6)) / (1 - 2/3).
    np.testing.assert_allclose(rows, [expected], atol=1e-5)


def test_on_a_tpu_activations_have_the_output_shape_that_the_feature_names():
    table = TableConfig(SMALL_ROWS, 2, counted_up, name="t")
    config = {
        "one": FeatureConfig(table, output_shape=[2]),
        "sequence": FeatureConfig(table, max_sequence_length=3, output_shape=[2, 3]),
    }
    with cpu_backed_tpu_strategy(1, "V1").scope():
        layer = PlacedEmbedding(config, "replicated")
        activations = layer({"one": tf.constant([[1], [2]]), "sequence": tf.ragged.constant([[1], [4, 3, 2, 1]])})
    np.testing.assert_array_equal(activations["one"], [[3, 4], [5, 6]])
    np.testing.assert_array_equal(activations["sequence"], [[[3, 4], [0, 0], [0, 0]], [[9, 10], [7, 8], [5, 6]]])


def test_on_a_tpu_a_bag_needs_a_width():
    config = {"bag": FeatureConfig(TableConfig(SMALL_ROWS, 2, name="t"))}
    with cpu_backed_tpu_strategy(1, "V1").scope():
        layer = PlacedEmbedding(config, "replicated")
        with pytest.raises(ModelError, match=r"feature bag .* table t.* \[2, None\].* bag_widths"):
            layer({"bag": tf.ragged.constant([[1], [2, 3]])})


def test_on_a_tpu_a_bag_that_is_too_long_is_not_cut():
    config = {"bag": FeatureConfig(TableConfig(SMALL_ROWS, 2, name="t"))}
    with cpu_backed_tpu_strategy(1, "V1").scope():
        layer = PlacedEmbedding(config, "replicated", bag_widths={"bag": 1})
        with pytest.raises(tf.errors.InvalidArgumentError, match="out of bounds"):
            layer({"bag": tf.ragged.constant([[1], [2, 3]])})


def test_tables_are_listed_under_the_configs_of_the_caller():
    config = two_tables()
    layer = PlacedEmbedding(config, "partial", SMALL_ROWS)
    layer(IDS)
    assert set(layer.embedding_tables) == {config["one"].table, config["other"].table}
    assert set(layer.trainable_tables) == {"small", "large"}
    assert {v.ref() for v in layer.trainable_variables} == {v.ref() for v in layer.trainable_tables.values()}


def test_serving_looks_any_subset_up():
    config = two_tables()
    layer = PlacedEmbedding(config, "partial", SMALL_ROWS)
    serving = {"query": FeatureConfig(config["other"].table), "bag": config["bag"]}
    rows = layer({"query": tf.constant([10])}, serving_config=serving)
    np.testing.assert_array_equal(rows["query"], [[21, 22]])


def test_serving_knows_only_its_own_tables():
    layer = PlacedEmbedding(two_tables(), "partial", SMALL_ROWS)
    layer(IDS)
    with pytest.raises(ModelError, match=r"of this layer.*'small'"):
        layer({"one": tf.constant([1])}, serving_config=two_tables())


def test_all_features_come_in_one_call():
    layer = PlacedEmbedding(two_tables(), "partial", SMALL_ROWS)
    with pytest.raises(ModelError, match=r"its features must be \['bag', 'one', 'other'\], got \['one'\]"):
        layer({"one": IDS["one"]})
    with pytest.raises(ModelError, match="its weights must be"):
        layer(IDS, {"bag": None})


def trained(optimizers, placement="partial") -> tuple[PlacedEmbedding, dict[str, np.ndarray]]:
    """A layer after two steps, and its tables."""
    layer = PlacedEmbedding(two_tables(optimizers), placement, SMALL_ROWS)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(tf.square(rows)) for rows in layer(IDS).values()])
        tables = layer.trainable_tables
        gradients = tape.gradient(loss, tables)
        assert all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients.values())
        for name, optimizer in zip(("small", "large"), optimizers, strict=True):
            optimizer.apply_gradients([(gradients[name], tables[name])])
    return layer, {name: table.numpy() for name, table in layer.trainable_tables.items()}


def make_optimizers():
    return tf.keras.optimizers.legacy.Adagrad(0.1), AdagradMomentum(0.1, momentum=0.9)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_placement_trains_the_rows_that_were_looked_up(placement):
    _, tables = trained(make_optimizers(), placement)
    _, reference = trained(make_optimizers(), "tpu_embedding")
    start = counted_up([LARGE_ROWS, 2]).numpy()
    for name, table in tables.items():
        np.testing.assert_array_equal(table, reference[name])
    moved = np.any(tables["large"] != start, axis=1)
    assert np.flatnonzero(moved).tolist() == [1, 2, 10]


@pytest.mark.parametrize("made_first", [True, False], ids=["made, then restored", "restored, then made"])
@pytest.mark.parametrize("source", PLACEMENTS)
@pytest.mark.parametrize("target", PLACEMENTS)
def test_checkpoints_of_all_placements_restore_into_each_other(tmp_path, source, target, made_first):
    optimizers = make_optimizers()
    layer, tables = trained(optimizers, source)
    prefix = tf.train.Checkpoint(embedding=layer, optimizers=list(optimizers)).write(str(tmp_path / "checkpoint"))
    copy = PlacedEmbedding(two_tables(), target, SMALL_ROWS)
    if made_first:
        copy(IDS)
    status = tf.train.Checkpoint(embedding=copy).read(prefix)
    copy(IDS)
    status.assert_existing_objects_matched().expect_partial()
    for name, table in copy.trainable_tables.items():
        np.testing.assert_array_equal(table, tables[name])


def test_tables_are_saved_where_tensorflow_recommenders_saves_them(tmp_path):
    optimizers = make_optimizers()
    layer, tables = trained(optimizers)
    prefix = tf.train.Checkpoint(embedding=layer, optimizers=list(optimizers)).write(str(tmp_path / "checkpoint"))
    keys = {key for key, _ in tf.train.list_variables(prefix) if key.startswith("embedding/")}
    of_tables = {name: f"embedding/_tpu_embedding/{name}" for name in tables}
    slots = {"small": ["optimizers/0/accumulator"], "large": ["optimizers/1/accumulator", "optimizers/1/momentum"]}
    assert keys == {
        f"{of_tables[name]}{suffix}/.ATTRIBUTES/VARIABLE_VALUE"
        for name in tables
        for suffix in ("", *(f"/.OPTIMIZER_SLOT/{slot}" for slot in slots[name]))
    }
    bare = TPUEmbedding(two_tables(), optimizer=None)
    bare(IDS)
    tf.train.Checkpoint(embedding=bare).read(prefix).assert_existing_objects_matched().expect_partial()
    for config, table in bare.embedding_tables.items():
        np.testing.assert_array_equal(table, tables[config.name])


def test_training_goes_on_with_the_slots_of_the_checkpoint(tmp_path):
    def step(layer, optimizers) -> dict[str, np.ndarray]:
        for name, optimizer in zip(("small", "large"), optimizers, strict=True):
            table = layer.trainable_tables[name]
            optimizer.apply_gradients([(tf.ones_like(table), table)])
        return {name: table.numpy() for name, table in layer.trainable_tables.items()}

    optimizers, others = make_optimizers(), make_optimizers()
    layer, _ = trained(optimizers)
    prefix = tf.train.Checkpoint(embedding=layer, optimizers=list(optimizers)).write(str(tmp_path / "checkpoint"))
    copy, _ = trained(others, "replicated")
    for variable in copy.variables:
        variable.assign(tf.zeros_like(variable))
    tf.train.Checkpoint(embedding=copy, optimizers=list(others)).read(prefix).assert_consumed()
    restored, expected = step(copy, others), step(layer, optimizers)
    for name in expected:
        np.testing.assert_array_equal(restored[name], expected[name])


def test_tables_of_one_keras_optimizer_share_its_translation():
    adagrad = tf.keras.optimizers.legacy.Adagrad(0.1)
    layer = PlacedEmbedding(two_tables((adagrad, adagrad)), "replicated")
    small, large = layer._tpu_embedding._table_config
    assert small.optimizer is large.optimizer


# Logical devices must be made before TensorFlow starts, hence the process of its own.
TWO_REPLICAS = """
import json
import trainer_module
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tests.trainer_module.test_placement import IDS, make_optimizers, two_tables
from trainer_module.embeddings.placement import PlacedEmbedding

def train(strategy):
    with strategy.scope():
        optimizers = make_optimizers()
        layer = PlacedEmbedding(two_tables(optimizers), "partial", 10)

    def step():
        with tf.GradientTape() as tape:
            squares = [tf.reduce_sum(tf.square(rows)) for rows in layer(IDS).values()]
            loss = tf.add_n(squares) / strategy.num_replicas_in_sync
        tables = layer.trainable_tables
        gradients = tape.gradient(loss, tables)
        for name, optimizer in zip(("small", "large"), optimizers):
            optimizer.apply_gradients([(gradients[name], tables[name])])

    for _ in range(3):
        tf.function(strategy.run)(step)
    return {name: table.numpy().tolist() for name, table in layer.trainable_tables.items()}

mirrored = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"], tf.distribute.ReductionToOneDevice())
print(json.dumps([train(mirrored), train(tf.distribute.OneDeviceStrategy("/CPU:0"))]))
"""


def test_two_replicas_train_as_one():
    process = subprocess.run([launcher.python(), "-c", TWO_REPLICAS], capture_output=True, text=True, cwd=PROJECT)
    assert process.returncode == 0, process.stderr[-2000:]
    mirrored, one = json.loads(process.stdout.splitlines()[-1])
    for name in one:
        np.testing.assert_allclose(mirrored[name], one[name], rtol=1e-6)


def traced_training(rows: dict[str, int], size_threshold: int) -> tuple[PlacedEmbedding, tf.Graph]:
    """A training step on sparse ids for two cores of a TPU with an engine: `at` a sequence of 2, bags of up to 3."""
    strategy = described_tpu_strategy(1, 2, "V1")  # the compiler pass below fails on programs for one core
    with strategy.scope():
        optimizer = AdagradMomentum(0.1, momentum=0.5)
        features = {
            name: FeatureConfig(
                TableConfig(number, 8, optimizer=optimizer, name=name),
                max_sequence_length=2 if name == "at" else 0,
                output_shape=[4, 2] if name == "at" else [4],
            )
            for name, number in rows.items()
        }
        widths = dict.fromkeys(rows, 3)
        layer = PlacedEmbedding(features, "partial", size_threshold, pipelining=True, bag_widths=widths)
    examples = tf.data.Dataset.range(1).map(
        lambda _: tf.io.parse_example(tf.fill([4], b""), {name: tf.io.VarLenFeature(tf.int64) for name in rows})
    )
    to_host = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    batches = strategy.distribute_datasets_from_function(lambda context: examples, to_host)

    def step(ids):
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(rows) for rows in layer(ids).values()])
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    @tf.function(autograph=False)
    def train():
        strategy.run(step, args=(next(iter(batches)),))

    return layer, train.get_concrete_function().graph


def test_a_tpu_program_shards_what_is_above_the_threshold_and_has_fixed_shapes():
    with tf.Graph().as_default(), mock.patch.object(tpu_ops, "is_tpu_embedding_initialized", return_value=False):
        layer, graph = traced_training({"below": 9, "at": 10, "above": 11}, size_threshold=10)
        module = tf.mlir.experimental.convert_graph_def(graph.as_graph_def(), "tf-standard-pipeline")
    assert set(layer.trainable_tables) == {"below", "at"}
    (in_engine,) = layer._tpu_embedding._create_config_proto().table_descriptor
    assert in_engine.name == "above"
    assert in_engine.optimization_parameters.adagrad_momentum.momentum == 0.5
    program = pywrap_mlir.experimental_run_pass_pipeline(module, "tf-replicated-clustering-bridge-v2", False)
    assert "tf_device.cluster" in program
    assert "tf.XlaRecvTPUEmbeddingActivations" in program
    # Ids of replicated tables become dense on the host, of the length of a sequence or the width of a bag.
    dense = re.findall(r"tf\.SparseToDense.*-> tensor<(.*)xi64>", program)
    assert sorted(dense) == ["4x2", "4x3"]


@pytest.mark.parametrize("ragged", [False, True])
def test_every_step_of_a_sequence_is_a_sample_of_its_own_on_sparse_cores(ragged):
    ids = tf.ragged.constant([[5, 6, 7, 8], [], [9]], dtype=tf.int64)
    samples = steps_as_samples(ids if ragged else ids.to_sparse(), 3)
    assert samples.dense_shape.numpy().tolist() == [9, 1]
    assert samples.indices.numpy().tolist() == [[0, 0], [1, 0], [2, 0], [6, 0]]
    assert samples.values.numpy().tolist() == [5, 6, 7, 9]


def test_the_kernel_of_sparse_cores_takes_only_the_first_index():
    """The reason for `steps_as_samples`; only TensorFlow's TPU build has the kernel."""
    if not kernels.get_registered_kernels_for_op("ConvertToListOfSparseCoreCooTensors").kernel:
        pytest.skip("this build of TensorFlow has no kernel for SparseCores")
    ids = tf.sparse.from_dense(tf.constant([[5, 6], [7, 0]], tf.int64))

    def rows(sparse: tf.SparseTensor) -> list[int]:
        found, _, _ = tf.raw_ops.ConvertToListOfSparseCoreCooTensors(
            indices_or_row_splits=tf.cast(sparse.indices, tf.int32),
            values=tf.cast(sparse.values, tf.int32),
            weights=tf.ones([3]),
            **dict.fromkeys(("sample_count", "stacked_table_sample_count"), 4),
            **dict.fromkeys(("row_offset", "col_offset", "col_shift"), 0),
            **dict.fromkeys(("num_sc_per_chip", "num_sc_shards"), 1),
            combiner="mean",
        )
        return found[0].numpy().tolist()

    assert rows(ids) == [0, 0, 1]
    assert rows(steps_as_samples(ids, 2)) == [0, 1, 2]
