import pytest
import tensorflow as tf

from trainer_module.experiment import OptimizerConfig
from trainer_module.optimizers import SplitOptimizer, make_optimizer


def test_each_optimizer_updates_its_own_variables():
    table, kernel = tf.Variable([1.0]), tf.Variable([1.0])
    sgd = [make_optimizer(OptimizerConfig(name="sgd", learning_rate=rate)) for rate in (0.5, 0.25)]
    SplitOptimizer(*sgd).apply([tf.constant([1.0])] * 2, [kernel, table], [table])
    assert table.numpy().tolist() == [0.5]
    assert kernel.numpy().tolist() == [0.75]


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam"])
def test_every_optimizer_is_one_that_tpus_know(name):
    from trainer_module.embeddings import embedding_layer

    table = tf.tpu.experimental.embedding.TableConfig(10, 4, name="table")
    configs = {"column": tf.tpu.experimental.embedding.FeatureConfig(table=table)}
    layer = embedding_layer(configs, make_optimizer(OptimizerConfig(name=name, learning_rate=0.1)))
    assert layer({"column": tf.constant([[1]])})["column"].shape == (1, 1, 4)


def test_gradients_and_variables_must_be_as_many():
    sgd = make_optimizer(OptimizerConfig(name="sgd", learning_rate=0.1))
    with pytest.raises(ValueError, match="argument 2 is longer"):
        SplitOptimizer(sgd, sgd).apply([tf.constant(1.0)], [tf.Variable(1.0), tf.Variable(2.0)], [])
