"""The page on the mid-level API shows code that works; this runs that very code."""

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.tpu.ops import tpu_ops

from tpu_worker.described_tpu import described_tpu_strategy

PAGE = Path(__file__).parents[2] / "docs" / "mid_level_api.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> ModuleType:
    """The page's code as a module, in a file, where TensorFlow finds the source of what it translates."""
    file = tmp_path_factory.mktemp("page") / "page.py"
    file.write_text("\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)))
    spec = importlib.util.spec_from_file_location("page", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def batch() -> tuple[dict[str, tf.Tensor | tf.SparseTensor], tf.Tensor]:
    """Films 0 to 3 are watched, one has no history; films 10 to 13 are candidates."""
    watched = tf.SparseTensor([[0, 0], [0, 1], [1, 0], [2, 0]], tf.constant([0, 1, 2, 3], tf.int64), [4, 2])
    return {"watched": watched, "candidate": tf.constant([[10], [11], [12], [13]], tf.int64)}, tf.ones([4])


def test_the_loss_falls(page):
    _, losses = page.train_on_cpu([batch()] * 50)
    assert losses[-1] < losses[0] / 2


def test_only_looked_up_rows_move(page):
    optimizer = tf.keras.optimizers.legacy.Adagrad(0.1)
    tables = page.api.TPUEmbeddingForServing(page.features(optimizer), optimizer=None)
    tables.build()
    (film,) = tables.embedding_tables.values()
    before = film.numpy()
    page.train_step(tables, optimizer, *batch())
    moved = np.flatnonzero(np.any(film.numpy() != before, axis=1))
    # Film 13 is the candidate of somebody who watched nothing: no gradient.
    assert moved.tolist() == [0, 1, 2, 3, 10, 11, 12]
    assert film.shape == (1000, page.DIM)


def test_gradients_are_clipped_on_their_way_to_the_table(page):
    sgd = tf.keras.optimizers.legacy.SGD(1.0)
    tables = page.api.TPUEmbeddingForServing(page.features(sgd), optimizer=None)
    tables.build()
    (film,) = tables.embedding_tables.values()
    film.assign(tf.ones_like(film))
    page.train_step(tables, sgd, *batch())
    # Each product is 8, so the gradient of either row is 2 * (8 - 1) = 14 in each of 8 places, and is cut to norm 0.5.
    entry = 0.5 / np.sqrt(8)
    np.testing.assert_allclose(film[10], np.full(8, 1 - entry), rtol=1e-6)
    # The mean of two films gives each half of it.
    np.testing.assert_allclose(film[0], np.full(8, 1 - entry / 2), rtol=1e-6)


def test_on_a_tpu_ids_go_to_the_engine_and_gradients_come_back(page):
    not_yet = mock.patch.object(tpu_ops, "is_tpu_embedding_initialized", return_value=False)
    with tf.Graph().as_default() as graph, not_yet:
        page.train_on_tpu(described_tpu_strategy(1, 2, "V1"), lambda _: tf.data.Dataset.from_tensors(batch()), 3)
    operations = Counter(node.op for function in graph.as_graph_def().library.function for node in function.node_def)
    for operation in (
        "EnqueueTPUEmbeddingArbitraryTensorBatch",
        "RecvTPUEmbeddingActivations",
        "SendTPUEmbeddingGradients",
    ):
        assert operations[operation] == 1, operation
