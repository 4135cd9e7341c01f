from collections import namedtuple

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.initializers import Constant, TruncatedNormal, Uniform, UniformByRows
from trainer_module.embeddings.layer import embedding_layer, feature_configs, make_initializer

ShardInfo = namedtuple("ShardInfo", ["shape", "offset"])
ROWS = {"user": 21, "item": 13, "tags": 4}


def test_columns_of_one_table_hold_the_same_object(world):
    configs = feature_configs(world.spec, ROWS, EmbeddingsConfig())
    assert configs["tags"].table is configs["main_tag"].table
    assert configs["user"].table is not configs["item"].table


def test_tables_are_as_declared(world):
    configs = feature_configs(world.spec, ROWS, EmbeddingsConfig(dim=8))
    item, tags = configs["item"].table, configs["tags"].table
    assert (item.name, item.vocabulary_size, item.dim, item.combiner) == ("item", 13, 8, "mean")
    assert (tags.name, tags.vocabulary_size, tags.dim, tags.combiner) == ("tags", 4, 2, "sum")


def test_an_experiment_changes_tables_and_features(world):
    config = EmbeddingsConfig(
        tables={"item": {"dim": 3, "combiner": "sqrtn", "initializer": {"name": "constant", "value": 7}}},
        features={"tags": {"max_sequence_length": 5, "validate_weights_and_indices": False}},
    )
    configs = feature_configs(config.applied_to(world.spec), ROWS, config)
    item = configs["item"].table
    assert (item.dim, item.combiner) == (3, "sqrtn")
    np.testing.assert_array_equal(item.initializer([2, 3]), np.full([2, 3], 7))
    assert configs["tags"].max_sequence_length == 5
    assert not configs["tags"].validate_weights_and_indices
    assert configs["main_tag"].max_sequence_length == 0


def test_shapes_are_fixed_for_a_tpu_only(world):
    config = EmbeddingsConfig(features={"tags": {"max_sequence_length": 5}, "user": {"output_shape": [1]}})
    spec = config.applied_to(world.spec)
    on_tpu = feature_configs(spec, ROWS, config, replica_batch_size=16)
    shapes = {name: feature.output_shape.as_list() for name, feature in on_tpu.items()}
    assert shapes == {"user": [16, 1], "item": [16], "tags": [16, 5], "main_tag": [16]}
    assert feature_configs(spec, ROWS, config)["user"].output_shape.rank is None


@pytest.mark.parametrize(
    ("initializer", "largest", "stddev"),
    [
        (TruncatedNormal(stddev=0.5), 1.0, 0.44),
        (Uniform(limit=0.5), 0.5, 0.5 / 3**0.5),
        (UniformByRows(), 0.01, 0.01 / 3**0.5),
        (Constant(value=0.25), 0.25, 0.0),
    ],
)
def test_initial_values(initializer, largest, stddev):
    values = make_initializer(initializer, 10_000, (1, 2))([10_000, 4]).numpy()
    assert abs(values).max() <= largest
    assert values.std() == pytest.approx(stddev, rel=0.03)


def test_shards_draw_their_own_values():
    draw = make_initializer(Uniform(limit=1), 8, (1, 2))
    first, second = (draw([8, 2], shard_info=ShardInfo((4, 2), (offset, 0))).numpy() for offset in (0, 4))
    assert first.shape == second.shape == (4, 2)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(draw([8, 2]), draw([8, 2]))


def test_a_layer_looks_up_what_its_tables_hold(world):
    constant = EmbeddingsConfig(dim=2, initializer={"name": "constant", "value": 3})
    layer = embedding_layer(feature_configs(world.spec, ROWS, constant), world.spec, constant)
    tags = tf.sparse.from_dense([[1, 2], [0, 3]])
    ids = {name: tf.constant([[1], [2]]) for name in ("user", "item", "main_tag")} | {"tags": tags}
    # The combiner of tags is a sum: two rows in the first example, one in the second.
    np.testing.assert_array_equal(layer(ids)["tags"], [[6, 6], [3, 3]])
