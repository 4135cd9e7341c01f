"""From files of serialized examples to batches of fixed shape.

Training, evaluation and serving turn raw columns into model inputs by the same transform graph, here and in the
exported model, so the two cannot drift apart.
"""

import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from trainer_module.errors import DataError
from trainer_module.experiment import TrainingConfig
from trainer_module.features import Column, FeatureSpec

Transform = Callable[[dict[str, tf.Tensor | tf.SparseTensor]], dict[str, tf.Tensor | tf.SparseTensor]]

# Files are read in large gulps; the default buffer of 256 KiB costs a quarter of the reading time.
_READ_BUFFER_BYTES = 8 << 20

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


def _without_autotuning() -> tf.data.Options:
    """Fixed parallelism and buffers.

    Dropping an iterator sometimes waits for tf.data's tuner to wake up (two seconds were seen), and the tuned input
    was no faster.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


class ExampleReader:
    """Batches of transformed examples, of one split, for one dataset."""

    def __init__(self, spec: FeatureSpec, transform: Transform, file_patterns: Sequence[str]):
        """Counts the examples, so that epochs have a known number of steps.

        Args:
            spec: Gives the columns.
            transform: Raw columns to model inputs and label.
            file_patterns: Gzip TFRecords of `tf.Example`.

        Raises:
            DataError: No file matches, or the files are empty.
        """
        self._spec = spec
        self._transform = transform
        self._files = tf.io.gfile.glob(list(file_patterns))
        if not self._files:
            raise DataError(f"no example files match {', '.join(file_patterns)}")
        self.num_examples = sum(int(n) for n in self._records().batch(4096).map(tf.size).as_numpy_iterator())
        if not self.num_examples:
            raise DataError(f"the example files {', '.join(self._files)} are empty")

    def training_batches(self, config: TrainingConfig, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Shuffled batches without end: `(features, labels [batch])`, all of one shape."""
        return (
            self._share_of(context, config)
            .shuffle(config.shuffle_rows, seed=config.seed)
            .repeat()
            .batch(context.get_per_replica_batch_size(config.batch_size), drop_remainder=True)
            .map(self._features_and_label, num_parallel_calls=_PARALLEL_CALLS)
            .prefetch(_PREFETCHED_BATCHES)
            .with_options(_without_autotuning())
        )

    def evaluation_batches(self, config: TrainingConfig, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Every example once, in order: `(features, labels [batch], weights [batch])`.

        The last batch is filled up with copies of weight 0, since a TPU needs one shape for all.
        """
        size = context.get_per_replica_batch_size(config.eval_batch_size)
        return (
            self._share_of(context, config)
            .batch(size)
            .map(lambda records: self._padded(records, size), num_parallel_calls=_PARALLEL_CALLS)
            .prefetch(_PREFETCHED_BATCHES)
            .with_options(_without_autotuning())
        )

    def mean_label(self, num_examples: int = 100_000) -> float:
        """Mean of the label over the first examples, at most `num_examples`."""
        spec = parse_spec([self._spec.label])
        records = self._records().take(num_examples).batch(4096)
        labels = records.map(lambda batch: tf.io.parse_example(batch, spec)[self._spec.label.name])
        return float(tf.reduce_mean(tf.concat(list(labels), axis=0)))

    def head(self, num_examples: int) -> list[bytes]:
        """The first serialized examples."""
        return [record.numpy() for record in self._records().take(num_examples)]

    def features(self, records: tf.Tensor) -> dict[str, tf.Tensor | tf.SparseTensor]:
        """Model inputs from serialized examples `[batch]`."""
        return self._transform(dict(tf.io.parse_example(records, parse_spec(self._spec.inputs))))

    def _share_of(self, context: tf.distribute.InputContext, config: TrainingConfig) -> tf.data.Dataset:
        """This host's serialized examples."""
        records = self._records().shard(context.num_input_pipelines, context.input_pipeline_id)
        return records.cache() if config.cache else records

    def _records(self) -> tf.data.Dataset:
        # The training data's order must not depend on timing, or two runs with one seed would differ.
        return tf.data.Dataset.from_tensor_slices(self._files).interleave(
            lambda file: tf.data.TFRecordDataset(file, "GZIP", _READ_BUFFER_BYTES),
            cycle_length=4,
            num_parallel_calls=_PARALLEL_CALLS,
            deterministic=True,
        )

    @tf.autograph.experimental.do_not_convert
    def _features_and_label(self, records: tf.Tensor) -> tuple[dict[str, tf.Tensor | tf.SparseTensor], tf.Tensor]:
        columns = (*self._spec.inputs, self._spec.label)
        transformed = self._transform(dict(tf.io.parse_example(records, parse_spec(columns))))
        label = tf.squeeze(transformed.pop(self._spec.label.name), axis=1)
        return transformed, label

    @tf.autograph.experimental.do_not_convert
    def _padded(self, records: tf.Tensor, batch_size: int):
        missing = batch_size - tf.size(records)
        weights = tf.concat([tf.ones_like(records, tf.float32), tf.zeros([missing])], axis=0)
        records = tf.concat([records, tf.repeat(records[:1], missing)], axis=0)
        features, label = self._features_and_label(tf.ensure_shape(records, [batch_size]))
        return features, label, tf.ensure_shape(weights, [batch_size])
