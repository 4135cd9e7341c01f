"""Predictions of one or two models, and that batches do not outlive them."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma

from components.evaluation.extractors import with_columns
from components.evaluation.predictions import Predict
from trainer_module.errors import ModelError


def lengths(factor: float, *more: str):
    """A loader of a model that answers with the lengths of its requests."""

    def answer(examples):
        found = factor * tf.cast(tf.strings.length(examples), tf.float32)
        return {"length": found} | dict.fromkeys(more, -found)

    return SimpleNamespace(load=lambda: SimpleNamespace(signatures={"answer": answer}))


def batch() -> pa.RecordBatch:
    requests = pa.array([[b"a"], [b"bcd"]], pa.large_list(pa.large_binary()))
    return pa.RecordBatch.from_arrays([requests, pa.array([[1.0], [2.0]])], [tfma.ARROW_INPUT_COLUMN, "label"])


def predictions(**loaders):
    stage = Predict(loaders, "answer")
    stage.setup()
    (extracts,) = stage.process({tfma.ARROW_RECORD_BATCH_KEY: batch()})
    return extracts[tfma.PREDICTIONS_KEY]


def test_one_model_with_one_output_gives_an_array():
    np.testing.assert_array_equal(predictions(candidate=lengths(1)), [1, 3])


def test_several_outputs_are_named():
    found = predictions(candidate=lengths(1, "negative"))
    assert {name: values.tolist() for name, values in found.items()} == {"length": [1, 3], "negative": [-1, -3]}


def test_the_last_blessed_model_stands_beside_the_candidate():
    found = predictions(candidate=lengths(1), baseline=lengths(2))
    assert {name: values.tolist() for name, values in found.items()} == {"candidate": [1, 3], "baseline": [2, 6]}


def test_a_blessed_model_of_another_kind_is_refused():
    with pytest.raises(ModelError, match="no signature 'other' to compare with; give the pipeline another name"):
        Predict({"baseline": lengths(1)}, "other").setup()


def test_a_batch_is_freed_without_the_garbage_collector():
    stage = Predict({"": lengths(1)}, "answer")
    stage.setup()
    gc.disable()
    try:
        given = batch()
        freed = weakref.ref(given)
        (extracts,) = stage.process({tfma.ARROW_RECORD_BATCH_KEY: given})
        del given, extracts
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("names", "left"), [({"label", "other"}, ["label"]), (set(), [])])
def test_columns_that_no_metric_needs_are_dropped(names, left):
    found = with_columns({tfma.ARROW_RECORD_BATCH_KEY: batch(), "kept": 1}, names)
    assert found[tfma.ARROW_RECORD_BATCH_KEY].schema.names == left
    assert found["kept"] == 1
