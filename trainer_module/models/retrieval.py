"""The objective of interactions: find the item that the user chose."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from trainer_module.data.dataset import HISTORY, HISTORY_TARGETS
from trainer_module.data.features import Categorical, Context
from trainer_module.data.vocabularies import training_counts
from trainer_module.errors import ConfigError, DataError
from trainer_module.models.config import LARGEST_FULL_SOFTMAX, LARGEST_LOOKUP, TwoTowerConfig
from trainer_module.models.negatives import Catalog, MixedExamples
from trainer_module.models.sequences import SequenceExamples, attributes
from trainer_module.models.training_data import TrainingData, TrainingExamples
from trainer_module.models.user_examples import ExamplesByUser


@dataclass(frozen=True)
class Retrieval:
    """The objective of a dataset of interactions: find the item that the user chose.

    Attributes:
        item_key: Column of the item's identifier, dense.
        candidate_columns: All columns that describe the item; every other input describes the query.
        training_counts: Rows of the training split per id of the item, int64 `[rows]`; empty for a model that will
            not be trained.
        catalog_counts: Items of the catalog per id, int64 `[rows]`; only negatives from the catalog ask for them.
        copies: For a softmax over all items: number of items that come with each example, so that a batch brings the
            whole catalog.
        positives_per_example: Mean number of items that the query of a training example chose.
        tokens_per_item: Where every item of a history is trained: largest number of tokens of an item, by column of
            several.
    """

    item_key: str
    candidate_columns: tuple[str, ...]
    training_counts: np.ndarray
    catalog_counts: np.ndarray | None = None
    copies: int = 0
    positives_per_example: float = 1.0
    tokens_per_item: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_items(self) -> int:
        """Items of the catalog; 0 if nothing is known of it."""
        return 0 if self.catalog_counts is None else int(self.catalog_counts.sum())

    @property
    def log_frequencies(self) -> np.ndarray:
        """Log of each id's share of the training rows, float32 `[rows]`; ids that never occur count as one row."""
        counts = np.maximum(self.training_counts, 1)
        return np.log(counts / counts.sum()).astype(np.float32)

    def log_sampling_shares(self, mixed_negatives: int, in_batch: bool = True) -> np.ndarray:
        """Log of each id's share of a training batch's candidates, float32 `[rows]`.

        For every candidate that an example brings, by its frequency p, there are m = `mixed_negatives` /
        `positives_per_example` from the catalog, where the id has the share u, so the share is `(p + m * u) / (1 + m)`.
        It is u if the examples' own items are no candidates of each other. Ids that are not in the catalog then count
        as one item.

        Args:
            mixed_negatives: Number of items per example that are drawn from the catalog.
            in_batch: Whether the items of the batch are candidates.

        Raises:
            ConfigError: There are mixed negatives, but nothing is known of the catalog.
        """
        if not mixed_negatives:
            return self.log_frequencies
        if self.catalog_counts is None:
            raise ConfigError("model.mixed_negatives needs the counts of the catalog; set it to 0 or give them")
        if not in_batch:
            items = np.maximum(self.catalog_counts, 1)
            return np.log(items / items.sum()).astype(np.float32)
        counts = np.maximum(self.training_counts, 1)
        by_frequency, in_catalog = counts / counts.sum(), self.catalog_counts / self.catalog_counts.sum()
        drawn = mixed_negatives / self.positives_per_example
        return np.log((by_frequency + drawn * in_catalog) / (1 + drawn)).astype(np.float32)


