"""Raw columns to model inputs: the `preprocessing_fn` of Transform."""

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer_module.data.clean import clean, one_per_row
from trainer_module.data.features import Categorical, FeatureSpec, HashBuckets, Numeric, Table

RawFeatures = Mapping[str, tf.Tensor | tf.SparseTensor]


def preprocessing_fn(inputs: RawFeatures, custom_config: dict[str, Any]) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """Tokens to ids, numbers to z-scores; labels pass through and context columns are dropped.

    Statistics of numbers are those of float64, in which the square of any float32 and the sum of many have room.

    Args:
        inputs: Raw columns; `[batch, 1]` where one value is required, sparse `[batch, ?]` elsewhere.
        custom_config: Holds the JSON of the dataset's `FeatureSpec` under `features`.

    Returns:
        Categorical columns as int64 ids of the shape they came in, or `[batch, 1]` where a token stands for the missing
        value; weights as they came; numeric columns and labels as float32 `[batch, 1]`, NaN for a label that an example
        lacks; and so the weight of an example, divided by its mean over the training split.
    """
    spec = FeatureSpec.model_validate_json(custom_config["features"])
    inputs = clean(spec, dict(inputs))
    outputs = {column.name: inputs[column.name] for column in (spec.label, *spec.weights)}
    outputs |= {label.name: one_per_row(inputs[label.name], math.nan) for label in spec.further_labels}
    if weight := spec.example_weight:
        values = tf.cast(inputs[weight.name], tf.float64)
        outputs[weight.name] = tf.cast(values / tft.mean(values), tf.float32)
    for table in spec.tables:
        columns = [c for c in spec.categorical if c.table == table.name]
        tokens = {c.name: _tokens(c, inputs[c.name]) for c in columns}
        counted = tf.concat([tf.reshape(_values(tokens[c.name]), [-1]) for c in columns if c.counted], axis=0)
        outputs |= _ids(table, counted, tokens)
    return outputs | {column.name: _z_score(column, inputs[column.name]) for column in spec.numeric}


def _tokens(column: Categorical, value: tf.Tensor | tf.SparseTensor) -> tf.Tensor | tf.SparseTensor:
    """A column with its missing values named, if it has a name for them."""
    if column.missing_token is None:
        return value
    return one_per_row(value, column.missing_token)


def _ids(table: Table, counted: tf.Tensor, columns: RawFeatures) -> dict[str, tf.Tensor | tf.SparseTensor]:
    if table.frequencies:
        # A file of its own: one with frequencies in it cannot be looked up in.
        tft.vocabulary(counted, vocab_filename=table.frequency_file, store_frequency=True)
    if isinstance(table.vocabulary, HashBuckets):
        return {name: _hashed(column, table.vocabulary.buckets) for name, column in columns.items()}
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


def _hashed(column: tf.Tensor | tf.SparseTensor, buckets: int) -> tf.Tensor | tf.SparseTensor:
    """Ids by the hash with which vocabularies choose a bucket for an unknown token."""
    values = _values(column)
    texts = values if values.dtype == tf.string else tf.strings.as_string(values)
    ids = tf.strings.to_hash_bucket_fast(texts, buckets)
    return tf.SparseTensor(column.indices, ids, column.dense_shape) if isinstance(column, tf.SparseTensor) else ids


def _z_score(column: Numeric, value: tf.SparseTensor) -> tf.Tensor:
    scaled = tft.scale_to_z_score(value.with_values(_scale(column, value.values)))
    clipped = tf.clip_by_value(one_per_row(scaled, column.missing), -column.clip, column.clip)
    return tf.cast(clipped, tf.float32)


def _scale(column: Numeric, values: tf.Tensor) -> tf.Tensor:
    values = tf.cast(values, tf.float64)
    return tf.math.log1p(tf.maximum(values, 0.0)) if column.transform == "log1p_z_score" else values
