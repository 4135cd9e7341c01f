"""The SavedModel: lookups and answers as plain TensorFlow operations on a CPU, with its signatures."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.data.inputs import ModelInputs, parse_request
from trainer_module.embeddings.layer import FeatureConfig, Features
from trainer_module.errors import ModelError
from trainer_module.export.quantization import QuantizedTable
from trainer_module.models.signatures import RequestColumn
from trainer_module.private_members import mid_level

TableConfig = tf.tpu.experimental.embedding.TableConfig
Answer = Callable[[Features], Mapping[str, tf.Tensor]]
_EXTRA = "assets.extra"

ServedTable = tf.Variable | QuantizedTable


def look_up_on_cpu(
    tables: Mapping[str, ServedTable], spec: FeatureSpec, columns: Sequence[Categorical], features: Features
) -> dict[str, tf.Tensor]:
    """Embeddings of some columns, from tables of any embedding layer, also of one that trains on accelerators.

    What TensorFlow Recommenders' layer does with a `serving_config`, without the layer: under a TPU's embedding engine
    that would read variables which a SavedModel cannot hold.

    Args:
        tables: By name, from `tables_of`, or quantized.
        spec: Gives the tables' combiners.
        columns: Those wanted, all or some.
        features: Ids and weights, at least of `columns`.

    Returns:
        Per column `[batch, dim]`, `[batch, 1, dim]` for dense ids, or `[batch, length, dim]` for sequences.
    """
    combiners = {table.name: table.combiner for table in spec.tables}
    ids: dict[str, Any] = {}
    rows: dict[Any, Any] = {}
    serving_config: dict[str, Any] = {}
    for column in columns:
        table = tables[column.table]
        # A quantized table becomes another small one for each column, so columns do not share a `TableConfig`.
        config = TableConfig(*table.shape, combiner=combiners[column.table], name=column.table)
        ids[column.name], rows[config] = features[column.name], table
        if isinstance(table, QuantizedTable):
            ids[column.name], widened = table.widen(features[column.name])
            is_read = column.max_sequence_length and isinstance(features[column.name], tf.SparseTensor)
            rows[config] = _Readable(widened) if is_read else widened
        serving_config[column.name] = FeatureConfig(
            table=config,
            max_sequence_length=column.max_sequence_length,
            validate_weights_and_indices=column.validate_weights_and_indices,
            name=column.name,
        )
    weights = None
    if any(column.weights for column in columns):
        weights = {column.name: column.weights and features[column.weights] for column in columns}
    return tf.tpu.experimental.embedding.serving_embedding_lookup(ids, weights, rows, serving_config)


@dataclass(frozen=True)
class _Readable:
    """Rows for sequences of sparse ids; TensorFlow's lookup of those reads its table as a variable is read."""

    rows: tf.Tensor

    def read_value(self) -> tf.Tensor:
        return self.rows


def columns_of(spec: FeatureSpec, features: Sequence[str]) -> tuple[RequestColumn, ...]:
    """The categorical columns `features` with their weights, in declaration order."""
    weights = {column.weights for column in spec.categorical if column.name in features}
    return tuple(column for column in spec.inputs if column.name in features or column.name in weights)


def tables_of(layer: tf.keras.layers.Layer, columns: Sequence[RequestColumn]) -> dict[str, tf.Variable]:
    """The tables, by name, in which `columns` look up; of an embedding engine, the copies that the host keeps.

    Raises:
        ModelError: The layer keeps several tables stacked in one variable, as SparseCore does, or one table in several
            variables, as the engine of a TPU with several hosts does.
    """
    wanted = sorted({column.table for column in columns if isinstance(column, Categorical)})
    children = tf.train.TrackableView(layer).children(mid_level(layer))
    if stacked := [name for name in wanted if name not in children]:
        raise ModelError(
            f"embedding tables {stacked} cannot be looked up outside the accelerator: the layer stacks its tables as "
            f"{sorted(children)}. Set export.route to checkpoint, which takes them apart"
        )
    return {name: _whole(name, children[name]) for name in wanted}


