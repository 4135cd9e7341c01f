"""Joins rated rows with user and item attributes into the columns of the feature spec."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.catalog import Catalog
from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import ConfigError

_WORDS = pa.large_list(pa.string())
_ACTIVITY_BOUNDS = (1, 20, 50, 100, 200)
_YEAR = re.compile(r"\([0-9]{4}\)")
# Letters and digits of any script; an apostrophe between them does not part a word.
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
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

    Attributes:
        schema: Arrow schema of the feature spec.
        by_user: The spec's columns that hold attributes of users, one row per user of the catalog.
        by_item: The same for items.
    """

    def __init__(self, dataset: DatasetSpec, catalog: Catalog, own: Sequence[str] = ()):
        """Converts the attributes to the spec's types.

        Args:
            dataset: Names and types of the columns.
            catalog: Users and items.
            own: Columns that `build` will be given.

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
            "title_words": pa.chunked_array([pa.array(map(title_words, items["title"].to_pylist()), _WORDS)]),
            "release_decade": pc.fill_null(pc.binary_join_element_wise(_text(decades), "s", ""), "unknown"),
        }
        self._label = dataset.features.label.name
        known = {*by_user, *by_item, self._label, "timestamp", "user_activity", *own}
        if unknown := [name for name in self.schema.names if name not in known]:
            raise ConfigError(
                f"feature spec of {dataset.name}: column(s) {unknown} cannot be filled from its files; "
                f"known: {', '.join(sorted(known))}"
            )
        self.by_user = as_lists(by_user, self.schema)
        self.by_item = as_lists(by_item, self.schema)

    def build(
        self, rows: pa.RecordBatch, train_ratings: np.ndarray, own: Mapping[str, pa.Array] | None = None
    ) -> Examples:
        """Builds the examples of a block of rows.

        Args:
            rows: Under `catalog.ROWS_SCHEMA`.
            train_ratings: Number of each user's rows in the training split, `[users]` int64.
            own: The columns that were announced to the constructor, `[rows]` each.

        Returns:
            As many examples as rows, in their order.
        """
        users, user_index = np.unique(rows.column("user").to_numpy(), return_inverse=True)
        items, item_index = np.unique(rows.column("item").to_numpy(), return_inverse=True)
        by_user = {name: values.take(pa.array(users)) for name, values in self.by_user.items()}
        by_user |= as_lists({"user_activity": activity(train_ratings[users])}, self.schema)
        by_item = {name: values.take(pa.array(items)) for name, values in self.by_item.items()}
        by_row = {self._label: rows.column("rating"), "timestamp": rows.column("timestamp")} | dict(own or {})
        parts = (
            Part(pa.RecordBatch.from_pydict(by_user), user_index),
            Part(pa.RecordBatch.from_pydict(by_item), item_index),
            Part(pa.RecordBatch.from_pydict(as_lists(by_row, self.schema)), np.arange(rows.num_rows)),
        )
        return Examples(parts, self.schema)


def title_words(title: str) -> list[str]:
    """The words of a title in lower case, without its year: `Toy Story (1995)` becomes `toy`, `story`."""
    return _WORD.findall(_YEAR.sub("", title).lower())


def activity(train_ratings: np.ndarray) -> pa.Array:
    """Labels of how much users rated, from their numbers of rows in the training split, `[users]`."""
    return _ACTIVITY_LABELS.take(pa.array(np.searchsorted(_ACTIVITY_BOUNDS, train_ratings, side="right")))


def as_lists(columns: Mapping[str, pa.Array | pa.ChunkedArray], schema: pa.Schema) -> dict[str, pa.Array]:
    """Those columns that the schema has, as lists of its types; null becomes the empty list."""
    lists = {}
    for name in columns.keys() & set(schema.names):
        column, target = columns[name], schema.field(name).type
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
