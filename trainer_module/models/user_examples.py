"""Training examples that are users with several of their items each.

One query is then scored against the negatives once for all its items, where examples that are interactions score it
once per item.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from trainer_module.data.dataset import HISTORY
from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.data.inputs import ExampleReader, Features, mapped, without_autotuning
from trainer_module.data.permutation import shuffled_batches
from trainer_module.data.row_store import Columns
from trainer_module.models.negatives import with_copies
from trainer_module.models.sequences import NO_ID, ids_name
from trainer_module.training.config import TrainingConfig

_PREFETCHED_BATCHES = 4

# By so many rows, modulo their number, a user's first row moves from epoch to epoch: a large prime, so that it moves
# whatever the number of rows.
_EPOCH_STEP = 2_654_435_761

# No column has such a name.
NUM_POSITIVES = "positives:number"
"""Name of the input with the number of an example's items, int64 `[batch, 1]`."""

POSITIVE_WEIGHTS = "positives:weights"
"""Name of the input with the weights of an example's items, float32 `[batch, positives]`, if rows have weights."""


def positive_name(column: str, number: int) -> str:
    """Name of the column that holds `column` of an example's item `number`, counted from 1.

    The first item has the columns of the feature spec. The others' names have letters, digits and underscores, which
    every layer takes, on a TPU too.
    """
    return column if number == 1 else f"{column}_positive_{number}"


def with_positives(spec: FeatureSpec, candidate_columns: Collection[str], positives: int) -> FeatureSpec:
    """The same with copies of the candidate columns for items 2 to `positives`, which look up in the same tables."""
    return with_copies(spec, candidate_columns, positive_name, range(2, positives + 1))


