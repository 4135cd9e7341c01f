"""Training examples of a model that predicts every item of a history from those before it."""

import tensorflow as tf

from trainer_module.data.features import Categorical
from trainer_module.data.inputs import ExampleReader, Features, without_sparse
from trainer_module.training.config import TrainingConfig

_PREFETCHED_BATCHES = 2

# The id of what fills a sequence up.
NO_ID = -1


def ids_name(sequence: str) -> str:
    """Name of the input with the ids of a sequence column, int64 `[batch, length]`, filled up with `NO_ID`."""
    # No column has such a name.
    return f"{sequence}:ids"


class SequenceExamples:
    """A training split whose batches also hold the ids of a sequence column as a dense tensor.

    A TPU's program takes only tensors of fixed shape; sparse ids go no further than the embedding layer.

    Attributes:
        num_examples: Of the split.
    """

    def __init__(self, examples: ExampleReader, column: Categorical):
        """Takes the split and the sequence column."""
        self._examples = examples
        self._column = column
        self.num_examples = examples.num_examples

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """As `ExampleReader.training_batches`, with the column's ids under `ids_name`."""
        shape = [context.get_per_replica_batch_size(config.batch_size), self._column.max_sequence_length]

        @tf.autograph.experimental.do_not_convert
        def add(features: Features, labels: tf.Tensor) -> tuple[Features, tf.Tensor]:
            ids = without_sparse(features[self._column.name]).to_tensor(NO_ID, shape=shape)  # pyright: ignore[reportAttributeAccessIssue] (it is ragged)
            return features | {ids_name(self._column.name): tf.ensure_shape(ids, shape)}, labels

        batches = self._examples.training_batches(config, context, first_step)
        return batches.map(add, num_parallel_calls=2).prefetch(_PREFETCHED_BATCHES)
