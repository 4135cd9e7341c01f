"""Weights that follow their tokens from one vocabulary to the next."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from trainer_module.data.vocabularies import Vocabularies
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError, ModelError
from trainer_module.models.config import MultiTaskConfig, RatingModelConfig
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS
from trainer_module.training.checkpoints import Checkpoints
from trainer_module.training.config import TrainingConfig, WarmStartConfig
from trainer_module.training.warm_start import row_mapping, warm_start

from .conftest import MULTI_TASK, World, batch_of, rows, transform_graph

MODEL = RatingModelConfig(mlp=(3,))
TOKENS = st.lists(st.binary(min_size=1, max_size=3), unique=True, max_size=20)


@given(TOKENS, TOKENS, st.integers(1, 3), st.integers(1, 3))
def test_every_token_takes_its_row_along(old, new, old_oov, new_oov):
    as_array = lambda tokens: pa.array(tokens, pa.large_binary())  # noqa: E731
    new_rows, old_rows = row_mapping(as_array(old), as_array(new), old_oov, new_oov)
    expected = {new.index(token): old.index(token) for token in set(old) & set(new)}
    if old_oov == new_oov:
        expected |= {len(new) + bucket: len(old) + bucket for bucket in range(new_oov)}
    assert dict(zip(new_rows.tolist(), old_rows.tolist(), strict=True)) == expected


@pytest.fixture(scope="module")
def later(world, tmp_path_factory) -> World:
    """A later state of the data: two users left, one came, items are seen in another proportion."""
    everything = rows() + [row | {"user": [b"u99"]} for row in rows()[:40]]
    everything += [row for row in rows() if row["item"] == [b"i2"]]
    changed = [row for row in everything if row["user"] not in ([b"u3"], [b"u7"])]
    output = transform_graph(tmp_path_factory.mktemp("later"), changed)
    return World(world.spec, output, world.model_inputs, world.files)


def build(world: World, optimizer: str = "adam", config: RatingModelConfig | MultiTaskConfig = MODEL, **embeddings):
    """A model with its optimizers, all variables and slots made."""
    training = TrainingConfig(embedding_optimizer={"name": optimizer, "learning_rate": 0.1})
    blueprint = world.blueprint(config, training, EmbeddingsConfig(**({"dim": 2} | embeddings)))
    model, split = blueprint.for_training(tf.distribute.get_strategy(), 2.5)
    model(world.reader().features(batch_of(rows()[:1])))
    split.make_slots(model.trainable_variables, model.embedding.trainable_tables)
    return model, split


def earlier_checkpoint(world: World, directory, optimizer: str = "adam", **options) -> WarmStartConfig:
    """A training's best weights, with a different number in every cell of every table and slot."""
    model, split = build(world, optimizer, **options)
    count = 0
    for name, table in model.embedding.trainable_tables.items():
        keras = split.of_table[name]
        for variable in [table, *(keras.get_slot(table, slot) for slot in sorted(keras.get_slot_names()))]:
            size = int(np.prod(variable.shape))
            variable.assign(np.arange(count, count + size).reshape(variable.shape))
            count += size
    fingerprints = Vocabularies(world.spec, world.transform_output).fingerprints
    checkpoints = Checkpoints(str(directory), model, split, TrainingConfig(), fingerprints)
    checkpoints.save_best(1)
    checkpoints.export_best(1, str(directory / "best" / "checkpoint"))
    return WarmStartConfig(checkpoint=str(directory / "best" / "checkpoint"), transform_graph=graph_of(world))


def graph_of(world: World) -> str:
    return str(Path(world.transform_output.transform_savedmodel_dir).parent)


def by_token(world: World, table: str, values: np.ndarray) -> dict[bytes, list[float]]:
    tokens = world.transform_output.vocabulary_by_name(table)
    oov = {b"oov %d" % number: row for number, row in enumerate(values[len(tokens) :].tolist())}
    return dict(zip(tokens, values.tolist(), strict=False)) | oov


