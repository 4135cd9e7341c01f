"""Columns of a row itself, and attributes of its user and item."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from components.example_gen.conversion import as_lists
from components.example_gen.joins.join import WithoutSummary
from components.example_gen.output.examples import Part
from components.example_gen.rows import ITEM, LABEL, PROPENSITY, TIME, TOKEN, TRAIN, USER, WEIGHT, Entities, Rows
from trainer_module.data.dataset import USER_ACTIVITY, Dataset

_ACTIVITY_BOUNDS = (1, 20, 50, 100, 200)
_ACTIVITY_LABELS = pa.array([b"0", b"1-19", b"20-49", b"50-99", b"100-199", b"200+"], pa.large_binary())
_MICROSECONDS = 1_000_000


class OwnColumns(WithoutSummary):
    """Labels, weight, propensity, time and context features of the row."""

    name = "own"

    def __init__(self, dataset: Dataset):
        """Takes the names of the features."""
        interactions = dataset.tables.interactions
        self._schema = dataset.spec().features.arrow_schema()
        self._label = dataset.label
        self._weight = interactions.weight.feature_name if interactions.weight else None
        self._propensity = interactions.propensity.feature_name if interactions.propensity else None
        self._time = interactions.time.feature_name if interactions.time else None
        own = (*dataset.further_labels, *interactions.inputs(), *interactions.context)
        self._named = [entry.feature_name for entry in own]

    def parts(self, rows: Rows, known: None, entities: Entities) -> list[Part]:
        columns = [(self._label, rows.batch.column(LABEL))]
        columns += [(name, rows.batch.column(name)) for name in self._named]
        if self._weight:
            columns.append((self._weight, rows.batch.column(WEIGHT)))
        if self._propensity:
            columns.append((self._propensity, rows.batch.column(PROPENSITY)))
        if self._time:
            columns.append((self._time, pa.array(rows.column(TIME) // _MICROSECONDS)))
        return [Part.of_rows(as_lists(columns, self._schema))]


class UserAttributes:
    """The user's identifier, attributes and activity, which is a class of its number of training rows."""

    name = "user"
    whole_users = False

    def __init__(self, dataset: Dataset):
        """Takes the names of the features."""
        self._key = dataset.user_key
        self._with_activity = USER_ACTIVITY in dataset.slice_columns
        self._schema = dataset.spec().features.arrow_schema()

    @property
    def needs_summary(self) -> bool:
        return self._with_activity

    def summarize(self, rows: Rows, entities: Entities) -> np.ndarray:
        """Number of each user's training rows, `[users]` int64."""
        assert entities.users is not None
        return _train_counts(rows, USER, entities.users.num_rows)

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.sum(parts, axis=0)

    def parts(self, rows: Rows, known: np.ndarray | None, entities: Entities) -> list[Part]:
        users, index = distinct(rows.batch.column(USER))
        return [Part(pa.RecordBatch.from_pydict(self.columns(users, known, entities)), index)]

    def columns(self, users: np.ndarray, known: np.ndarray | None, entities: Entities) -> dict[str, pa.Array]:
        """Features of some users, `[users]` lists each.

        Args:
            users: Rows of `entities.users`.
            known: The merged summary; None leaves out the activity.
            entities: Gives identifiers and attributes.
        """
        columns = _features(entities.users, users, self._key, self._schema)
        if self._with_activity and known is not None:
            columns |= as_lists([(USER_ACTIVITY, activity(known[users]))], self._schema)
        return columns


class ItemAttributes(WithoutSummary):
    """The item's identifier and attributes."""

    name = "item"

    def __init__(self, dataset: Dataset):
        """Takes the names of the features."""
        self._key = dataset.item_key
        self._schema = dataset.spec().features.arrow_schema()

    def parts(self, rows: Rows, known: None, entities: Entities) -> list[Part]:
        items, index = distinct(rows.batch.column(ITEM))
        return [Part(pa.RecordBatch.from_pydict(self.columns(items, entities)), index)]

    def columns(self, items: np.ndarray, entities: Entities) -> dict[str, pa.Array]:
        """Features of some items, `[items]` lists each.

        Args:
            items: Rows of `entities.items`.
            entities: Gives identifiers and attributes.
        """
        return _features(entities.items, items, self._key, self._schema)


def distinct(numbers: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Distinct numbers in the order of their first rows, `[distinct]`, and the index of each row's, `[rows]` int64.

    Unlike `np.unique`, it does not sort.
    """
    encoded = numbers.dictionary_encode()
    return encoded.dictionary.to_numpy(), encoded.indices.to_numpy().astype(np.int64)


def activity(train_rows: np.ndarray) -> pa.Array:
    """Classes of numbers of training rows, `[users]`, such as `20-49`."""
    return _ACTIVITY_LABELS.take(pa.array(np.searchsorted(_ACTIVITY_BOUNDS, train_rows, side="right")))


def train_counts_of_items(rows: Rows, entities: Entities) -> np.ndarray:
    """Number of each item's training rows, `[items]` int64."""
    assert entities.items is not None
    return _train_counts(rows, ITEM, entities.items.num_rows)


def _train_counts(rows: Rows, column: str, count: int) -> np.ndarray:
    return np.bincount(rows.column(column)[rows.split == TRAIN], minlength=count)


def _features(table: pa.Table | None, rows: np.ndarray, key: str, schema: pa.Schema) -> dict[str, pa.Array]:
    assert table is not None
    taken = table.take(pa.array(rows)).combine_chunks()
    columns = {name: _one_chunk(taken[name]) for name in taken.schema.names if name != TOKEN}
    return columns | as_lists([(key, _one_chunk(taken[TOKEN]))], schema)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
