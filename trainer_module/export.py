"""The serving model: a CPU copy restored from the training checkpoint, saved as plain TensorFlow."""

import os
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import tensorflow as tf

from trainer_module.features import Categorical, FeatureSpec, Numeric, Weights
from trainer_module.inputs import ModelInputs, parse_spec

OUTPUT_NAME = "rating"

# What the Trainer leaves beside the SavedModel, for whoever must prove that the export predicts as training did.
PARITY_DIRECTORY = "parity"
PARITY_EXAMPLES = "examples.tfrecord"
PARITY_PREDICTIONS = "predictions.npy"


def restore_copy(copy: tf.keras.Model, checkpoint: str, features: dict[str, tf.Tensor | tf.SparseTensor]) -> None:
    """Restores the weights of a freshly built `copy` from a training checkpoint.

    Args:
        copy: Built in the default scope with no embedding optimizer, so it has no optimizer slots.
        checkpoint: Path prefix of a checkpoint of `model`.
        features: One batch of inputs, for the first call makes the variables.

    Raises:
        AssertionError: Some variable of the copy is not in the checkpoint.
    """
    copy(features)
    # The slots of the training model's embedding optimizer stay behind, which is why the match may be partial.
    status = tf.train.Checkpoint(model=copy).read(checkpoint)
    status.assert_existing_objects_matched().expect_partial()


def save(model: tf.keras.Model, model_inputs: ModelInputs, spec: FeatureSpec, directory: str) -> None:
    """Writes a SavedModel that plain TensorFlow loads and serves.

    Signatures, both returning `{"rating": float32 [batch]}`:
        serving_default: `examples`, serialized `tf.Example`s, string `[batch]`.
        predict: one tensor per input column: `[batch]`; NaN is a missing number; a multivalent column is
            `[batch, values]`, filled up with empty strings (or -1).

    Args:
        model: A serving copy.
        model_inputs: Raw columns to model inputs.
        spec: Gives the input columns.
        directory: Where to write.
    """
    module = tf.Module()
    # Only variables and lookup tables are tracked: a tracked Keras model would drag its own traced functions along.
    module.model_variables = model.variables
    module.model_inputs = model_inputs

    # Nothing here is Python control flow on tensors; without autograph, tracing takes a third of the time.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def serve_examples(examples):
        return {OUTPUT_NAME: model(model_inputs(dict(tf.io.parse_example(examples, parse_spec(spec.inputs)))))}

    @tf.function(input_signature=[_request_spec(column) for column in spec.inputs], autograph=False)
    def serve_columns(*values):
        raw = {column.name: _raw(column, value) for column, value in zip(spec.inputs, values, strict=True)}
        return {OUTPUT_NAME: model(model_inputs(raw))}

    signatures = {"serving_default": serve_examples, "predict": serve_columns}
    tf.saved_model.save(module, directory, signatures=signatures)


def save_parity_sample(directory: str, examples: Sequence[bytes], predictions: np.ndarray) -> None:
    """Writes serialized examples and the training model's predictions for them, float32 `[num_examples]`."""
    tf.io.gfile.makedirs(directory)
    with tf.io.TFRecordWriter(str(PurePath(directory, PARITY_EXAMPLES))) as writer:
        for example in examples:
            writer.write(example)
    with tf.io.gfile.GFile(os.path.join(directory, PARITY_PREDICTIONS), "wb") as file:
        np.save(file, predictions)


def _request_spec(column: Categorical | Weights | Numeric) -> tf.TensorSpec:
    dtype = tf.float32 if column.kind == "numeric" else tf.as_dtype(column.dtype)
    return tf.TensorSpec([None, None] if column.multivalent else [None], dtype, name=column.name)


def _raw(column: Categorical | Weights | Numeric, value: tf.Tensor) -> tf.Tensor | tf.SparseTensor:
    """A request's tensor in the form that parsing an example would give."""
    value = value if column.multivalent else value[:, tf.newaxis]
    if column.required and not column.multivalent:
        return tf.cast(value, tf.as_dtype(column.dtype))
    if column.dtype == "float32":
        present = tf.logical_not(tf.math.is_nan(value))
    else:
        present = tf.not_equal(value, "" if column.dtype == "string" else -1)
    indices = tf.where(present)
    values = tf.cast(tf.gather_nd(value, indices), tf.as_dtype(column.dtype))
    return tf.SparseTensor(indices, values, tf.shape(value, tf.int64))
