"""Interactions as they travel between the steps of an ingestion.

Users and items are numbers: their rows in the `Entities` that the ingestion knows. Identifiers are looked up once a
block, and everything after that is arithmetic on integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from trainer_module.data.token_index import TokenIndex

SPLITS = ("train", "eval", "test")
TRAIN, EVAL, TEST = range(len(SPLITS))

# Columns of a batch of rows beside those of its context features. A table without users, items, times and so on has no
# such column.
POSITION, USER, ITEM, TIME, LABEL, WEIGHT, PROPENSITY, SPLIT_VALUE = (
    "__position__", "__user__", "__item__", "__time__", "__label__", "__weight__", "__propensity__", "__split__",
)  # fmt: skip
ROW_TYPES = {
    POSITION: pa.int64(),  # file and line, see `position`
    USER: pa.int64(),  # row of `Entities.users`
    ITEM: pa.int64(),  # row of `Entities.items`
    TIME: pa.int64(),  # microseconds since 1970, UTC
    LABEL: pa.float32(),
    WEIGHT: pa.float32(),
    PROPENSITY: pa.float32(),
    SPLIT_VALUE: pa.large_binary(),  # of the column that `data.split` looks at
}

# Column of `Entities` that identifies a user or item.
TOKEN = "__token__"

# Lines (in Parquet: rows) of a file, 10^12 at most.
_LINE_BITS = 40


@dataclass(frozen=True)
class Rows:
    """The good rows of a block, or of a partition of the users.

    Attributes:
        index: Of the block or partition, from 0.
        batch: Those columns of `ROW_TYPES` that the dataset has, and its context features as `large_list` columns.
        split: Index into `SPLITS` of each row, `[rows]` int8; None until rows are assigned.
    """

    index: int
    batch: pa.RecordBatch
    split: np.ndarray | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """How rows are pickled: of a slice its own rows alone, where Arrow pickles all that it was cut from."""
        return _unpickled, (self.index, self.batch.schema, self.batch.serialize(), self.split)

    def column(self, name: str) -> np.ndarray:
        """A column of `ROW_TYPES` other than `SPLIT_VALUE`, `[rows]`."""
        return self.batch.column(name).to_numpy(zero_copy_only=False)

    def has(self, name: str) -> bool:
        """Whether the dataset has a column."""
        return name in self.batch.schema.names


def _unpickled(index: int, schema: pa.Schema, batch: pa.Buffer, split: np.ndarray | None) -> Rows:
    return Rows(index, pa.ipc.read_record_batch(batch, schema), split)


def positions(file: int, lines: np.ndarray) -> np.ndarray:
    """Numbers that order and identify rows over all files, `[rows]` int64.

    Args:
        file: Number of the file, from 0, in the order of the files' names.
        lines: Line of each row in it (in Parquet and JSON: row), from 1, `[rows]` int64.
    """
    return (np.int64(file) << _LINE_BITS) + lines


def places(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undoes `positions`: the number of each row's file and its line there, `[rows]` int64 each."""
    return position >> _LINE_BITS, position & ((1 << _LINE_BITS) - 1)


def describe_places(position: Sequence[int] | np.ndarray, files: Sequence[str]) -> str:
    """Places of rows for a message, such as `u.data lines 3 and 7`, or `a.csv line 3 and b.csv line 4`.

    Args:
        position: Of two rows or more, or one.
        files: Names by number.
    """
    places = [(files[int(each) >> _LINE_BITS], int(each) & ((1 << _LINE_BITS) - 1)) for each in position]
    if len({file for file, _ in places}) == 1 and len(places) > 1:
        return f"{places[0][0]} lines {' and '.join(str(line) for _, line in places)}"
    return " and ".join(f"{file} line {line}" for file, line in places)


@dataclass(frozen=True)
class Entities:
    """Users and items of a dataset with their attributes, held in memory by every worker.

    Attributes:
        users: Tokens in the column `__token__` (large_binary, distinct) and attributes as `large_list` columns by
            feature name; None where the interactions name no users.
        items: The same for items.
        files: Names of the interactions' files by number, for messages and hashes.
        num_candidates: Of `items`, the first ones, which can be retrieved: those of the table of items, or all that
            interactions name where there is no table.
    """

    users: pa.Table | None
    items: pa.Table | None
    files: tuple[str, ...]
    num_candidates: int = 0

    @cached_property
    def user_index(self) -> TokenIndex | None:
        """Finds users by their tokens."""
        return None if self.users is None else TokenIndex(self.users[TOKEN].combine_chunks())

    @cached_property
    def item_index(self) -> TokenIndex | None:
        """Finds items by their tokens."""
        return None if self.items is None else TokenIndex(self.items[TOKEN].combine_chunks())
