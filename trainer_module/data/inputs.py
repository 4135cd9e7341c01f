"""From files of serialized examples to batches of fixed shape.

Training, evaluation and serving turn raw columns into model inputs by the same transform graph, here and in the
exported model, so the two cannot drift apart.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from trainer_module.data.cells import missing_value
from trainer_module.data.clean import one_per_row
from trainer_module.data.features import Column, FeatureSpec
from trainer_module.errors import DataError
from trainer_module.training.config import TrainingConfig

Features = dict[str, tf.Tensor | tf.SparseTensor | tf.RaggedTensor]

# Files are read in large gulps; the default buffer of 256 KiB costs a quarter of the reading time.
_READ_BUFFER_BYTES = 8 << 20

# Examples transformed at once on their way into memory.
BATCH_IN_MEMORY = 16_384

# Enough to keep a step from waiting.
_PREFETCHED_BATCHES = 8
_PARALLEL_CALLS = os.cpu_count() or 1


def parse_spec(columns: Sequence[Column]) -> dict[str, tf.io.FixedLenFeature | tf.io.VarLenFeature]:
    """How `tf.io.parse_example` reads columns: `[batch, 1]` where one value is required, sparse elsewhere."""
    return {
        column.name: tf.io.VarLenFeature(tf.as_dtype(column.dtype))
        if column.multivalent or not column.required
        else tf.io.FixedLenFeature([1], tf.as_dtype(column.dtype))
        for column in columns
    }


def parse_request(examples: tf.Tensor, columns: Sequence[Column]) -> Features:
    """Parses the examples of a request: as `parse_spec` reads them, but a required value may be missing.

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


