"""Training examples of a model that predicts every item of a history from those before it."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import tensorflow as tf

from trainer_module.data.dataset import HISTORY
from trainer_module.data.features import Categorical, FeatureSpec, HistoryWeights, Numeric
from trainer_module.data.inputs import ExampleReader, Features, without_sparse
from trainer_module.training.config import TrainingConfig

Ids = tf.SparseTensor | tf.RaggedTensor

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


def count_name(column: str) -> str:
    """Name of the input with the number of values that each item of the history has of an attribute of several, float32
    `[batch, length]`."""
    return f"{step_name(column)}:number"


def weights_name(sequence: str) -> str:
    """Name of the input with the weights of the rows behind a sequence, float32 `[batch, length]`."""
    return f"{sequence}:weights"


def attributes(spec: FeatureSpec, candidate_columns: Collection[str], item_key: str) -> list[Categorical | Numeric]:
    """The columns that describe an item beside its key: tokens, one or several, and numbers."""
    return [
        column
        for column in (*spec.categorical, *spec.numeric)
        if column.name in candidate_columns and column.name != item_key
    ]


def with_attributes_of_history(
    spec: FeatureSpec, candidate_columns: Collection[str], item_key: str, tokens_per_item: Mapping[str, int]
) -> FeatureSpec:
    """The same with each categorical attribute of the history's items, as a sequence that is looked up like it.

    Args:
        spec: Columns and tables.
        candidate_columns: Those that describe an item.
        item_key: Column of the item's identifier.
        tokens_per_item: Largest number of tokens of an item, by attribute of several. Their sequence has so many places
            for each item, because a TPU's program takes only tensors of fixed shape.
    """
    (history,) = [column for column in spec.categorical if column.name == HISTORY]
    sequences = []
    for column in attributes(spec, candidate_columns, item_key):
        if not isinstance(column, Categorical):
            continue
        length = history.max_sequence_length * tokens_per_item.get(column.name, 1)
        update = {"table": column.table, "dtype": column.dtype, "max_sequence_length": length}
        sequences.append(history.model_copy(update={"name": step_name(column.name)} | update))
    return FeatureSpec(columns=(*spec.columns, *sequences), tables=spec.tables)


class SequenceExamples:
    """A training split whose batches also hold the ids of the history as a dense tensor, and its items' attributes.

    A TPU's program takes only tensors of fixed shape; sparse ids go no further than the embedding layer.

    Attributes:
        num_examples: Of the split.
        tokens_per_item: Largest number of tokens of an item, by attribute of several.
    """

    def __init__(
        self,
        examples: ExampleReader,
        history: Categorical,
        by_id: Mapping[str, tf.Tensor | tf.RaggedTensor] = MappingProxyType({}),
        weights: HistoryWeights | None = None,
    ):
        """Takes the parts.

        Args:
            examples: The split.
            history: The sequence column.
            by_id: Attributes of the history's items, by column: a value per id, int64 for tokens and float32 for
                numbers; ragged int64 for several tokens.
            weights: Column of the weights of the rows behind the history's items; None if rows have no weights.
        """
        self._examples = examples
        self._history = history
        self._by_id = by_id
        self._weights = weights
        self.num_examples = examples.num_examples
        several = {name: of_ids for name, of_ids in by_id.items() if isinstance(of_ids, tf.RaggedTensor)}
        # A sequence has at least one place.
        self.tokens_per_item = {name: max(1, int(of_ids.bounding_shape(axis=1))) for name, of_ids in several.items()}

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """As `ExampleReader.training_batches`, with the history's ids under `ids_name` and attributes under
        `step_name`: like the history for tokens, `[batch, length]` filled up with 0 for numbers.

        Of an attribute of several tokens, item k of the history has the places from `k * tokens_per_item` on, and their
        number is under `count_name`. Weights of the history's rows are under `weights_name`.
        """
        shape = [context.get_per_replica_batch_size(config.batch_size), self._history.max_sequence_length]

        def filled(values: Ids, default: float) -> tf.Tensor:
            dense = without_sparse(values).to_tensor(default, shape=shape)  # pyright: ignore[reportAttributeAccessIssue] (it is ragged)
            return tf.ensure_shape(dense, shape)

        @tf.autograph.experimental.do_not_convert
        def add(features: Features, labels: tf.Tensor) -> tuple[Features, tf.Tensor]:
            history = features[self._history.name]
            added: Features = {ids_name(self._history.name): filled(history, NO_ID)}
            for name, of_ids in self._by_id.items():
                of_items = tf.gather(of_ids, history.values)
                if name in self.tokens_per_item:
                    added[step_name(name)] = _side_by_side(history, of_items, shape, self.tokens_per_item[name])
                    counts = tf.cast(of_items.row_lengths(), tf.float32)
                    added[count_name(name)] = filled(history.with_values(counts), 0.0)
                else:
                    values = history.with_values(of_items)
                    added[step_name(name)] = values if of_ids.dtype.is_integer else filled(values, 0.0)
            if self._weights:
                # As the history was cut.
                latest = without_sparse(features[self._weights.name])[:, -self._history.max_sequence_length :]
                added[weights_name(self._history.name)] = filled(latest, 0.0)
                features = {name: value for name, value in features.items() if name != self._weights.name}
            return features | added, labels

        batches = self._examples.training_batches(config, context, first_step)
        return batches.map(add, num_parallel_calls=2).prefetch(_PREFETCHED_BATCHES)


def _side_by_side(history: tf.SparseTensor, of_items: tf.RaggedTensor, shape: list[int], width: int) -> tf.SparseTensor:
    """Tokens of the items of histories, `width` places for each item.

    Args:
        history: Items, `[batch, length]`.
        of_items: Tokens of each item, `[items, None]`.
        shape: Of the histories.
        width: Largest number of tokens of an item.

    Returns:
        `[batch, length * width]`.
    """
    item = of_items.value_rowids()
    place = tf.range(tf.size(item, tf.int64)) - tf.gather(of_items.row_starts(), item)
    row, step = tf.unstack(tf.gather(history.indices, item), axis=1)
    indices = tf.stack([row, step * width + place], axis=1)
    return tf.SparseTensor(indices, of_items.values, [shape[0], shape[1] * width])
