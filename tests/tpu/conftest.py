"""Every model on described TPUs; a session traces each model once per kind of embedding engine."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
import tensorflow as tf

from tpu_worker.described_tpu import EmbeddingFeature, described_tpu_strategy, uninitialized_embedding_engine
from tpu_worker.models import MODELS, SmallModel
from trainer_module.training.distribution import distribute
from trainer_module.training.loop import TrainingLoop

HOSTS, CORES = 2, 2
REPLICAS = HOSTS * CORES
BATCH_SIZE = 32
SPARSE_CORES = {"UNSUPPORTED": 0, "V1": 0, "V2": 4}
# All models have the same tables: what concerns tables alone is asked of a ranking model and of a retrieval model.
TABLE_MODELS = ("rating", "two_tower")


@pytest.fixture(params=MODELS)
def model(request) -> SmallModel:
    return MODELS[request.param]


@pytest.fixture(params=TABLE_MODELS)
def table_model(request) -> SmallModel:
    return MODELS[request.param]


@cache
def traced_loop(model_name: str, feature: EmbeddingFeature, pipelining: bool, directory: str) -> tf.Graph:
    """The product's own loop of steps, traced for two hosts of two cores each."""
    model = MODELS[model_name]
    with tf.Graph().as_default(), uninitialized_embedding_engine():
        strategy = described_tpu_strategy(HOSTS, CORES, feature, SPARSE_CORES[feature])
        blueprint = model.blueprint(BATCH_SIZE, pipelining=pipelining)
        trained, optimizer = blueprint.for_training(strategy, 3.0)
        loop = TrainingLoop(strategy, trained, optimizer, blueprint.experiment.training, directory, directory)

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            size = context.get_per_replica_batch_size(BATCH_SIZE)
            return tf.data.Dataset.from_tensors(model.batch(size)).repeat()

        # Without devices there is no iterator but inside the function.
        def steps(num_steps: tf.Tensor) -> tf.Tensor:
            return loop.train_steps.python_function(iter(distribute(strategy, batches)), num_steps)

        return tf.function(steps).get_concrete_function(tf.constant(3)).graph


@pytest.fixture(scope="session")
def trace(tmp_path_factory) -> Callable[..., tf.Graph]:
    directory = str(tmp_path_factory.mktemp("traces"))

    def trace(model: SmallModel, feature: EmbeddingFeature, pipelining: bool = False) -> tf.Graph:
        (name,) = [name for name, known in MODELS.items() if known is model]
        return traced_loop(name, feature, pipelining, directory)

    return trace


def nodes(graph: tf.Graph) -> list:
    """All node definitions, those in functions included."""
    definition = graph.as_graph_def()
    return [*definition.node, *(node for function in definition.library.function for node in function.node_def)]


def operations(graph: tf.Graph) -> Counter:
    """How often each type of operation occurs."""
    return Counter(node.op for node in nodes(graph))
