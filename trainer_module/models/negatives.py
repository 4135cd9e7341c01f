"""Negatives from the whole catalog beside those of the batch.

Mixed negative sampling (Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in
Recommendations", WWW 2020): items drawn uniformly from the catalog, so that those which hardly anybody chose are
negatives too.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import tensorflow as tf

from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.data.inputs import ExampleReader, Features, ModelInputs, without_sparse
from trainer_module.data.spec import CANDIDATES
from trainer_module.errors import ConfigError, DataError
from trainer_module.models.layers import fold_in
from trainer_module.models.training_data import TrainingExamples
from trainer_module.training.config import TrainingConfig

_PREFETCHED_BATCHES = 2


def negative_name(column: str, number: int) -> str:
    """Name of the column that holds `column` of an example's drawn item `number`, counted from 1.

    Letters, digits and underscores, which every layer takes, on a TPU too.
    """
    return f"{column}_negative_{number}"


def with_negatives(spec: FeatureSpec, candidate_columns: Collection[str], number: int) -> FeatureSpec:
    """The same with `number` further copies of the candidate columns, which look up in the same tables.

    A TPU's embedding engine is called once per step and takes one batch size, so drawn items are further columns of an
    example and not further examples.
    """
    return with_copies(spec, candidate_columns, negative_name, range(1, number + 1))


def with_copies(
    spec: FeatureSpec, candidate_columns: Collection[str], name_of: Callable[[str, int], str], numbers: Iterable[int]
) -> FeatureSpec:
    """The same with a copy of the candidate columns for each further item of an example.

    Args:
        spec: Columns and tables.
        candidate_columns: Those that describe an item.
        name_of: Name of the copy of a column for an item, by the item's number.
        numbers: Of the further items.
    """
    copies = []
    for number in numbers:
        for column in spec.inputs:
            if column.name not in candidate_columns:
                continue
            update = {"name": name_of(column.name, number)}
            if isinstance(column, Categorical) and column.weights:
                update["weights"] = name_of(column.weights, number)
            copies.append(column.model_copy(update=update))
    return FeatureSpec(columns=(*spec.columns, *copies), tables=spec.tables)


class Catalog:
    """All items, transformed and held in memory: dense or ragged columns.

    Attributes:
        num_items: Examples of the split.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        model_inputs: ModelInputs,
        candidate_columns: Collection[str],
        file_patterns: Sequence[str],
    ):
        """Reads the items.

        Args:
            spec: Gives the columns.
            model_inputs: Raw columns to model inputs.
            candidate_columns: Those that describe an item.
            file_patterns: As `ExampleFiles` takes them; an example per item.

        Raises:
            DataError: No file matches, or the files are empty.
        """
        try:
            reader = ExampleReader(spec, model_inputs, file_patterns)
        except DataError as error:
            raise DataError(
                f"model.mixed_negatives, model.full_softmax and positions: all of items with attributes read the split "
                f"{CANDIDATES}: {error}. Ingest a dataset of interactions with its items, or leave them out"
            ) from error
        columns = [column for column in spec.inputs if column.name in candidate_columns]
        parts = []
        for batch in reader.batches(columns):
            outputs = reader.transformed(batch, columns)
            parts.append({column.name: outputs[column.name] for column in columns})
        self._sparse = {name for name, value in parts[0].items() if isinstance(value, tf.SparseTensor)}
        self._columns: Features = {
            name: tf.concat([without_sparse(part[name]) for part in parts], axis=0) for name in parts[0]
        }
        self.num_items = reader.num_examples

    def counts(self, column: str, rows: int) -> np.ndarray:
        """Number of items per id of a dense column, int64 `[rows]`."""
        return np.bincount(self._columns[column].numpy().ravel(), minlength=rows)  # pyright: ignore[reportAttributeAccessIssue] (ids of items are dense)

    def draw(self, number: int, size: int, seed: tf.Tensor) -> Features:
        """`number` items for each of `size` examples, uniformly with repetition: one column per copy and column.

        They follow from `seed`, int32 `[2]`, alone.
        """
        return self._at(tf.random.stateless_uniform([number, size], seed, 0, self.num_items, tf.int64))

    def all(self, number: int, size: int) -> Features:
        """All items in their order, `number` for each of `size` examples; behind the last one, the first ones fill up.

        The first column per column of the catalog holds the first `size` items, and so on.
        """
        return self._at(tf.reshape(tf.range(number * size, dtype=tf.int64) % self.num_items, [number, size]))

    def by_id(self, column: str, key: str, rows: int) -> tf.Tensor | tf.RaggedTensor:
        """Values of a column by the ids of the items: `[rows]`, or ragged `[rows, None]` for a column of several.

        Of several items with one id, the last one counts. Ids that no item has get 0, or no value.

        Args:
            column: Whose values.
            key: Column of the ids, dense.
            rows: Number of ids.
        """
        values, ids = self._columns[column], self._columns[key].numpy().ravel()  # pyright: ignore[reportAttributeAccessIssue] (ids of items are dense)
        item = np.full(rows, -1)
        item[ids] = np.arange(len(ids))
        if isinstance(values, tf.RaggedTensor):
            # The row behind the last item is empty.
            nothing = tf.RaggedTensor.from_row_splits(values.values[:0], tf.constant([0, 0], tf.int64))
            return tf.gather(tf.concat([values, nothing], axis=0), np.where(item < 0, len(ids), item))
        known = np.where(item < 0, 0, values.numpy().ravel()[item])  # pyright: ignore[reportAttributeAccessIssue] (the column is dense)
        return tf.constant(known, values.dtype)

    def _at(self, rows: tf.Tensor) -> Features:
        """The columns of items by their number, `[number, size]`."""
        drawn: Features = {}
        for copy in range(int(rows.shape[0])):
            for name, column in self._columns.items():
                value = tf.gather(column, rows[copy])
                drawn[negative_name(name, copy + 1)] = value.to_sparse() if name in self._sparse else value  # pyright: ignore[reportAttributeAccessIssue] (it is ragged)
        return drawn


