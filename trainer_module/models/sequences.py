"""Training examples of a model that predicts every item of a history from those before it."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import tensorflow as tf

from trainer_module.data.dataset import HISTORY
from trainer_module.data.features import Categorical, FeatureSpec, Numeric
from trainer_module.data.inputs import ExampleReader, Features, without_sparse
from trainer_module.training.config import TrainingConfig

_PREFETCHED_BATCHES = 2

# The id of what fills a sequence up.
NO_ID = -1


def ids_name(sequence: str) -> str:
    """Name of the input with the ids of a sequence column, int64 `[batch, length]`, filled up with `NO_ID`."""
    # No column has such a name.
    return f"{sequence}:ids"


def step_name(column: str) -> str:
    """Name of the column with an attribute of the history's items.

    Letters, digits and underscores, which every layer takes, on a TPU too.
    """
    return f"{column}_of_history"


def attributes(spec: FeatureSpec, candidate_columns: Collection[str], item_key: str) -> list[Categorical | Numeric]:
    """The columns that describe an item beside its key, one token or number each."""
    return [
        column
        for column in (*spec.categorical, *spec.numeric)
        if column.name in candidate_columns and column.name != item_key
    ]


def with_attributes_of_history(spec: FeatureSpec, candidate_columns: Collection[str], item_key: str) -> FeatureSpec:
    """The same with each categorical attribute of the history's items, as a sequence that is looked up like it."""
    (history,) = [column for column in spec.categorical if column.name == HISTORY]
    sequences = [
        history.model_copy(update={"name": step_name(column.name), "table": column.table, "dtype": column.dtype})
        for column in attributes(spec, candidate_columns, item_key)
        if isinstance(column, Categorical)
    ]
    return FeatureSpec(columns=(*spec.columns, *sequences), tables=spec.tables)


class SequenceExamples:
    """A training split whose batches also hold the ids of the history as a dense tensor, and its items' attributes.

    A TPU's program takes only tensors of fixed shape; sparse ids go no further than the embedding layer.

    Attributes:
        num_examples: Of the split.
    """

    def __init__(
        self,
        examples: ExampleReader,
        history: Categorical,
        by_id: Mapping[str, tf.Tensor] = MappingProxyType({}),
    ):
        """Takes the parts.

        Args:
            examples: The split.
            history: The sequence column.
            by_id: Attributes of the history's items, by column: a value per id, int64 for tokens and float32 for
                numbers.
        """
        self._examples = examples
        self._history = history
        self._by_id = by_id
        self.num_examples = examples.num_examples

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """As `ExampleReader.training_batches`, with the history's ids under `ids_name` and attributes under
        `step_name`: like the history for tokens, `[batch, length]` filled up with 0 for numbers."""
        shape = [context.get_per_replica_batch_size(config.batch_size), self._history.max_sequence_length]

        def filled(values: tf.SparseTensor | tf.RaggedTensor, default: float) -> tf.Tensor:
            dense = without_sparse(values).to_tensor(default, shape=shape)  # pyright: ignore[reportAttributeAccessIssue] (it is ragged)
            return tf.ensure_shape(dense, shape)

        @tf.autograph.experimental.do_not_convert
        def add(features: Features, labels: tf.Tensor) -> tuple[Features, tf.Tensor]:
            history = features[self._history.name]
            added: Features = {ids_name(self._history.name): filled(history, NO_ID)}
            for name, of_ids in self._by_id.items():
                values = history.with_values(tf.gather(of_ids, history.values))
                added[step_name(name)] = values if of_ids.dtype.is_integer else filled(values, 0.0)
            return features | added, labels

        batches = self._examples.training_batches(config, context, first_step)
        return batches.map(add, num_parallel_calls=2).prefetch(_PREFETCHED_BATCHES)