def _without_autotuning() -> tf.data.Options:
    """Fixed parallelism and buffers.

    Dropping an iterator sometimes waits for tf.data's tuner to wake up (two seconds were seen), and the tuned input
    was no faster.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


class ModelInputs(tf.Module):
    """From raw columns to model inputs: the transform graph, then the layout that each feature asks for."""

    def __init__(self, spec: FeatureSpec, transform: Callable[[Features], Features]):
        """Takes the transform graph.

        Args:
            spec: Gives the columns.
            transform: Raw columns to ids, numbers and label, sparse where a column may hold any number of values.
        """
        super().__init__()
        self._spec = spec
        self._transform = transform

    def __call__(self, raw: Features) -> Features:
        """Ids as dense `[batch, 1]`, sparse or ragged tensors, numbers and label as `[batch, 1]`."""
        outputs = self._transform(raw)
        layouts = {column.name: column.ids_layout for column in self._spec.categorical}
        layouts |= {column.weights: column.ids_layout for column in self._spec.categorical if column.weights}
        return {
            name: tf.RaggedTensor.from_sparse(value)
            if layouts.get(name) == "ragged" and isinstance(value, tf.SparseTensor)
            else value
            for name, value in outputs.items()
        }


class ExampleReader:
    """Batches of transformed examples, of one split, for one dataset."""

    def __init__(self, spec: FeatureSpec, model_inputs: ModelInputs, file_patterns: Sequence[str]):
        """Counts the examples, so that epochs have a known number of steps.

        Args:
            spec: Gives the columns.
            model_inputs: Raw columns to model inputs and label.
            file_patterns: Gzip TFRecords of `tf.Example`.

        Raises:
            DataError: No file matches, or the files are empty.
        """
        self._spec = spec
        self._model_inputs = model_inputs
        self.files = sorted(tf.io.gfile.glob(list(file_patterns)))
        if not self.files:
            raise DataError(f"no example files match {', '.join(file_patterns)}")
        self.num_examples = sum(int(n) for n in self._records().batch(4096).map(tf.size).as_numpy_iterator())
        if not self.num_examples:
            raise DataError(f"the example files {', '.join(self.files)} are empty")

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """Shuffled batches without end: `(features, labels [batch])`, all of one shape.

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
        batches = self._from_memory if config.cache == "features" else self._from_records
        return (
            batches(config, context, first_example, size)
            .prefetch(_PREFETCHED_BATCHES)
            .with_options(_without_autotuning())
        )

    def evaluation_batches(
        self, batch_size: int, config: TrainingConfig, context: tf.distribute.InputContext
    ) -> tf.data.Dataset:
        """Every example once, in order: `(features, labels [batch], weights [batch])`.

        The last batch is filled up with copies of weight 0, since a TPU needs one shape for all.

        Args:
            batch_size: Examples per step over all replicas.
            config: How to cache.
            context: Which share of the examples is this host's.
        """
        size = context.get_per_replica_batch_size(batch_size)
        records = self._share_of(context)
        if config.cache == "records":
            records = records.cache()
        batches = records.batch(size).map(lambda batch: self._padded(batch, size), num_parallel_calls=_PARALLEL_CALLS)
        if config.cache == "features":
            batches = batches.cache()
        return batches.prefetch(_PREFETCHED_BATCHES).with_options(_without_autotuning())

    def mean_label(self, num_examples: int = 100_000) -> float:
        """Mean of the label over the first examples, at most `num_examples`."""
        labels = self._values(self._spec.label, self._records().take(num_examples))
        return float(tf.reduce_mean(tf.concat(list(labels), axis=0)))

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
                f"column {column.name} weighs the training examples, and its values go from {low:g} to {high:g}; "
                "weights must be numbers from 0 up, not all of them 0. Mend the data, or leave the column out"
            )

    def _extremes(self, column: Column) -> tuple[float, float]:
        """Smallest and largest value of a required column; NaN if one is."""
        values = np.concatenate([part.ravel() for part in self._values(column, self._records()).as_numpy_iterator()])
        return float(np.min(values)), float(np.max(values))

    def head(self, num_examples: int) -> list[bytes]:
        """The first serialized examples."""
        return [record.numpy() for record in self._records().take(num_examples)]

    def serialized(self, every: int = 1) -> Iterator[np.ndarray]:
        """Batches of one in `every` serialized examples, in order, `[batch]` bytes objects each."""
        return self._records().shard(every, 0).batch(BATCH_IN_MEMORY).as_numpy_iterator()

    def features(self, records: tf.Tensor) -> Features:
        """Model inputs from serialized examples `[batch]`."""
        return self._model_inputs(dict(tf.io.parse_example(records, parse_spec(self._spec.inputs))))

    def _from_memory(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_example: int, size: int
    ) -> tf.data.Dataset:
        """Gathers batches from the transformed split, by a permutation of its own in every epoch."""
        columns, labels = self._columns_in_memory(context)
        num_examples = labels.shape[0]
        layouts = {column.name: column.ids_layout for column in self._spec.categorical}

        def batch(first: tf.Tensor) -> tuple[Features, tf.Tensor]:
            rows = _shuffled_rows(first + tf.range(size, dtype=tf.int64), num_examples, config.seed)
            features = {name: tf.gather(column, rows) for name, column in columns.items()}
            as_sparse = (name for name, value in features.items() if isinstance(value, tf.RaggedTensor))
            features |= {name: features[name].to_sparse() for name in as_sparse if layouts.get(name) != "ragged"}
            return features, tf.ensure_shape(tf.gather(labels, rows), [size])

        starts = tf.data.Dataset.counter(first_example, size)
        return starts.map(tf.autograph.experimental.do_not_convert(batch), num_parallel_calls=_PARALLEL_CALLS)

    def _columns_in_memory(self, context: tf.distribute.InputContext) -> tuple[Features, tf.Tensor]:
        """This host's transformed examples: dense or ragged columns, and labels `[num_examples]`."""
        batches = self._share_of(context).batch(BATCH_IN_MEMORY)
        parts = list(batches.map(self._training_features_and_label, num_parallel_calls=_PARALLEL_CALLS))
        columns = {
            name: tf.concat([without_sparse(features[name]) for features, _ in parts], axis=0) for name in parts[0][0]
        }
        return columns, tf.concat([labels for _, labels in parts], axis=0)

    def _from_records(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_example: int, size: int
    ) -> tf.data.Dataset:
        """Reads, shuffles in a buffer, parses and transforms, epoch after epoch."""
        records = self._share_of(context)
        if config.cache == "records":
            records = records.cache()
        pipelines, index = context.num_input_pipelines, context.input_pipeline_id
        num_examples = (self.num_examples - index + pipelines - 1) // pipelines
        first_epoch, in_epoch = divmod(first_example, num_examples)

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            if not config.shuffle_rows:
                return records
            return records.shuffle(config.shuffle_rows, seed=config.seed + number, reshuffle_each_iteration=False)

        return (
            tf.data.Dataset.counter(first_epoch)
            .flat_map(epoch)
            .skip(in_epoch)
            .batch(size, drop_remainder=True)
            .map(self._training_features_and_label, num_parallel_calls=_PARALLEL_CALLS)
        )

    def _values(self, column: Column, records: tf.data.Dataset) -> tf.data.Dataset:
        """Raw values of a required column, `[batch, 1]`, in batches."""
        spec = parse_spec([column])
        return records.batch(4096).map(lambda batch: tf.io.parse_example(batch, spec)[column.name])

    def _share_of(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """This host's serialized examples."""
        return self._records().shard(context.num_input_pipelines, context.input_pipeline_id)

    def _records(self) -> tf.data.Dataset:
        # The training data's order must not depend on timing, or two runs with one seed would differ.
        return tf.data.Dataset.from_tensor_slices(self.files).interleave(
            lambda file: tf.data.TFRecordDataset(file, "GZIP", _READ_BUFFER_BYTES),
            cycle_length=4,
            num_parallel_calls=_PARALLEL_CALLS,
            deterministic=True,
        )

    @tf.autograph.experimental.do_not_convert
    def _training_features_and_label(self, records: tf.Tensor) -> tuple[Features, tf.Tensor]:
        weight = self._spec.example_weight
        return self._features_and_label(records, () if weight is None else (weight,))

    @tf.autograph.experimental.do_not_convert
    def _features_and_label(self, records: tf.Tensor, others: Sequence[Column] = ()) -> tuple[Features, tf.Tensor]:
        """Inputs, `others` and label."""
        columns = (*self._spec.inputs, *others, self._spec.label)
        transformed = self._model_inputs(dict(tf.io.parse_example(records, parse_spec(columns))))
        label = tf.squeeze(transformed.pop(self._spec.label.name), axis=1)
        return transformed, label

    @tf.autograph.experimental.do_not_convert
    def _padded(self, records: tf.Tensor, batch_size: int) -> tuple[Features, tf.Tensor, tf.Tensor]:
        missing = batch_size - tf.size(records)
        weights = tf.concat([tf.ones_like(records, tf.float32), tf.zeros([missing])], axis=0)
        records = tf.concat([records, tf.repeat(records[:1], missing)], axis=0)
        features, label = self._features_and_label(tf.ensure_shape(records, [batch_size]))
        return features, label, tf.ensure_shape(weights, [batch_size])


def _shuffled_rows(positions: tf.Tensor, num_examples: int, seed: int) -> tf.Tensor:
    """Which rows the training sees at these positions, int64 `[batch]`, counted over all epochs.

    Every epoch visits every row once, in an order that follows from seed and epoch without any state.
    """
    epochs = tf.math.floordiv(positions, num_examples)
    seeds = tf.stack([tf.fill(tf.shape(epochs), tf.constant(seed, tf.int64)), epochs, tf.zeros_like(epochs)], axis=1)
    return tf.raw_ops.RandomIndexShuffle(
        index=tf.math.floormod(positions, num_examples), seed=seeds, max_index=tf.constant(num_examples - 1, tf.int64)
    )


def without_sparse(value: tf.Tensor | tf.SparseTensor | tf.RaggedTensor) -> tf.Tensor | tf.RaggedTensor:
    """Ragged in place of sparse, since rows of the latter cannot be gathered."""
    return tf.RaggedTensor.from_sparse(value) if isinstance(value, tf.SparseTensor) else value
