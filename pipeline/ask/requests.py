"""What a model is asked: the features of users and items, joined as ingestion joins them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from components.example_gen.config import DataConfig
from components.example_gen.conversion import as_lists, feature
from components.example_gen.joins.attributes import ItemAttributes, UserAttributes
from components.example_gen.joins.histories import Interactions, as_tokens, current_queries
from components.example_gen.joins.neighbours import Neighbours
from components.example_gen.joins.retrieval import QueryExamples
from components.example_gen.loading import load, needs_interactions
from components.example_gen.readers.problems import Problems
from components.example_gen.rows import ITEM, TOKEN, USER
from trainer_module.data.cells import trim
from trainer_module.data.dataset import HISTORY, RATED, RATERS, Dataset
from trainer_module.data.spec import SEEN
from trainer_module.errors import ConfigError
from trainer_module.suggestions import did_you_mean


@dataclass(frozen=True)
class Given:
    """What the person who asks says beside user and item.

    Attributes:
        values: Texts by feature, or by column of a file: attributes of an unknown user, the context of the request.
            They take the place of what the tables say.
        history: Items that the user had, the latest last; None takes those of the interactions.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    history: tuple[str, ...] | None = None


class Requests:
    """Builds requests to a pushed model from the raw files that its data came from."""

    def __init__(self, directory: str, config: DataConfig, users: Sequence[str] = (), items: Sequence[str] = ()):
        """Reads the raw files.

        Args:
            directory: Below which they lie.
            config: The section `data` of the model.
            users: Identifiers that will be asked for; the raw files need not name them.
            items: The same for items, also those of a given history.

        Raises:
            DataError: A file is missing or damaged.
        """
        self.dataset: Dataset = config.described()
        asked = {"user": list(map(trim, users)), "item": list(map(trim, items))}
        loaded = load(directory, config, asked, needs_interactions(config))
        self._entities, self._rows = loaded.entities, loaded.rows
        self._unknown = loaded.unknown
        self._schema = self.dataset.spec().features.arrow_schema()

    def title(self, item: str) -> str | None:
        """What people call an item; None where its table says nothing, or does not name the item."""
        described = self.dataset.tables.items
        if described is None or not described.title:
            return None
        table = self._entities.items
        assert table is not None
        row = pa.compute.index_in(
            pa.scalar(trim(item).encode(), pa.large_binary()), table[TOKEN].combine_chunks()
        ).as_py()
        if row is None:
            return None
        values = table[described.title_feature][row].as_py()
        return values[0].decode("utf-8", "replace") if values else None

    def pairs(self, users: Sequence[str], items: Sequence[str], given: Given | None = None) -> pa.RecordBatch:
        """The columns of pairs of a user and an item.

        Args:
            users: Identifiers, `[pairs]`; empty where interactions name no users.
            items: The same for items.
            given: What is said beside them.

        Returns:
            The inputs of the feature spec, `[pairs]` lists each.

        Raises:
            ConfigError: A given value is of no input.
        """
        given = given or Given()
        num_pairs = max(len(users), len(items), 1)
        columns: dict[str, pa.Array] = {}
        if self.dataset.user_key:
            user = self._index("user", users)
            columns |= UserAttributes(self.dataset).columns(user, None, self._entities)
            columns |= self._history(user, given)
        if self.dataset.item_key:
            item = self._index("item", items)
            columns |= ItemAttributes(self.dataset).columns(item, self._entities)
        if self.dataset.neighbours:
            columns |= self._neighbours(self._index("user", users), self._index("item", items), given)
        columns |= self._given(given, num_pairs)
        inputs = [column.name for column in self.dataset.spec().features.inputs]
        missing = {name: pa.array([[]] * num_pairs, self._schema.field(name).type) for name in inputs}
        chosen = {name: (missing | columns)[name] for name in inputs}
        return pa.RecordBatch.from_pydict(chosen)

    def queries(self, users: Sequence[str], given: Given | None = None) -> pa.RecordBatch:
        """The queries of users, under the schema of the split `queries`.

        Args:
            users: Identifiers, `[queries]`, distinct.
            given: What is said beside them.
        """
        given = given or Given()
        assert self._rows is not None
        index = self._index("user", users)
        found = current_queries(Interactions.of(self._rows), index, self.dataset.history)
        batch = QueryExamples(self.dataset).build(found, None, None, self._entities).to_batch()
        columns = {name: batch.column(name) for name in batch.schema.names} | self._given(given, len(users))
        if given.history is not None:
            items = pa.array([[item.encode() for item in given.history]] * len(users), pa.large_list(pa.large_binary()))
            columns[SEEN] = items
            if HISTORY in columns:
                latest = [item.encode() for item in given.history[-self.dataset.history :]]
                columns[HISTORY] = pa.array([latest] * len(users), pa.large_list(pa.large_binary()))
        return pa.RecordBatch.from_pydict(columns)

    def is_known(self, role: Literal["user", "item"], token: str) -> bool:
        """Whether the raw files that were read name a user or item."""
        return trim(token) not in self._unknown.get(role, ())

    def _index(self, role: str, tokens: Sequence[str]) -> np.ndarray:
        table = self._entities.users if role == "user" else self._entities.items
        assert table is not None
        rows = pa.compute.index_in(
            pa.array([trim(token).encode() for token in tokens], pa.large_binary()), table[TOKEN].combine_chunks()
        )
        return rows.to_numpy(zero_copy_only=False).astype(np.int64)

    def _history(self, users: np.ndarray, given: Given) -> dict[str, pa.Array]:
        if not self.dataset.history:
            return {}
        if given.history is not None:
            latest = [item.encode() for item in given.history[-self.dataset.history :]]
            return {HISTORY: pa.array([latest] * len(users), pa.large_list(pa.large_binary()))}
        assert self._rows is not None
        distinct, index = np.unique(users, return_inverse=True)
        found = current_queries(Interactions.of(self._rows), distinct, self.dataset.history).items["history"]
        return {HISTORY: as_tokens(found, self._entities.items).take(pa.array(index))}

    def _neighbours(self, users: np.ndarray, items: np.ndarray, given: Given) -> dict[str, pa.Array]:
        assert self._rows is not None
        length = self.dataset.neighbours
        sample = Neighbours.of(self._rows.column(USER), self._rows.column(ITEM), length)
        lists = sample.columns(users, items, length)
        columns = {
            RATED: as_tokens(lists[RATED], self._entities.items),
            RATERS: as_tokens(lists[RATERS], self._entities.users),
        }
        if given.history is not None:
            known = [item.encode() for item in given.history[-length:]]
            columns[RATED] = pa.array([known] * len(users), pa.large_list(pa.large_binary()))
        return columns

    def _given(self, given: Given, num_rows: int) -> dict[str, pa.Array]:
        """Given values as columns, read as the same text in a file would be."""
        tables = (self.dataset.tables.interactions, self.dataset.tables.users, self.dataset.tables.items)
        entries = {e.feature_name: (e, table) for table in tables if table for e in table.inputs()}
        by_column = {entry.name: (entry, table) for entry, table in entries.values()}
        columns = {}
        for name, text in given.values.items():
            entry, table = entries.get(name) or by_column.get(name) or (None, None)
            if entry is None or table is None:
                raise ConfigError(
                    f"--value {name}: no such input. {did_you_mean(name, entries)}Known: {', '.join(entries)}"
                )
            problems = Problems(f"--value {name}", num_rows)
            is_missing = trim(text) in map(trim, table.missing_values)
            values = pa.array([None if is_missing else text.encode()] * num_rows, pa.large_binary())
            values = feature(values, entry, problems)
            if problems.of_row:
                raise ConfigError(f"--value {name}={text}: {problems.of_row[0]}")
            columns |= as_lists([(entry.feature_name, values)], self._schema)
        return columns
