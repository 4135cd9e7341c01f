"""The rule of `trainer_module.data.cells` as operations of a graph."""

import tensorflow as tf

from trainer_module.data.cells import MISSING_INTEGER, WHITESPACE
from trainer_module.data.features import Column, FeatureSpec, Weights

Raw = dict[str, tf.Tensor | tf.SparseTensor]

_SPACE = "[" + "".join(rf"\x{{{ord(character):x}}}" for character in WHITESPACE) + "]"
_AROUND = f"^{_SPACE}+|{_SPACE}+$"


def clean(spec: FeatureSpec, raw: Raw) -> Raw:
    """Trims the inputs and leaves missing values out.

    Args:
        spec: Gives the columns.
        raw: Columns by name, `[batch, 1]` dense or `[batch, ?]` sparse in the order of rows; columns that are no inputs
            pass through.

    Returns:
        The same columns: tokens that are required `[batch, 1]`, where a missing one is empty; all other inputs sparse,
        without missing values, each row's values in their order from the first position on.
    """
    cleaned = dict(raw)
    for column in spec.inputs:
        value = raw.get(column.name)
        if value is None or isinstance(column, Weights):
            continue
        if column.kind == "numeric":
            cleaned[column.name] = _numbers(value)
            continue
        value = _trimmed(value)
        if not isinstance(value, tf.SparseTensor):
            cleaned[column.name] = value
            continue
        present = _is_present(column, value.values)
        if column.weights:
            weights = raw[column.weights]
            present = tf.logical_and(present, tf.logical_not(tf.math.is_nan(weights.values)))
            cleaned[column.weights] = _only(weights, present)
        cleaned[column.name] = _only(value, present)
    return cleaned


def trimmed(tokens: tf.Tensor) -> tf.Tensor:
    """Tokens of any shape without the spaces around them."""
    is_ascii = tf.reduce_all(tf.equal(tf.strings.length(tokens), tf.strings.length(tokens, unit="UTF8_CHAR")))
    # A regular expression costs three times as much, and most tokens need none.
    return tf.cond(
        is_ascii,
        lambda: tf.strings.strip(tokens),
        lambda: tf.strings.regex_replace(tokens, _AROUND, ""),
    )


def one_per_row(value: tf.SparseTensor, default: float | str | bytes) -> tf.Tensor:
    """The first value of each row, `[batch, 1]`."""
    # A batch in which every value is missing has no column at all.
    filled = tf.sparse.to_dense(value, default_value=default)
    return tf.ensure_shape(tf.pad(filled, [[0, 0], [0, 1]], constant_values=default)[:, :1], [None, 1])


def _trimmed(value: tf.Tensor | tf.SparseTensor) -> tf.Tensor | tf.SparseTensor:
    if value.dtype != tf.string:
        return value
    return value.with_values(trimmed(value.values)) if isinstance(value, tf.SparseTensor) else trimmed(value)


def _is_present(column: Column, values: tf.Tensor) -> tf.Tensor:
    return tf.not_equal(values, "" if column.dtype == "string" else tf.constant(MISSING_INTEGER, values.dtype))


def _numbers(value: tf.Tensor | tf.SparseTensor) -> tf.SparseTensor:
    """The numbers that are none of NaN."""
    if not isinstance(value, tf.SparseTensor):
        indices = tf.where(tf.ones_like(value, tf.bool))
        value = tf.SparseTensor(indices, tf.gather_nd(value, indices), tf.shape(value, tf.int64))
    if value.dtype.is_integer:
        return value
    return _only(value, tf.logical_not(tf.math.is_nan(value.values)))


def _only(value: tf.SparseTensor, kept: tf.Tensor) -> tf.SparseTensor:
    """The values that are kept, moved together at the start of each row."""
    # Not by a RaggedTensor, whose conversions are four times as many operations: a graph has this once per column, and
    # Transform traces it four times.
    numbers = tf.where(kept)[:, 0]
    rows = tf.gather(value.indices[:, 0], numbers)
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, value.dense_shape[0])
    positions = tf.range(tf.size(rows, tf.int64)) - tf.gather(tf.cumsum(lengths, exclusive=True), rows)
    return tf.SparseTensor(
        tf.stack([rows, positions], axis=1),
        tf.gather(value.values, numbers),
        # No row is longer than 0 where there are none.
        tf.stack([value.dense_shape[0], tf.reduce_max(tf.pad(lengths, [[0, 1]]))]),
    )
