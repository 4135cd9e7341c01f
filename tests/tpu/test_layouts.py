"""What a model asks of the embedding engine of a TPU: the V1 configuration and the layout in SparseCores."""

import pytest
import tensorflow as tf

from tests.tpu.conftest import BATCH_SIZE, CORES, HOSTS, REPLICAS
from tpu_worker.described_tpu import (
    cpu_backed_tpu_strategy,
    described_tpu_strategy,
    embedding_configuration,
    sparse_core_layouts,
)
from tpu_worker.models import DIM, ROWS
from trainer_module.optimizers.config import Adagrad, Adam, Ftrl, Sgd, WarmupDecay


def configuration(model, optimizer, pipelining=False):
    with tf.Graph().as_default():
        strategy = described_tpu_strategy(HOSTS, CORES, "V1")
        trained, _ = model.blueprint(BATCH_SIZE, optimizer, pipelining).for_training(strategy, 3.0)
        return embedding_configuration(trained.embedding, BATCH_SIZE // REPLICAS)


def layouts(model, optimizer, num_cores=REPLICAS):
    with tf.Graph().as_default():
        strategy = described_tpu_strategy(1, num_cores, "V2", 4)
        trained, _ = model.blueprint(BATCH_SIZE, optimizer).for_training(strategy, 3.0)
        return sparse_core_layouts(trained.embedding)


def test_the_engine_is_told_the_tables_as_declared(table_model):
    tables = {table.name: table for table in configuration(table_model, Adagrad(learning_rate=0.1)).table_descriptor}
    assert {name: (table.vocabulary_size, table.dimension) for name, table in tables.items()} == {
        name: (rows, DIM) for name, rows in ROWS.items()
    }


def test_columns_of_one_table_share_it(table_model):
    config = configuration(table_model, Adagrad(learning_rate=0.1))
    table_of = {feature.name: config.table_descriptor[feature.table_id].name for feature in config.feature_descriptor}
    assert table_of == {column.name: column.table for column in table_model.spec.categorical}
    assert {tuple(feature.input_shape) for feature in config.feature_descriptor} == {(BATCH_SIZE // REPLICAS,)}


def test_the_engine_is_told_hosts_and_cores(table_model):
    config = configuration(table_model, Adagrad(learning_rate=0.1))
    assert (config.num_hosts, config.num_tensor_cores) == (HOSTS, HOSTS * CORES)


@pytest.mark.parametrize("pipelining", [False, True])
def test_pipelining_is_passed_through(table_model, pipelining):
    config = configuration(table_model, Adagrad(learning_rate=0.1), pipelining)
    assert config.pipeline_execution_with_tensor_core == pipelining


@pytest.mark.parametrize(
    ("optimizer", "parameters"),
    [
        (Sgd(learning_rate=0.25), "stochastic_gradient_descent"),
        (Adagrad(learning_rate=0.25), "adagrad"),
        (Adam(learning_rate=0.25), "adam"),
        (Ftrl(learning_rate=0.25), "ftrl"),
    ],
)
def test_the_engine_is_told_optimizer_and_learning_rate(table_model, optimizer, parameters):
    for table in configuration(table_model, optimizer).table_descriptor:
        assert table.optimization_parameters.WhichOneof("parameters") == parameters
        assert table.optimization_parameters.learning_rate.constant == 0.25


def test_a_schedule_reaches_the_engine_as_a_rate_of_its_own(table_model):
    optimizer = Adagrad(learning_rate=WarmupDecay(peak=0.25, warmup_steps=10))
    # Keras evaluates the rate once, which takes a step that really exists.
    trained, _ = table_model.blueprint(BATCH_SIZE, optimizer).for_training(cpu_backed_tpu_strategy(1, "V1"), 3.0)
    config = embedding_configuration(trained.embedding, BATCH_SIZE)
    rates = [table.optimization_parameters.learning_rate for table in config.table_descriptor]
    assert {rate.WhichOneof("learning_rate") for rate in rates} == {"dynamic"}


@pytest.mark.parametrize("num_cores", [1, 4])
def test_sparse_cores_get_equal_padded_shares_of_every_table(table_model, num_cores):
    sparse_cores = 4 * num_cores
    for name, layout in layouts(table_model, Sgd(learning_rate=0.1), num_cores).items():
        # Every SparseCore holds a multiple of 8 rows of a table.
        padded = -(-ROWS[name] // (8 * sparse_cores)) * 8 * sparse_cores
        assert layout.padded_rows == padded, name
        assert layout.padded_width == DIM


def test_tables_of_one_width_and_optimizer_are_stacked(table_model):
    stacked = layouts(table_model, Sgd(learning_rate=0.1))
    assert len({layout.stacked_in for layout in stacked.values()}) == 1
    # 16 SparseCores, multiples of 8 rows: 128, 384 and 128 rows, thus 40 per SparseCore.
    assert {layout.rows_per_sparse_core for layout in stacked.values()} == {40}
    assert len({layout.rotation for layout in stacked.values()}) == len(ROWS)


@pytest.mark.parametrize(
    ("optimizer", "copies"),
    [(Sgd(learning_rate=0.1), 1), (Adagrad(learning_rate=0.1), 2), (Adam(learning_rate=0.1), 3)],
)
def test_memory_counts_the_slots(table_model, optimizer, copies):
    for layout in layouts(table_model, optimizer).values():
        assert layout.stack_bytes_per_sparse_core == layout.rows_per_sparse_core * DIM * 4 * copies