@pytest.mark.parametrize("name", EMBEDDING_OPTIMIZERS)
def test_rows_and_slots_follow_their_tokens(world, later, name, tmp_path):
    config = earlier_checkpoint(world, tmp_path, name)
    old_model, old_split = build(world, name)
    tf.train.Checkpoint(model=old_model, optimizer=old_split).read(config.checkpoint).expect_partial()
    model, split = build(later, name)
    fresh = {table: variable.numpy() for table, variable in model.embedding.trainable_tables.items()}
    reports = {report.table: report for report in warm_start(config, model, split, vocabularies(later))}
    for table, variable in model.embedding.trainable_tables.items():
        old_table = old_model.embedding.trainable_tables[table]
        pairs = [(old_table, variable, fresh[table])]
        for slot in split.of_table[table].get_slot_names():
            old_slot = old_split.of_table[table].get_slot(old_table, slot)
            pairs.append((old_slot, split.of_table[table].get_slot(variable, slot), None))
        for old, new, initial in pairs:
            before, after = by_token(world, table, old.numpy()), by_token(later, table, new.numpy())
            for token, row in after.items():
                if token in before:
                    assert row == before[token], (table, token)
                elif initial is not None:
                    assert row == by_token(later, table, initial)[token], (table, token)
        assert len(reports[table].slots) == len(EMBEDDING_OPTIMIZERS[name].slots)
    user = reports["user"]
    assert (user.kept, user.new, user.dropped, user.oov_rows) == (18, 1, 2, 1)
    # The order of items changed, or this would prove little.
    assert world.transform_output.vocabulary_by_name("item") != later.transform_output.vocabulary_by_name("item")


def vocabularies(world: World) -> Vocabularies:
    return Vocabularies(world.spec, world.transform_output)


@pytest.mark.parametrize("of_model", [MODEL, MULTI_TASK], ids=["rating", "multi_task"])
def test_the_dense_part_is_taken_over_and_the_step_starts_anew(world, later, tmp_path, of_model):
    config = earlier_checkpoint(world, tmp_path, config=of_model)
    old_model, _ = build(world, config=of_model)
    tf.train.Checkpoint(model=old_model).read(config.checkpoint).expect_partial()
    model, split = build(later, config=of_model)
    assert model._head.variables
    for variable in model._head.variables:
        variable.assign(tf.fill(variable.shape, 7.0))
    warm_start(config, model, split, vocabularies(later))
    for old, new in zip(old_model._head.variables, model._head.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(split.step) == 0


def test_slots_of_another_optimizer_stay_behind(world, later, tmp_path):
    config = earlier_checkpoint(world, tmp_path, "adagrad")
    model, split = build(later, "adam")
    assert {report.slots for report in warm_start(config, model, split, vocabularies(later))} == {()}


def test_another_number_of_buckets_leaves_the_oov_rows_behind(world, tmp_path):
    config = earlier_checkpoint(world, tmp_path)
    user = world.spec.tables[0].model_copy(
        update={"vocabulary": world.spec.tables[0].vocabulary.model_copy(update={"oov_buckets": 2})}
    )
    more = World(
        world.spec.model_copy(update={"tables": (user, *world.spec.tables[1:])}),
        world.transform_output,
        world.model_inputs,
        world.files,
    )
    model, split = build(more)
    reports = {report.table: report for report in warm_start(config, model, split, vocabularies(more))}
    assert (reports["user"].kept, reports["user"].oov_rows, reports["item"].oov_rows) == (20, 0, 3)


def test_another_width_is_refused_by_name(world, later, tmp_path):
    spec = world.spec.model_copy(
        update={"tables": tuple(table.model_copy(update={"dim": None}) for table in world.spec.tables)}
    )
    world, later = (World(spec, each.transform_output, each.model_inputs, each.files) for each in (world, later))
    config = earlier_checkpoint(world, tmp_path)
    model, split = build(later, dim=3)
    with pytest.raises(ModelError, match=r"table item is 3 wide, but 2 in .*set embeddings\.tables\.item\.dim=2"):
        warm_start(config, model, split, vocabularies(later))


def test_a_transform_graph_of_another_training_is_refused(world, later, tmp_path):
    config = earlier_checkpoint(world, tmp_path)
    model, split = build(later)
    with pytest.raises(ModelError, match=r"by its transform graph, was trained with other vocabularies: item"):
        warm_start(config.model_copy(update={"transform_graph": graph_of(later)}), model, split, vocabularies(later))


def test_other_dense_layers_are_refused(world, later, tmp_path):
    config = earlier_checkpoint(world, tmp_path)
    model, split = build(later)
    model._extra = tf.keras.layers.Dense(1)
    model._extra(tf.zeros([1, 1]))
    with pytest.raises(ModelError, match="does not fit the dense part of the model"):
        warm_start(config, model, split, vocabularies(later))


def test_an_embedding_engine_cannot_be_written_row_by_row(world, tmp_path):
    class InEngine:
        trainable_tables = {}

    class Model:
        embedding = InEngine()

    config = WarmStartConfig(checkpoint="", transform_graph="")
    with pytest.raises(ConfigError, match=r"training\.strategy=cpu"):
        warm_start(config, Model(), None, vocabularies(world))