class MixedExamples:
    """A training split whose batches also hold drawn items.

    Attributes:
        num_examples: Of the split.
    """

    def __init__(self, examples: TrainingExamples, catalog: Catalog, number: int, whole: bool = False):
        """Takes the parts.

        Args:
            examples: The split.
            catalog: What is drawn from.
            number: How many items come with each example.
            whole: Whether they are all items in their order, the same in every batch, rather than drawn ones.
        """
        self._examples = examples
        self._catalog = catalog
        self._number = number
        self._whole = whole
        self.num_examples = examples.num_examples

    def training_batches(
        self, config: TrainingConfig, context: tf.distribute.InputContext, first_step: int = 0
    ) -> tf.data.Dataset:
        """As `ExampleReader.training_batches`, with the drawn items' columns.

        What is drawn depends on the seed, the batch's number and the host alone.

        Raises:
            ConfigError: All items are to come with a batch that several replicas share.
        """
        if self._whole and context.num_replicas_in_sync > 1:
            raise ConfigError(
                f"model.full_softmax needs the whole batch on one device, and there are {context.num_replicas_in_sync} "
                "replicas; set model.mixed_negatives and model.in_batch_negatives: false, or train on one device"
            )
        size = context.get_per_replica_batch_size(config.batch_size)
        of_host = tf.constant([config.seed, context.input_pipeline_id])

        @tf.autograph.experimental.do_not_convert
        def add(number: tf.Tensor, batch: tuple[Features, tf.Tensor]) -> tuple[Features, tf.Tensor]:
            features, labels = batch
            if self._whole:
                return features | self._catalog.all(self._number, size), labels
            seed = fold_in(of_host, tf.cast(number, tf.int32))
            return features | self._catalog.draw(self._number, size, seed), labels

        # A host gets one batch per replica and step.
        first_batch = first_step * (context.num_replicas_in_sync // context.num_input_pipelines)
        batches = self._examples.training_batches(config, context, first_step)
        numbered = tf.data.Dataset.zip((tf.data.Dataset.counter(first_batch), batches))
        return numbered.map(add, num_parallel_calls=2).prefetch(_PREFETCHED_BATCHES)
