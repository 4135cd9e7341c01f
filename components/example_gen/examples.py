"""Joins rated rows with user and item attributes into the columns of the feature spec."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.catalog import Catalog
from trainer_module.datasets.spec import DatasetSpec
from trainer_module.errors import ConfigError

_ACTIVITY_BOUNDS = (1, 20, 50, 100, 200)
_ACTIVITY_LABELS = pa.array(["0", "1-19", "20-49", "50-99", "100-199", "200+"])


@dataclass(frozen=True)
class Part:
    """Some columns of a batch of examples, each distinct combination of values held once.

    Attributes:
        columns: `[distinct]` rows of `large_list` columns.
        index: Row of `columns` for each example, `[examples]` int64.
    """

    columns: pa.RecordBatch
    index: np.ndarray


@dataclass(frozen=True)
class Examples:
    """A batch of examples in normalized form: what a user's examples share is held once, and so for items.

    Attributes:
        parts: Disjoint sets of columns that together make the examples.
        schema: Arrow schema of the feature spec.
    """

    parts: tuple[Part, ...]
    schema: pa.Schema

    def to_batch(self) -> pa.RecordBatch:
        """All columns side by side: one `large_list` column for each column of the feature spec, in its order."""
        columns = {
            name: part.columns.column(name).take(pa.array(part.index))
            for part in self.parts
            for name in part.columns.schema.names
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)


class ExampleBuilder:
    """Turns rows into examples.

    Attributes are converted once, here; a block of rows then only gathers them.
    """

    def __init__(self, dataset: DatasetSpec, catalog: Catalog):
        """Converts the attributes to the spec's types.

        Args:
            dataset: Names and types of the columns.
            catalog: Users and items.

        Raises:
            ConfigError: The feature spec has a column that this layout cannot fill.
        """
        self.schema = dataset.features.arrow_schema()
        users, items = catalog.users, catalog.items
        decades = pc.multiply(pc.divide(items["release_year"], 10), 10)
        ages = pc.multiply(pc.divide(users["age"], 10), 10)
        by_user: dict[str, pa.ChunkedArray] = {
            dataset.user_key: users["id"],
            "age": users["age"],
            "gender": users["gender"],
            "occupation": users["occupation"],
            "age_group": pc.binary_join_element_wise(_text(ages), _text(pc.add(ages, 9)), "-"),
        }
        by_item: dict[str, pa.ChunkedArray] = {
            dataset.item_key: items["id"],
            "title": items["title"],
            "genres": items["genres"],
            "release_year": items["release_year"],
            "release_decade": pc.fill_null(pc.binary_join_element_wise(_text(decades), "s", ""), "unknown"),
        }
        self._label = dataset.features.label.name
        known = {*by_user, *by_item, self._label, "timestamp", "user_activity"}
        if unknown := [name for name in self.schema.names if name not in known]:
            raise ConfigError(
                f"feature spec of {dataset.name}: column(s) {unknown} cannot be filled from its files; "
                f"known: {', '.join(sorted(known))}"
            )
        self._by_user = self._lists(by_user)
        self._by_item = self._lists(by_item)

    def build(self, rows: pa.RecordBatch, train_ratings: np.ndarray) -> Examples:
        """Builds the examples of a block of rows.

        Args:
            rows: Under `catalog.ROWS_SCHEMA`.
            train_ratings: Number of each user's rows in the training split, `[users]` int64.

        Returns:
            As many examples as rows, in their order.
        """
        users, user_index = np.unique(rows.column("user").to_numpy(), return_inverse=True)
        items, item_index = np.unique(rows.column("item").to_numpy(), return_inverse=True)
        bucket = np.searchsorted(_ACTIVITY_BOUNDS, train_ratings[users], side="right")
        by_user = {name: values.take(pa.array(users)) for name, values in self._by_user.items()}
        by_user |= self._lists({"user_activity": _ACTIVITY_LABELS.take(pa.array(bucket))})
        by_item = {name: values.take(pa.array(items)) for name, values in self._by_item.items()}
        own = self._lists({self._label: rows.column("rating"), "timestamp": rows.column("timestamp")})
        parts = (
            Part(pa.RecordBatch.from_pydict(by_user), user_index),
            Part(pa.RecordBatch.from_pydict(by_item), item_index),
            Part(pa.RecordBatch.from_pydict(own), np.arange(rows.num_rows)),
        )
        return Examples(parts, self.schema)

    def _lists(self, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> dict[str, pa.Array]:
        """Those columns that the spec has, as lists of its types; null becomes the empty list."""
        lists = {}
        for name in columns.keys() & set(self.schema.names):
            column, target = columns[name], self.schema.field(name).type
            values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            if pa.types.is_large_list(values.type):
                lists[name] = values.cast(target)
                continue
            offsets = np.concatenate([[0], np.cumsum(values.is_valid().to_numpy(zero_copy_only=False))])
            present = values.drop_null().cast(target.value_type)
            lists[name] = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), present)
        return lists


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(pa.string())
