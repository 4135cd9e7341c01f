"""Raw columns to model inputs: the `preprocessing_fn` of Transform."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer_module.features import FeatureSpec, Numeric, Table

RawFeatures = Mapping[str, tf.Tensor | tf.SparseTensor]


def preprocessing_fn(inputs: RawFeatures, custom_config: dict[str, Any]) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """Tokens to ids, numbers to z-scores; the label passes through and context columns are dropped.

    Args:
        inputs: Raw columns; `[batch, 1]` where one value is required, sparse `[batch, ?]` elsewhere.
        custom_config: Holds the JSON of the dataset's `FeatureSpec` under `features`.

    Returns:
        Categorical columns as int64 ids of the shape they came in; weights as they came; numeric columns and the label
        as float32 `[batch, 1]`.
    """
    spec = FeatureSpec.model_validate_json(custom_config["features"])
    outputs = {column.name: inputs[column.name] for column in (spec.label, *spec.weights)}
    for table in spec.tables:
        columns = [c for c in spec.categorical if c.table == table.name]
        counted = tf.concat([tf.reshape(_values(inputs[c.name]), [-1]) for c in columns if c.counted], axis=0)
        outputs |= _ids(table, counted, {c.name: inputs[c.name] for c in columns})
    return outputs | {column.name: _z_score(column, inputs[column.name]) for column in spec.numeric}


def _ids(table: Table, counted: tf.Tensor, columns: RawFeatures) -> dict[str, tf.Tensor | tf.SparseTensor]:
    if table.frequencies:
        # A file of its own: one with frequencies in it cannot be looked up in.
        tft.vocabulary(counted, vocab_filename=table.frequency_file, store_frequency=True)
    vocabulary = tft.vocabulary(
        counted,
        vocab_filename=table.name,
        frequency_threshold=table.vocabulary.min_frequency,
        top_k=table.vocabulary.top_k,
    )
    return {
        name: tft.apply_vocabulary(column, vocabulary, num_oov_buckets=table.vocabulary.oov_buckets)
        for name, column in columns.items()
    }


def _values(column: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    return column.values if isinstance(column, tf.SparseTensor) else column


def _z_score(column: Numeric, value: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    if isinstance(value, tf.SparseTensor):
        value = tf.SparseTensor(value.indices, tf.cast(value.values, tf.float32), value.dense_shape)
        scaled = tf.sparse.to_dense(tft.scale_to_z_score(value), default_value=0.0)
        # Only the first cell of a row exists, but a batch in which every value is missing has no column at all.
        scaled = tf.ensure_shape(tf.pad(scaled, [[0, 0], [0, 1]])[:, :1], [None, 1])
    else:
        scaled = tft.scale_to_z_score(tf.cast(value, tf.float32))
    return tf.clip_by_value(scaled, -column.clip, column.clip)
