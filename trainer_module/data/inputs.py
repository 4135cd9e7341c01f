"""From files of examples to batches of fixed shape.

Training, evaluation and serving turn raw columns into model inputs by the same transform graph, here and in the
exported model, so the two cannot drift apart.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from trainer_module.data.cells import missing_value
from trainer_module.data.clean import one_per_row
from trainer_module.data.example_files import (
    BATCH_ROWS,
    ExampleFiles,
    rebatched,
    single_values,
    values_and_row_splits,
)
from trainer_module.data.features import Categorical, Column, Context, FeatureSpec, arrow_schema_of
from trainer_module.data.permutation import shuffled_batches
from trainer_module.data.row_store import Columns, Limits, RowStore, store
from trainer_module.errors import DataError
from trainer_module.memory import budget
from trainer_module.training.config import TrainingConfig

_log = logging.getLogger(__name__)

Features = dict[str, tf.Tensor | tf.SparseTensor | tf.RaggedTensor]

# Values of raw columns, with their row splits where a row may have any number of them.
Arrays = Mapping[str, Any]

# Enough to keep a step from waiting.
_PREFETCHED_BATCHES = 8
# Of several batches, so that they share what calls of NumPy and their threads cost.
_ROWS_PER_GATHERING = 8192
_PARALLEL_CALLS = os.cpu_count() or 1
# Name of the labels among the transformed columns of a split; no column has such a name.
_LABELS = ":labels"
# A transformed value, and one of a sparse column with its two indices.
_CELL_BYTES, _SPARSE_CELL_BYTES = 8, 24


def parse_request(examples: tf.Tensor, columns: Sequence[Column]) -> Features:
    """Parses the examples of a request, as `to_tensors` gives those of a file, but a required value may be missing.

    Args:
        examples: Serialized `tf.Example`s, `[batch]`.
        columns: Those that are read.

    Raises:
        tf.errors.InvalidArgumentError: While it runs: an example has several values of a column that takes one.
    """
    raw = tf.io.parse_example(examples, {c.name: tf.io.VarLenFeature(tf.as_dtype(c.dtype)) for c in columns})
    for column in columns:
        if column.multivalent:
            continue
        value = raw[column.name]
        message = f"column {column.name}: expected one value per example, found several"
        with tf.control_dependencies([tf.debugging.assert_less(value.dense_shape[1], np.int64(2), message)]):
            value = value.with_values(tf.identity(value.values))
        raw[column.name] = one_per_row(value, missing_value(column)) if column.required else value
    return raw


def without_autotuning() -> tf.data.Options:
    """Fixed parallelism and buffers.

    Dropping an iterator sometimes waits for tf.data's tuner to wake up (two seconds were seen), and the tuned input
    was no faster.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def length_name(sequence: str) -> str:
    """Name of the input with the number of values in a sequence column, int64 `[batch, 1]`."""
    # No column has such a name.
    return f"{sequence}:length"


class ModelInputs(tf.Module):
    """From raw columns to model inputs: the transform graph, then the layout that each feature asks for.

    Sequences that are ordered by time keep their latest values. The number of values of each sequence is a further
    input, under `length_name`.
    """

    def __init__(self, spec: FeatureSpec, transform: Callable[[Features], Features]):
        """Takes the transform graph.

        Args:
            spec: Gives the columns.
            transform: Raw columns to ids, numbers and label, sparse where a column may hold any number of values.
        """
        super().__init__()
        self._spec = spec
        # A SavedModel of this module needs the vocabularies. TFT's layer itself is left out: Keras would trace it once
        # more to save it, which takes longer than everything else.
        resources = tf.train.TrackableView.children(transform) if isinstance(transform, tf.Module) else {}
        self._resources = list(resources.values())
        self._transform = lambda raw: transform(raw)

    def __call__(self, raw: Features) -> Features:
        """Ids as dense `[batch, 1]`, sparse or ragged tensors, numbers and label as `[batch, 1]`."""
        outputs = self._transform(raw)
        for column in self._spec.categorical:
            if column.max_sequence_length and column.name in outputs:
                outputs |= _sequence(column, outputs[column.name])  # pyright: ignore[reportArgumentType] (sequences are not dense)
        layouts = _layouts(self._spec)
        return {
            name: tf.RaggedTensor.from_sparse(value)
            if layouts.get(name) == "ragged" and isinstance(value, tf.SparseTensor)
            else value
            for name, value in outputs.items()
        }