def prepare_retrieval(config: TwoTowerConfig, data: TrainingData) -> tuple[Retrieval, TrainingExamples]:
    """Chooses the training rows, counts the items of the training split and, for negatives from there, of the catalog.

    Args:
        config: Says which rows are trained on and which items of the catalog come with them.
        data: Of the Trainer.

    Returns:
        The objective, and the examples to train on.

    Raises:
        DataError: The catalog is too large for a softmax over all its items, or items have too many tokens.
    """
    dataset, spec = data.dataset, data.spec
    (column,) = [column for column in spec.categorical if column.name == dataset.item_key]
    (table,) = [table for table in spec.tables if table.name == column.table]
    counts = training_counts(data.transform_output, table)
    described = config.trains_all_positions and attributes(spec, dataset.candidate_columns, dataset.item_key)
    catalog = None
    if config.reads_catalog or described:
        catalog = Catalog(spec, data.model_inputs, dataset.candidate_columns, data.candidates)
    examples: TrainingExamples = data.train
    positives_per_example, tokens_per_item = 1.0, {}
    if config.trains_all_positions:
        examples = _examples_of_all_positions(data, catalog, len(counts))
        tokens_per_item = examples.tokens_per_item
    elif config.trains_users:
        examples = _examples_by_user(data, config.positives)
        positives_per_example = examples.positives_per_example
    objective = Retrieval(
        dataset.item_key,
        dataset.candidate_columns,
        counts,
        positives_per_example=positives_per_example,
        tokens_per_item=tokens_per_item,
    )
    if catalog is None or not config.reads_catalog:
        return objective, examples
    in_catalog = catalog.counts(dataset.item_key, len(counts))
    copies = 0
    if config.full_softmax:
        if catalog.num_items > LARGEST_FULL_SOFTMAX:
            raise DataError(
                f"model.full_softmax: the catalog has {catalog.num_items:,} items, more than {LARGEST_FULL_SOFTMAX:,}. "
                "Draw from it instead: set model.mixed_negatives and model.in_batch_negatives: false"
            )
        copies = -(-catalog.num_items // data.batch_size)
    objective = replace(objective, catalog_counts=in_catalog, copies=copies)
    drawn = config.num_drawn(objective)
    return objective, MixedExamples(examples, catalog, drawn, whole=config.full_softmax)


def _examples_by_user(data: TrainingData, positives: int) -> ExamplesByUser:
    """Users with at most `positives` of their items each."""
    # The model may ignore the column.
    (user,) = [
        c for c in data.dataset.features.columns if isinstance(c, Categorical) and c.name == data.dataset.user_key
    ]
    dataset = data.dataset
    columns, key = dataset.candidate_columns, dataset.item_key
    # The model may ignore that column too.
    history = dataset.history if any(column.name == HISTORY for column in data.spec.categorical) else 0
    return ExamplesByUser(data.train, data.spec, user, columns, key, positives, history)


def _examples_of_all_positions(data: TrainingData, catalog: Catalog | None, num_ids: int) -> SequenceExamples:
    """The rows whose histories together hold every item of the training split once as a target.

    Args:
        data: Of the Trainer.
        catalog: Gives the attributes of the histories' items; None if items have none.
        num_ids: Number of ids that an item may have.

    Raises:
        DataError: Items have so many tokens that the rows of a batch would not fit into memory.
    """
    spec, key = data.spec, data.dataset.item_key
    (targets,) = [c for c in spec.columns if isinstance(c, Context) and c.name == HISTORY_TARGETS]
    (history,) = [column for column in spec.categorical if column.name == HISTORY]
    described_by = attributes(spec, data.dataset.candidate_columns, key) if catalog else []
    by_id = {column.name: catalog.by_id(column.name, key, num_ids) for column in described_by} if catalog else {}
    for column in described_by:
        if isinstance(column, Categorical) and column.max_sequence_length:
            by_id[column.name] = by_id[column.name][:, : column.max_sequence_length]
    examples = SequenceExamples(
        data.train.where(targets, history_weights=True), history, by_id, spec.example_weight and spec.history_weights
    )
    for name, width in examples.tokens_per_item.items():
        rows = data.batch_size * history.max_sequence_length * width
        if rows > LARGEST_LOOKUP:
            raise DataError(
                f"model.query_encoder.positions all: an item of the catalog has {width:,} tokens of {name}, so that a "
                f"batch of {data.batch_size:,} histories of {history.max_sequence_length:,} items would look up "
                f"{rows:,} rows, more than {LARGEST_LOOKUP:,}. Lower training.batch_size or data.history, clean the "
                f"column, or add {name} to model.ignore"
            )
    return examples
