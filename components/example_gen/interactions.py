"""What a user did before: histories of rows, and the queries on which retrieval is judged. Pure arithmetic on columns.

All functions want the whole rows of each user that they are given, and look at nothing but those.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.example_gen.old_splits import EVAL, TEST, TRAIN


@dataclass(frozen=True)
class Interactions:
    """All rows of some users.

    Attributes:
        user: `[rows]` int64.
        item: `[rows]` int64.
        timestamp: `[rows]` int64, seconds since 1970.
        line: `[rows]` int64, unique; orders rows of one second.
        split: `[rows]` int8, indices into `splits.SPLITS`.
    """

    user: np.ndarray
    item: np.ndarray
    timestamp: np.ndarray
    line: np.ndarray
    split: np.ndarray

    @classmethod
    def of(cls, rows: pa.RecordBatch, split: np.ndarray) -> "Interactions":
        """From rows under `catalog.ROWS_SCHEMA` and their splits."""
        return cls(*(rows.column(name).to_numpy() for name in ("user", "item", "timestamp", "line")), split=split)

    def take(self, rows: np.ndarray) -> "Interactions":
        """Selects rows by index or mask."""
        return Interactions(*(values[rows] for values in vars(self).values()))


@dataclass(frozen=True)
class Queries:
    """One request for each user with rows in the test split.

    Attributes:
        user: `[queries]` int64, ascending.
        timestamp: When it is asked, `[queries]` int64: at the user's first test row, but not before the last row that
            is known of the user.
        items: Lists of items, `[queries]` large lists of int64 each: `history`, the latest items of the train and eval
            rows; `seen`, all of them; `relevant`, those of the test rows. Oldest first; `seen` and `relevant` without
            repetition.
    """

    user: np.ndarray
    timestamp: np.ndarray
    items: Mapping[str, pa.LargeListArray]


def histories(rows: Interactions, length: int) -> pa.LargeListArray:
    """What each row's user did strictly before the row's time.

    A row of the train or eval split knows train rows only; one of the test split also eval rows, as a model that is
    tested may know whatever came before.

    Args:
        rows: All rows of their users.
        length: Of a history, at most; the latest items stay.

    Returns:
        Items, `[rows]` large lists of int64, oldest first.
    """
    moment, first_moment = _moments(rows)
    starts, ends = np.zeros(len(moment), np.int64), np.zeros(len(moment), np.int64)
    # Positions count on through the items known to train and eval rows, then through those known to test rows.
    known_items, offset = [], 0
    for known, asking in (
        (rows.split == TRAIN, rows.split != TEST),
        ((rows.split == TRAIN) | (rows.split == EVAL), rows.split == TEST),
    ):
        index = np.flatnonzero(known)
        index = index[np.lexsort((rows.line[index], moment[index]))]
        ends[asking] = offset + np.searchsorted(moment[index], moment[asking], side="left")
        starts[asking] = offset + np.searchsorted(moment[index], first_moment[asking], side="left")
        known_items.append(rows.item[index])
        offset += len(index)
    return _slices(np.concatenate(known_items), np.maximum(starts, ends - length), ends)


def find_queries(rows: Interactions, length: int) -> Queries:
    """The queries of some users.

    Args:
        rows: All rows of their users.
        length: Of a history, at most.
    """
    rows = rows.take(np.lexsort((rows.line, rows.timestamp, rows.user)))
    known, test = rows.take(rows.split != TEST), rows.take(rows.split == TEST)
    user, first_test = np.unique(test.user, return_index=True)
    start, end = np.searchsorted(known.user, user, side="left"), np.searchsorted(known.user, user, side="right")
    last_known = np.full(len(user), np.iinfo(np.int64).min)
    last_known[end > start] = known.timestamp[end[end > start] - 1]
    items = {
        "history": _slices(known.item, np.maximum(start, end - length), end),
        "seen": _distinct(known, user),
        "relevant": _distinct(test, user),
    }
    return Queries(user, np.maximum(test.timestamp[first_test], last_known), items)


def current_queries(rows: Interactions, users: np.ndarray, length: int) -> Queries:
    """What users would ask now: everything that they did is known, and nothing is held out.

    Args:
        rows: Of these users; their splits do not matter.
        users: `[queries]` int64, distinct.
        length: Of a history, at most.

    Returns:
        One query per user, in the order of `users`, at the time of the user's last row (0 where there is none);
        `relevant` is empty.
    """
    rows = rows.take(np.lexsort((rows.line, rows.timestamp, rows.user)))
    start, end = np.searchsorted(rows.user, users, side="left"), np.searchsorted(rows.user, users, side="right")
    timestamp = np.zeros(len(users), np.int64)
    timestamp[end > start] = rows.timestamp[end[end > start] - 1]
    items = {
        "history": _slices(rows.item, np.maximum(start, end - length), end),
        "seen": _distinct(rows, users),
        "relevant": _slices(rows.item, start, start),
    }
    return Queries(users, timestamp, items)


def _moments(rows: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that order rows by user and time, equal where both are, and for each row its user's first one."""
    order = np.lexsort((rows.timestamp, rows.user))
    user, timestamp = rows.user[order], rows.timestamp[order]
    same_user = user[1:] == user[:-1]
    same = same_user & (timestamp[1:] == timestamp[:-1])
    moments = np.concatenate([np.zeros(min(1, len(user)), np.int64), np.cumsum(~same)])
    _, first_row, of_user = np.unique(user, return_index=True, return_inverse=True)
    moment, first_moment = np.empty_like(moments), np.empty_like(moments)
    moment[order], first_moment[order] = moments, moments[first_row][of_user]
    return moment, first_moment


def _distinct(rows: Interactions, users: np.ndarray) -> pa.LargeListArray:
    """The distinct items of each of `users`; `rows` are sorted by user and time."""
    _, first = np.unique(np.stack([rows.user, rows.item]), axis=1, return_index=True)
    rows = rows.take(np.sort(first))
    start, end = np.searchsorted(rows.user, users, side="left"), np.searchsorted(rows.user, users, side="right")
    return _slices(rows.item, start, end)


def _slices(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.LargeListArray:
    """`values[start:end]` for each pair of `starts` and `ends`."""
    lengths = ends - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values[positions], pa.int64()))