@dataclass(frozen=True)
class RowsByUser:
    """Numbers of the rows of a split, user by user, and the examples that they make.

    A user with n rows makes ceil(n / m) examples, where m is the user's entry of `most`.

    Attributes:
        positives: Largest number of rows per example.
        rows: Numbers of rows, those of one user side by side, int64 `[rows]`.
        starts: Where the rows of a user begin, int64 `[users]`.
        counts: Number of rows of a user, int64 `[users]`.
        most: Largest number of rows per example of each user, at most `positives`, int64 `[users]`.
        users: User of each example, int64 `[examples]`.
        first: Number of rows of the user that earlier examples hold, int64 `[examples]`.
    """

    positives: int
    rows: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    most: np.ndarray
    users: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, keys: Iterable[pa.Array], positives: int, leave_half: bool = False) -> "RowsByUser":
        """Groups the rows of a split, given the user of each.

        Holds 4 bytes per row and every key once while it reads, and 8 bytes per row, 24 per user and 16 per example
        afterwards.

        Args:
            keys: Of the rows, in their order, in parts.
            positives: Largest number of rows per example.
            leave_half: An example has at most half of its user's rows; the only row of a user is one.
        """
        encoded = pa.chunked_array([part.dictionary_encode() for part in keys]).unify_dictionaries()
        codes = np.concatenate([part.indices.to_numpy(zero_copy_only=False) for part in encoded.chunks])
        counts = np.bincount(codes).astype(np.int64)
        most = np.minimum(positives, np.maximum(1, counts // 2) if leave_half else counts)
        examples = -(-counts // most)
        users = np.repeat(np.arange(len(counts)), examples)
        number = np.arange(len(users)) - np.repeat(np.cumsum(examples) - examples, examples)
        return cls(
            positives,
            np.argsort(codes, kind="stable").astype(np.int64),
            np.cumsum(counts) - counts,
            counts,
            most,
            users,
            number * most[users],
        )

    def batch(self, chosen: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of some examples of the training.

        If every epoch visits every example once, it visits every row once. Which rows of a user come together follows
        from the epoch.

        Args:
            chosen: Numbers of the examples, int64 `[batch]`.
            positions: Where they stand in the training, counted over all epochs, int64 `[batch]`.

        Returns:
            Numbers of the rows, int64 `[batch, positives]`, and how many an example has, int64 `[batch]`; behind its
            last row stands its first one.
        """
        user, first = tf.gather(self.users, chosen), tf.gather(self.first, chosen)
        count = tf.gather(self.counts, user)[:, tf.newaxis]
        number = tf.minimum(tf.squeeze(count, axis=1) - first, tf.gather(self.most, user))
        of_example = tf.range(self.positives, dtype=tf.int64)
        place = first[:, tf.newaxis] + tf.where(of_example < number[:, tf.newaxis], of_example, 0)
        # A user's rows stand in a circle, from which examples take arcs; every epoch begins elsewhere. A permutation
        # per user would be slow: the cipher's blocks are far larger than a user's rows are many.
        epoch = tf.math.floordiv(positions, len(self.users))
        place = tf.math.floormod(place + (epoch * _EPOCH_STEP)[:, tf.newaxis], count)
        in_order = tf.gather(self.starts, user)[:, tf.newaxis] + place
        return tf.gather(self.rows, in_order), number


class ExamplesByUser:
    """A training split whose examples are users with several of their items.

    On several hosts, each groups its own share of the rows. Where rows have the user's other items as their history, an
    example has the history of its first row without the example's own items.

    Attributes:
        num_examples: Of the split.
        positives_per_example: Mean number of items per example.
    """

    def __init__(
        self,
        examples: ExampleReader,
        spec: FeatureSpec,
        user: Categorical,
        candidate_columns: Collection[str],
        item_key: str,
        positives: int,
        history: int = 0,
    ):
        """Counts the examples.

        Args:
            examples: The split: an example per interaction.
            spec: Gives the columns.
            user: Column of the user's identifier, whether the model reads it or not.
            candidate_columns: Those that describe an item.
            item_key: The one of them that identifies it.
            positives: Largest number of items per example.
            history: Largest number of the user's other items in the column `history`; 0 if the model reads none.
        """
        self._examples = examples
        self._spec = spec
        self._user = user
        self._candidate_columns = frozenset(candidate_columns)
        self._item_key = item_key
        self._history = history
        self._positives = positives
        self.num_examples = len(self._rows_by_user(tf.distribute.InputContext()).users)
        self.positives_per_example = examples.num_examples / self.num_examples

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """As `ExampleReader.training_batches`, with the columns of further items under `positive_name`,
        `NUM_POSITIVES`, in place of the weights of rows `POSITIVE_WEIGHTS`, and a history's ids under `ids_name` too.

        Items that an example lacks are copies of its first one.
        """
        size = context.get_per_replica_batch_size(config.batch_size)
        first_example = first_step * size * (context.num_replicas_in_sync // context.num_input_pipelines)
        by_user, rows_of_host = self._rows_by_user(context), self._examples.stored(context)

        def batch(first: tf.Tensor, chosen: tf.Tensor) -> tuple[Features, tf.Tensor]:
            rows, number = by_user.batch(chosen, first + tf.range(size, dtype=tf.int64))
            # Item by item, so that each is a slice.
            gathered = rows_of_host.gather(tf.reshape(tf.transpose(rows), [size * self._positives]))
            of_items: Features = {NUM_POSITIVES: tf.ensure_shape(number[:, tf.newaxis], [size, 1])}
            if self._spec.example_weight:
                weights = tf.reshape(gathered.pop(self._spec.example_weight.name), [self._positives, size])
                of_items[POSITIVE_WEIGHTS] = tf.transpose(weights)
            columns = self._by_item(gathered, size)
            if self._history:
                known = columns[HISTORY].to_tensor(NO_ID, shape=[size, self._history])
                of_items[ids_name(HISTORY)] = tf.cast(known, tf.int64)
            features, labels = self._examples.as_batch(columns, size)
            return features | of_items, labels

        chosen = shuffled_batches(first_example, size, len(by_user.users), config.seed)
        batches = mapped(tf.data.Dataset.zip((tf.data.Dataset.counter(first_example, size), chosen)), batch)
        return batches.prefetch(_PREFETCHED_BATCHES).with_options(without_autotuning())

    def _by_item(self, gathered: Columns, size: int) -> Columns:
        """From `[positives * size, ...]` to columns of `size` rows: the query's and the first item's as they are, and
        those of further items beside them."""
        columns = {name: value[:size] for name, value in gathered.items()}
        if self._history:
            own = tf.transpose(tf.reshape(gathered[self._item_key], [self._positives, size]))
            columns[HISTORY] = _without(columns[HISTORY], own)
        for name in self._candidate_columns & gathered.keys():
            for number in range(2, self._positives + 1):
                of_item = gathered[name][(number - 1) * size : number * size]
                columns[positive_name(name, number)] = of_item
        return columns

    def _rows_by_user(self, context: tf.distribute.InputContext) -> RowsByUser:
        batches = self._examples.batches_of_host(context, self._user)
        keys = (pc.list_flatten(batch.column(self._user.name)) for batch in batches)
        return RowsByUser.of(keys, self._positives, leave_half=self._history > 0)


def _without(bags: tf.RaggedTensor, ids: tf.Tensor) -> tf.RaggedTensor:
    """The bags, `[batch, ?]`, without the ids of the same example, `[batch, n]`."""
    is_own = tf.reduce_any(bags.values[:, tf.newaxis] == tf.gather(ids, bags.value_rowids()), axis=1)
    return tf.ragged.boolean_mask(bags, bags.with_values(~is_own))