def _sequence(column: Categorical, ids: tf.SparseTensor | tf.RaggedTensor) -> Features:
    """The ids of a sequence column, `[batch, ?]`, cut as the column says, and their number."""
    ragged = without_sparse(ids)
    if column.latest_last:
        ragged = ragged[:, -column.max_sequence_length :]
        ids = ragged.to_sparse() if isinstance(ids, tf.SparseTensor) else ragged  # pyright: ignore[reportAssignmentType] (a slice of a ragged tensor is one)
    lengths = tf.minimum(ragged.row_lengths(), column.max_sequence_length)
    return {column.name: ids, length_name(column.name): lengths[:, tf.newaxis]}


class ExampleReader:
    """Batches of transformed examples, of one split, for one dataset."""

    def __init__(
        self,
        spec: FeatureSpec,
        model_inputs: ModelInputs,
        file_patterns: Sequence[str],
        nonzero: Context | None = None,
        limits: Limits | None = None,
        history_weights: bool = False,
    ):
        """Counts the examples, so that epochs have a known number of steps.

        Args:
            spec: Gives the columns.
            model_inputs: Raw columns to model inputs and label.
            file_patterns: As `ExampleFiles` takes them.
            nonzero: Required column of integers. Examples where it is 0 are left out, and training batches also hold
                it, `[batch, 1]`.
            limits: What `training.cache: features` may hold in memory; None is what this process's budget allows, with
                files among the temporary ones.
            history_weights: Whether training batches also hold the spec's `HistoryWeights`, if there are any.

        Raises:
            DataError: No file matches, the files are empty, or no example is left.
        """
        self._spec = spec
        self._model_inputs = model_inputs
        self._nonzero = nonzero
        self._history_weights = spec.history_weights if history_weights else None
        self._limits = limits or limits_of_process()
        self._file_patterns = file_patterns
        self._examples = ExampleFiles(file_patterns, nonzero.name if nonzero else "")
        self.files, self.num_examples = self._examples.files, self._examples.num_examples

    def where(self, nonzero: Context, history_weights: bool = False) -> "ExampleReader":
        """A reader of the examples in which a column is not 0; see `nonzero` and `history_weights` above."""
        spec, inputs, files = self._spec, self._model_inputs, self._file_patterns
        return ExampleReader(spec, inputs, files, nonzero, self._limits, history_weights)

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """Shuffled batches without end: `(features, labels [batch])`, all of one shape.

        With further labels, `labels` are `[batch, number of labels]`, in the order of `FeatureSpec.labels`, and NaN
        where an example lacks one.

        `features` also hold the weights of the examples, `[batch, 1]`, if the spec has a column of them.

        What a step gets depends on the seed and the step's number alone, so that an interrupted training goes on
        exactly where it stopped.

        Args:
            config: Batch size, seed, how to cache and shuffle.
            context: Which share of the examples is this host's.
            first_step: Where to start.
        """
        size = context.get_per_replica_batch_size(config.batch_size)
        first_example = first_step * size * (context.num_replicas_in_sync // context.num_input_pipelines)
        batches = self._from_features if config.cache == "features" else self._from_files
        return batches(config, context, first_example, size).with_options(without_autotuning())

    def evaluation_batches(
        self, batch_size: int, config: TrainingConfig, context: tf.distribute.InputContext
    ) -> tf.data.Dataset:
        """Every example once, in order: `(features, labels, weights [batch])`, with labels as in training batches.

        Weights are those of the examples, if the spec has a column of them, and 1 otherwise. The last batch is filled
        up with copies of weight 0, since a TPU needs one shape for all.

        Args:
            batch_size: Examples per step over all replicas.
            config: How to cache.
            context: Which share of the examples is this host's.
        """
        size, columns = context.get_per_replica_batch_size(batch_size), self._columns
        weight = self._spec.example_weight
        read = (*columns, weight) if weight else columns

        def padded() -> Iterator[tuple[Arrays, np.ndarray]]:
            for batch in self._share_of(context, read, size):
                rows = np.arange(size) % batch.num_rows
                weights = (np.arange(size) < batch.num_rows).astype(np.float32)
                yield to_arrays(batch.take(pa.array(rows)), read), weights

        def transformed(arrays: Arrays, weights: tf.Tensor) -> tuple[Features, tf.Tensor, tf.Tensor]:
            features, labels = self._features_and_labels(arrays, read, size)
            weights = tf.ensure_shape(weights, [size])
            if weight:
                weights *= tf.reshape(features.pop(weight.name), [size])
            return features, labels, weights

        signature = (array_signature(read), tf.TensorSpec([None], tf.float32))
        batches = tf.data.Dataset.from_generator(padded, output_signature=signature)
        if config.cache == "records":
            batches = batches.cache()
        batches = mapped(batches, transformed)
        if config.cache == "features" and self._fits_in_memory(context):
            batches = batches.cache()
        return batches.prefetch(_PREFETCHED_BATCHES).with_options(without_autotuning())

    def mean_label(self, num_examples: int = 100_000) -> float:
        """Mean of the label over the first examples, at most `num_examples`."""
        labels = single_values(self.head(num_examples, [self._spec.label]), self._spec.label.name)
        return float(labels.mean(dtype=np.float64))

    def label_range(self) -> tuple[float, float]:
        """Smallest and largest label."""
        return self._extremes(self._spec.label)

    def check_example_weights(self) -> None:
        """Checks the weights of the examples, if the spec has a column of them.

        Raises:
            DataError: A weight is negative or no number, or all are 0, so that there is nothing to learn from.
        """
        column = self._spec.example_weight
        if column is None:
            return
        low, high = self._extremes(column)
        if not 0 <= low <= high < math.inf or not high:
            raise DataError(
                f"column {column.name} weighs the examples, and in one of the splits train and eval its values go from "
                f"{low:g} to {high:g}; weights must be numbers from 0 up, not all of them 0. Mend the data, or leave "
                "the column out"
            )

    def _extremes(self, column: Column) -> tuple[float, float]:
        """Smallest and largest value of a required column; NaN if one is."""
        parts = [single_values(batch, column.name) for batch in self.batches([column])]
        # Not Python's min and max, which pass over a NaN that is not the first.
        return float(np.min([part.min() for part in parts])), float(np.max([part.max() for part in parts]))

    def head(self, num_examples: int, columns: Sequence[Column] | None = None) -> pa.RecordBatch:
        """The first raw examples: the given columns, or inputs and labels."""
        return next(self._examples.batches(arrow_schema_of(columns or self._columns), num_examples))

    def batches(self, columns: Sequence[Column], every: int = 1) -> Iterator[pa.RecordBatch]:
        """Raw columns of one in `every` examples, in order."""
        return self._examples.batches(arrow_schema_of(columns), every=every)

    def batches_of_host(self, context: tf.distribute.InputContext, column: Column) -> Iterator[pa.RecordBatch]:
        """A raw column of this host's examples, in the order of `stored`."""
        return self._share_of(context, [column])

    def features(self, examples: pa.RecordBatch) -> Features:
        """Model inputs from raw examples."""
        return self.transformed(examples, self._spec.inputs)

    def transformed(self, examples: pa.RecordBatch, columns: Sequence[Column]) -> Features:
        """What becomes of some columns of raw examples."""
        return self._model_inputs(to_tensors(to_arrays(examples, columns), columns))

    @property
    def _columns(self) -> tuple[Column, ...]:
        """Inputs and labels."""
        return (*self._spec.inputs, *self._spec.labels)

    @property
    def _training_columns(self) -> tuple[Column, ...]:
        further = (self._spec.example_weight, self._history_weights, self._nonzero)
        return (*self._columns, *(column for column in further if column is not None))

    def _from_features(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_example: int, size: int
    ) -> tf.data.Dataset:
        """Gathers batches from the transformed split, by a permutation of its own in every epoch."""
        rows_of_host = self.stored(context)
        number = max(1, _ROWS_PER_GATHERING // size)

        def several(rows: tf.Tensor) -> tuple[Columns, tf.Tensor | tf.RaggedTensor]:
            gathered = rows_of_host.gather(rows).items()
            columns = {name: _in_batches(column, number, size) for name, column in gathered}
            return columns, columns.pop(_LABELS)

        rows = shuffled_batches(first_example, number * size, rows_of_host.num_rows, config.seed)
        # A thread that hands over each batch would take longer than what it hands over; the next ones are gathered
        # meanwhile all the same.
        batches = mapped(rows, several).unbatch()
        ragged = any(isinstance(spec, tf.RaggedTensorSpec) for spec in batches.element_spec[0].values())
        return mapped(batches, lambda columns, labels: (self._as_features(columns), labels)) if ragged else batches

    def stored(self, context: tf.distribute.InputContext) -> RowStore:
        """This host's transformed examples, with labels, for `as_batch`."""
        return store(self._transformed_parts(context), self._limits)

    def as_batch(self, gathered: Columns, size: int) -> tuple[Features, tf.Tensor]:
        """Features and labels of a training batch from `size` rows of `stored`."""
        columns = dict(gathered)
        labels = columns.pop(_LABELS)
        return self._as_features(columns), tf.ensure_shape(labels, [size, *labels.shape[1:]])

    def _as_features(self, columns: Columns) -> Features:
        layouts = _layouts(self._spec)
        return {
            name: value.to_sparse() if isinstance(value, tf.RaggedTensor) and layouts.get(name) != "ragged" else value
            for name, value in columns.items()
        }

    def _transformed_parts(self, context: tf.distribute.InputContext) -> Iterator[Columns]:
        """This host's transformed examples, dense or ragged columns, with labels `[rows, ...]` among them."""
        columns = self._training_columns

        def raw() -> Iterator[Arrays]:
            return (to_arrays(batch, columns) for batch in self._share_of(context, columns))

        batches = tf.data.Dataset.from_generator(raw, output_signature=array_signature(columns))
        for features, labels in mapped(batches, lambda arrays: self._features_and_labels(arrays, columns)):
            yield {name: without_sparse(value) for name, value in features.items()} | {_LABELS: labels}

    def _fits_in_memory(self, context: tf.distribute.InputContext) -> bool:
        """Whether this host's share of the transformed eval split may be held, judged by the first examples."""
        head = self.head(BATCH_ROWS)
        cells = [(column.name, _CELL_BYTES if _is_dense(column) else _SPARSE_CELL_BYTES) for column in self._columns]
        per_example = sum(size * max(1.0, _mean_length(head.column(name))) for name, size in cells)
        num_bytes = per_example * self.num_examples / context.num_input_pipelines
        fits = num_bytes <= self._limits.evaluation_bytes
        if not fits:
            _log.info(
                "the transformed eval split would take %.3f GB, and memory may hold %.3f of it: every evaluation reads "
                "its examples again",
                num_bytes / 1e9,
                self._limits.evaluation_bytes / 1e9,
            )
        return fits

    def _from_files(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_example: int, size: int
    ) -> tf.data.Dataset:
        """Reads raw examples, shuffles within windows, and transforms, epoch after epoch."""
        columns, window = self._training_columns, config.shuffle_rows or BATCH_ROWS
        in_memory = list(self._share_of(context, columns)) if config.cache == "records" else None

        def windows() -> Iterator[pa.RecordBatch]:
            pipelines = context.num_input_pipelines
            num_examples = (self.num_examples - context.input_pipeline_id + pipelines - 1) // pipelines
            first_epoch, skipped = divmod(first_example, num_examples)
            for epoch in count(first_epoch):
                for number, batch in enumerate(rebatched(in_memory or self._share_of(context, columns), window)):
                    if skipped < batch.num_rows:
                        rows = np.arange(batch.num_rows)
                        if config.shuffle_rows:
                            rows = np.random.default_rng((config.seed, epoch, number)).permutation(rows)
                        yield batch.take(pa.array(rows[skipped:]))
                    skipped = max(0, skipped - batch.num_rows)

        def raw() -> Iterator[Arrays]:
            return (to_arrays(batch, columns) for batch in rebatched(windows(), size))

        batches = tf.data.Dataset.from_generator(raw, output_signature=array_signature(columns))
        batches = mapped(batches, lambda arrays: self._features_and_labels(arrays, columns, size))
        return batches.prefetch(_PREFETCHED_BATCHES)

    def _share_of(
        self, context: tf.distribute.InputContext, columns: Sequence[Column], size: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Raw columns of this host's examples."""
        return self._examples.batches(
            arrow_schema_of(columns), size, context.num_input_pipelines, context.input_pipeline_id
        )

    def _features_and_labels(
        self, arrays: Arrays, columns: Sequence[Column], size: int | None = None
    ) -> tuple[Features, tf.Tensor]:
        """Everything but the labels as features; labels; both of `size` rows where that is given."""
        raw = to_tensors(arrays, columns, size)
        # The transform graph knows inputs, label and weight.
        untransformed = {column.name: raw.pop(column.name) for column in columns if column == self._nonzero}
        transformed = self._model_inputs(raw) | untransformed
        for column in self._spec.categorical:
            if column.max_sequence_length:
                name = length_name(column.name)
                transformed[name] = tf.ensure_shape(transformed[name], [size, 1])
        labels = [transformed.pop(label.name) for label in self._spec.labels]
        return transformed, tf.concat(labels, axis=1) if len(labels) > 1 else tf.squeeze(labels[0], axis=1)


def to_arrays(examples: pa.RecordBatch, columns: Sequence[Column]) -> Arrays:
    """Raw columns as arrays: `[rows]` where one value is required, flat values and int64 row splits elsewhere.

    Raises:
        DataError: A required value is missing, or there are several.
    """
    return {
        column.name: single_values(examples, column.name)
        if _is_dense(column)
        else values_and_row_splits(examples.column(column.name))
        for column in columns
    }


def to_tensors(arrays: Arrays, columns: Sequence[Column], size: int | None = None) -> Features:
    """What `to_arrays` gives as tensors: `[batch, 1]` where one value is required, sparse `[batch, ?]` elsewhere.

    Args:
        arrays: By column.
        columns: Those that are wanted.
        size: Number of rows, for shapes that are known before the data is, as TPUs need them.
    """

    def dense(values: Any, dtype: str) -> tf.Tensor:
        return tf.expand_dims(tf.ensure_shape(tf.convert_to_tensor(values, dtype), [size]), 1)

    def sparse(values: Any, row_splits: Any, dtype: str) -> tf.SparseTensor:
        ragged = tf.RaggedTensor.from_row_splits(tf.convert_to_tensor(values, dtype), row_splits, validate=False)
        value = ragged.to_sparse()
        if size is None:
            return value
        return tf.SparseTensor(value.indices, value.values, tf.stack([np.int64(size), value.dense_shape[1]]))

    return {
        column.name: dense(arrays[column.name], column.dtype)
        if _is_dense(column)
        else sparse(*arrays[column.name], column.dtype)
        for column in columns
    }


def array_signature(columns: Sequence[Column]) -> dict[str, Any]:
    """The shapes and types that `to_arrays` gives."""
    return {
        column.name: tf.TensorSpec([None], column.dtype)
        if _is_dense(column)
        else (tf.TensorSpec([None], column.dtype), tf.TensorSpec([None], tf.int64))
        for column in columns
    }


def limits_of_process(directory: str | None = None) -> Limits:
    """What this process's budget lets splits take, with files in a local directory or among the temporary ones."""
    of_process = budget()
    return Limits(of_process.training_cache, of_process.evaluation_cache, directory)


def _layouts(spec: FeatureSpec) -> dict[str, str]:
    """How the layer wants ids and their weights, by column."""
    layouts = {column.name: column.ids_layout for column in spec.categorical}
    return layouts | {column.weights: column.ids_layout for column in spec.categorical if column.weights}


def _mean_length(lists: pa.Array) -> float:
    return len(lists.flatten()) / max(1, len(lists))


def _is_dense(column: Column) -> bool:
    return column.required and not column.multivalent


def mapped(batches: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Maps batches in parallel and in order; without autograph, whose conversion of a model's code takes seconds."""
    return batches.map(tf.autograph.experimental.do_not_convert(function), num_parallel_calls=_PARALLEL_CALLS)


def _in_batches(column: tf.Tensor | tf.RaggedTensor, number: int, size: int) -> tf.Tensor | tf.RaggedTensor:
    """From `[number * size, ...]` to `[number, size, ...]`."""
    if isinstance(column, tf.RaggedTensor):
        return tf.RaggedTensor.from_uniform_row_length(column, size, nrows=number)
    return tf.reshape(column, [number, size, *column.shape[1:]])


def without_sparse(value: tf.Tensor | tf.SparseTensor | tf.RaggedTensor) -> tf.Tensor | tf.RaggedTensor:
    """Ragged in place of sparse, since rows of the latter cannot be gathered."""
    return tf.RaggedTensor.from_sparse(value) if isinstance(value, tf.SparseTensor) else value