def _whole(name: str, table: Any) -> tf.Variable:
    """A table as one variable; an embedding engine divides it by hosts."""
    if isinstance(table, tf.Variable):
        return table
    # A SavedModel with TensorFlow's divided variable cannot be loaded, one with its only part can.
    if len(table.variables) > 1:
        raise ModelError(
            f"embedding table {name} lies on {len(table.variables)} hosts and cannot be saved from here as one; set "
            "export.route to checkpoint"
        )
    return table.variables[0]


@dataclass(frozen=True)
class Signature:
    """Something that the exported model answers, for any number of examples.

    Attributes:
        name: Of the signature.
        columns: The input columns that `answer` needs.
        answer: From model inputs to named outputs, `[batch, ...]` each.
        serialized: Whether it takes `examples`, serialized `tf.Example`s, string `[batch]`; otherwise one tensor per
            column: `[batch]`, or `[batch, values]` for a multivalent column. An empty string or one of spaces alone is
            a missing token and fills a multivalent column up; of integers that is -1, of numbers and weights NaN.
    """

    name: str
    columns: Sequence[RequestColumn]
    answer: Answer
    serialized: bool


def save(
    signatures: Sequence[Signature],
    tables: Mapping[str, ServedTable],
    dense: Sequence[tf.Variable],
    model_inputs: ModelInputs,
    directory: str,
    fingerprints: Mapping[str, str],
) -> None:
    """Writes a SavedModel that plain TensorFlow loads and serves.

    Args:
        signatures: What it answers.
        tables: Embedding tables that the answers read, by name.
        dense: All other variables that they read.
        model_inputs: Raw columns to model inputs.
        directory: Where to write.
        fingerprints: Of the vocabularies, by table; the loaded model's function `vocabularies` returns them as JSON.
    """
    module = tf.Module()
    # Only variables and vocabularies are tracked: a tracked Keras model would drag its own traced functions along, and
    # its optimizers their slots.
    module.tables = dict(tables)
    module.dense = list(dense)
    module.model_inputs = model_inputs
    text = json.dumps(dict(fingerprints))
    module.vocabularies = tf.function(lambda: tf.constant(text), input_signature=[], autograph=False)
    functions = {signature.name: _function(signature, model_inputs) for signature in signatures}
    tf.saved_model.save(module, directory, signatures=functions)


def saved_bytes(directory: str) -> int:
    """Bytes of the files of a SavedModel, without those that TensorFlow does not load (`assets.extra`)."""
    return sum(
        tf.io.gfile.stat(os.path.join(folder, file)).length
        for folder, _, files in tf.io.gfile.walk(directory)
        if _EXTRA not in os.path.relpath(folder, directory).split(os.sep)
        for file in files
    )


def _function(signature: Signature, model_inputs: ModelInputs) -> Callable[..., Mapping[str, tf.Tensor]]:
    columns = signature.columns

    # Nothing here is Python control flow on tensors; without autograph, tracing takes a third of the time.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def serve_examples(examples):
        return signature.answer(model_inputs(parse_request(examples, columns)))

    @tf.function(input_signature=[_request_spec(column) for column in columns], autograph=False)
    def serve_columns(*values):
        raw = {column.name: _raw(column, value) for column, value in zip(columns, values, strict=True)}
        return signature.answer(model_inputs(raw))

    return serve_examples if signature.serialized else serve_columns


def _request_spec(column: RequestColumn) -> tf.TensorSpec:
    dtype = tf.float32 if column.kind == "numeric" else tf.as_dtype(column.dtype)
    return tf.TensorSpec([None, None] if column.multivalent else [None], dtype, name=column.name)


def _raw(column: RequestColumn, value: tf.Tensor) -> tf.Tensor | tf.SparseTensor:
    """A request's tensor in the form that parsing an example would give."""
    value = value if column.multivalent else value[:, tf.newaxis]
    if column.required and not column.multivalent:
        return tf.cast(value, tf.as_dtype(column.dtype))
    present = tf.ones_like(value, tf.bool)
    if column.kind == "numeric" and column.dtype == "int64":
        # The transform graph leaves missing values out, but integers have no NaN.
        present = tf.logical_not(tf.math.is_nan(value))
    indices = tf.where(present)
    values = tf.cast(tf.gather_nd(value, indices), tf.as_dtype(column.dtype))
    return tf.SparseTensor(indices, values, tf.shape(value, tf.int64))
