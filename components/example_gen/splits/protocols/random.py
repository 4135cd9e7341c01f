"""The protocol `random`: a hash of each row's key decides."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.example_gen.rows import EVAL, ITEM, SPLIT_VALUE, TEST, USER, Entities, Rows
from components.example_gen.splits.assignment import Planless, choose
from components.example_gen.splits.evidence import (
    Evidence,
    find_shared_keys,
    first_of_each_key_and_split,
    pair_keys,
    parts_by_key,
)
from components.example_gen.splits.hashing import Hasher, drawn, hash_values
from components.example_gen.splits.protocol import SeededShares, has_users_and_items
from trainer_module.data.dataset import Dataset
from trainer_module.data.tables import InteractionsTable

ROW, PAIR = "row", "pair"
_ENTITY_COLUMNS = {"user": USER, "item": ITEM}
# Columns that must be known if the key has one of these names.
_ROLES = {PAIR: ("user", "item"), "user": ("user",), "item": ("item",)}


class RandomSplit(SeededShares):
    """A hash decides.

    Attributes:
        key: What is hashed. `row` is the row's place, that is file name and line; `pair` is user and item, so that
            equal pairs stay together; any other value is a column of the interactions, whose rows of equal value stay
            together. None is `pair` where users and items are known, and `row` elsewhere.
    """

    by: Literal["random"] = "random"
    key: str | None = Field(default=None, min_length=1)

    def protocol(self, interactions: InteractionsTable) -> "RandomProtocol":
        return RandomProtocol(self, self.hashed(interactions))

    def check(self, dataset: Dataset) -> None:
        interactions = dataset.tables.interactions
        is_column = self.key in {entry.name for entry in interactions.entries()}
        if self.key == PAIR or not is_column:
            self.require_roles(interactions, _ROLES.get(self.key or "", ()))

    def own_column(self, interactions: InteractionsTable) -> str | None:
        key = self.hashed(interactions)
        known = {ROW, PAIR} | {role for role in _ENTITY_COLUMNS if getattr(interactions, role)}
        return None if key in known else key

    def hashed(self, interactions: InteractionsTable) -> str:
        """What is hashed: `row`, `pair`, `user`, `item` or the name of another column."""
        for role in _ENTITY_COLUMNS:
            entry = getattr(interactions, role)
            if entry and self.key == entry.name:
                return role
        return self.key or (PAIR if has_users_and_items(interactions) else ROW)


class RandomProtocol(Planless):
    """Draws `test`, and `eval` among the other rows, by a hash of each row's key.

    Promise: no key is in two splits. Under the key `row` each row is a key of its own, so there is nothing to check:
    equal (user, item) pairs may be in two splits.

    Attributes:
        name: Of the protocol, for messages.
        key: `row`, `pair`, `user`, `item`, or the name of a column, whose values are in `SPLIT_VALUE`.
    """

    def __init__(self, config: SeededShares, key: str):
        """Takes fractions and seed from the config.

        Args:
            config: Of the split.
            key: See `key`.
        """
        self.name, self.key = config.by, key
        self._config, self._hasher = config, Hasher(config.seed)

    @property
    def promise(self) -> str:
        """What holds for every split, in a sentence."""
        if self.key == ROW:
            return "Every row is drawn by itself; equal (user, item) pairs may be in two splits."
        return f"No {self._what} is in two splits."

    def assign(self, rows: Rows, plan: None, entities: Entities) -> np.ndarray:
        """Assigns rows; see `SplitProtocol.assign`."""
        hashes = self._hash(rows, entities)
        config = self._config
        return choose(drawn(hashes, TEST, config.test_fraction), drawn(hashes, EVAL, config.eval_fraction))

    def evidence(self, rows: Rows) -> Evidence:
        """One row of each key and split; nothing under the key `row`."""
        if self.key == ROW:
            return Evidence.of(rows).take(np.zeros(0, np.int64))
        if self.key == PAIR:
            key = pair_keys(rows)
        elif column := self._entity_column(rows):
            key = rows.column(column)
        else:
            key = _value_keys(rows.batch.column(SPLIT_VALUE))
        return first_of_each_key_and_split(Evidence.of(rows, key))

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """Parts by key."""
        return parts_by_key(evidence, count)

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Looks for keys in two splits."""
        return [] if self.key == ROW else find_shared_keys(self._what, evidence, files)

    @property
    def _what(self) -> str:
        if self.key in _ENTITY_COLUMNS:
            return self.key
        return "(user, item) pair" if self.key == PAIR else f"value of {self.key!r}"

    def _entity_column(self, rows: Rows) -> str | None:
        """The column of users or items that is the key; a table without them may call any column `user`."""
        column = _ENTITY_COLUMNS.get(self.key)
        return column if column and rows.has(column) else None

    def _hash(self, rows: Rows, entities: Entities) -> np.ndarray:
        if self.key == ROW:
            return self._hasher.of_place(rows, entities)
        if self.key == PAIR:
            return self._hasher.of_pair(rows, entities)
        if column := self._entity_column(rows):
            return self._hasher.of_entity(rows, column, entities)
        return hash_values(rows.batch.column(SPLIT_VALUE), self._config.seed)


def _value_keys(values: pa.Array) -> np.ndarray:
    """A number for each value, `[rows]` int64.

    Two of n distinct values have the same number with a probability of n^2 / 2^65: 3e-8 for a million values.
    """
    distinct = values.dictionary_encode()
    digests = [hashlib.blake2b(value, digest_size=8).digest() for value in distinct.dictionary.to_pylist()]
    return np.frombuffer(b"".join(digests), "<i8")[distinct.indices.to_numpy()]


SPLIT = RandomSplit
