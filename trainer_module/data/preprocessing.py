"""Raw columns to model inputs: the `preprocessing_fn` of Transform."""

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer_module.data.clean import clean, one_per_row
from trainer_module.data.features import Categorical, FeatureSpec, HashBuckets, Numeric, Table
from trainer_module.data.token_counts import TokenFile, vocabularies

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
        lacks; and so the weight of an example, divided by its mean over the training split. Weights of a history's
        rows, divided by the same mean, as they came.
    """
    spec = FeatureSpec.model_validate_json(custom_config["features"])
    inputs = clean(spec, dict(inputs))
    outputs = {column.name: inputs[column.name] for column in (spec.label, *spec.weights)}
    outputs |= {label.name: one_per_row(inputs[label.name], math.nan) for label in spec.further_labels}
    if weight := spec.example_weight:
        values = tf.cast(inputs[weight.name], tf.float64)
        mean = tft.mean(values)
        outputs[weight.name] = tf.cast(values / mean, tf.float32)
        if of_history := spec.history_weights:
            column = inputs[of_history.name]
            scaled = tf.cast(column.values, tf.float64) / mean
            outputs[of_history.name] = column.with_values(tf.cast(scaled, tf.float32))
    tokens = {column.name: _tokens(column, inputs[column.name]) for column in spec.categorical}
    paths = _vocabularies(spec, tokens)
    tables = {table.name: table for table in spec.tables}
    outputs |= {
        column.name: _ids(tables[column.table], tokens[column.name], paths.get(column.table))
        for column in spec.categorical
    }
    return outputs | {column.name: _z_score(column, inputs[column.name]) for column in spec.numeric}


def analyzed_columns(spec: FeatureSpec) -> list[str]:
    """Names of the raw columns from which `preprocessing_fn` learns, as `tft.get_analyze_input_columns` finds them.

    That traces the function, which takes as long as a small data set's analysis.

    Args:
        spec: Columns of the dataset.
    """
    tables = {table.name: table for table in spec.tables}
    # What is looked up in a vocabulary is checked there, and these checks belong to the function's graph.
    tokens = [
        column
        for column in spec.categorical
        if not isinstance(tables[column.table].vocabulary, HashBuckets)
        or (tables[column.table].frequencies and column.counted)
    ]
    # A token whose weight is missing does not count.
    weights = [column.weights for column in tokens if column.weights]
    weight = [spec.example_weight] if spec.example_weight else []
    return [*(column.name for column in (*tokens, *spec.numeric, *weight)), *weights]


def _tokens(column: Categorical, value: tf.Tensor | tf.SparseTensor) -> tf.Tensor | tf.SparseTensor:
    """A column with its missing values named, if it has a name for them."""
    if column.missing_token is None:
        return value
    return one_per_row(value, column.missing_token)


def _vocabularies(spec: FeatureSpec, tokens: RawFeatures) -> dict[str, tf.Tensor]:
    """The path of each table's vocabulary; tables of hash buckets have none."""
    counted, files = [], []
    for table in spec.tables:
        columns = [column for column in spec.categorical if column.table == table.name]
        batch = [tf.reshape(_values(tokens[column.name]), [-1]) for column in columns if column.counted]
        of_table = _files(table, len(counted), columns[0].dtype)
        if of_table:
            counted.append(tf.concat(batch, axis=0))
            files += of_table
    if not files:
        return {}
    paths = vocabularies(counted, files)
    return {file.name: path for file, path in zip(files, paths, strict=True) if not file.with_counts}


def _files(table: Table, number: int, dtype: str) -> list[TokenFile]:
    files = []
    if table.frequencies:
        # A file of its own: one with frequencies in it cannot be looked up in.
        files.append(TokenFile(table.frequency_file, number, dtype, with_counts=True))
    if not isinstance(table.vocabulary, HashBuckets):
        kept = {"min_frequency": table.vocabulary.min_frequency, "top_k": table.vocabulary.top_k}
        files.append(TokenFile(table.name, number, dtype, **kept))
    return files


def _ids(
    table: Table, column: tf.Tensor | tf.SparseTensor, vocabulary: tf.Tensor | None
) -> tf.Tensor | tf.SparseTensor:
    if isinstance(table.vocabulary, HashBuckets):
        return _hashed(column, table.vocabulary.buckets)
    return tft.apply_vocabulary(column, vocabulary, num_oov_buckets=table.vocabulary.oov_buckets)


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
