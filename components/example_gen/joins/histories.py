"""What a user did before, or, without times, what else: histories of rows, and the queries that retrieval is evaluated
on. Arithmetic on columns.

All functions need all rows of each user that they are given, and look at nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.example_gen.joins.join import WithoutSummary
from components.example_gen.output.examples import Part
from components.example_gen.rows import EVAL, ITEM, POSITION, TEST, TIME, TOKEN, TRAIN, USER, WEIGHT, Entities, Rows
from components.example_gen.splits.hashing import mix
from trainer_module.data.dataset import HISTORY, HISTORY_TARGETS, HISTORY_WEIGHTS


@dataclass(frozen=True)
class Interactions:
    """All rows of some users.

    Attributes:
        user: `[rows]` int64.
        item: `[rows]` int64.
        time: `[rows]` int64, microseconds since 1970.
        position: `[rows]` int64, unique; orders rows of one time.
        split: `[rows]` int8, indices into `SPLITS`.
        have_times: Whether the dataset knows times; without, `time` is 0, and no item is earlier than another.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    position: np.ndarray
    split: np.ndarray
    have_times: bool = True

    @classmethod
    def of(cls, rows: Rows) -> "Interactions":
        """From assigned rows. Rows of a dataset without times are all at time 0."""
        assert rows.split is not None
        user = rows.column(USER)
        have_times = rows.has(TIME)
        time = rows.column(TIME) if have_times else np.zeros(len(user), np.int64)
        return cls(user, rows.column(ITEM), time, rows.column(POSITION), rows.split, have_times)

    def take(self, rows: np.ndarray) -> "Interactions":
        """Selects rows by index or mask."""
        columns = (self.user, self.item, self.time, self.position, self.split)
        return Interactions(*(values[rows] for values in columns), self.have_times)


@dataclass(frozen=True)
class Queries:
    """One request for each user with rows in the test split.

    Attributes:
        user: `[queries]` int64, ascending.
        time: When the user asks, `[queries]` int64, microseconds since 1970: at the user's first test row, but not
            before the user's last train or eval row.
        items: Lists of items, `[queries]` large lists of int64 each. `history` holds the latest items of the train and
            eval rows (without times, some of them), `seen` all of them, `relevant` those of the test rows. Oldest
            first; `seen` and `relevant` without repetition.
        first_test_row: Index of the user's first test row among the rows, `[queries]` int64; None for queries that
            hold nothing out.
    """

    user: np.ndarray
    time: np.ndarray
    items: Mapping[str, pa.LargeListArray]
    first_test_row: np.ndarray | None = None

    def num_findable(self) -> int:
        """Number of queries with a relevant item that is not among the seen ones, which lists leave out."""
        pairs = []
        for name in ("seen", "relevant"):
            lists = self.items[name]
            lengths = np.diff(lists.offsets.to_numpy())
            query = np.repeat(np.arange(len(self.user)), lengths)
            pairs.append(np.stack([query, lists.flatten().to_numpy(zero_copy_only=False)], axis=1))
        seen, relevant = pairs
        _, group = np.unique(np.concatenate([seen, relevant]), axis=0, return_inverse=True)
        new = ~np.isin(group[len(seen) :], group[: len(seen)])
        return len(np.unique(relevant[new, 0]))


def history_rows(rows: Interactions, length: int) -> pa.LargeListArray:
    """What each row's user did strictly before the row's time.

    The history of a row in train or eval consists of train rows only. That of a test row has eval rows too, because a
    model under test may know whatever came before.

    Args:
        rows: All rows of their users.
        length: Most items of a history; the latest are kept.

    Returns:
        Indices of rows, `[rows]` large lists of int64, oldest first.
    """
    moment, first_moment = _moments(rows)
    starts, ends = np.zeros(len(moment), np.int64), np.zeros(len(moment), np.int64)
    # Places count on through the rows known to train and eval rows, then through those known to test rows.
    known_rows, offset = [], 0
    for known, asking in _knowledge(rows):
        index = np.flatnonzero(known)
        index = index[np.lexsort((rows.position[index], moment[index]))]
        ends[asking] = offset + np.searchsorted(moment[index], moment[asking], side="left")
        starts[asking] = offset + np.searchsorted(moment[index], first_moment[asking], side="left")
        known_rows.append(index)
        offset += len(index)
    return _slices(np.concatenate(known_rows), np.maximum(starts, ends - length), ends)


def other_items(rows: Interactions, length: int) -> pa.LargeListArray:
    """What else each row's user has: distinct items but the row's own.

    A history without times. Which rows a row may know is as in `history_rows`. Where a user has more than `length`
    items, a row knows those that follow its own in a random circle of the user's items, the same on every machine.

    Args:
        rows: All rows of their users.
        length: Most items of a row.

    Returns:
        Items, `[rows]` large lists of int64, in no particular order.
    """
    begins, counts, starts, sizes = (np.zeros(len(rows.user), np.int64) for _ in range(4))
    items, offset = [], 0
    for known, asking in _knowledge(rows):
        bags, of = _Bags.of(rows.take(known)), rows.take(asking)
        start, end = bags.bounds(of.user)
        place = bags.place(of.user, of.item)
        has_own = place >= 0
        starts[asking], sizes[asking] = offset + start, end - start
        counts[asking] = np.minimum(length, end - start - has_own)
        begins[asking] = np.where(has_own, place - start + 1, 0)
        items.append(bags.item)
        offset += len(bags.item)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    step = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    in_circle = (np.repeat(begins, counts) + step) % np.repeat(np.maximum(sizes, 1), counts)
    values = np.concatenate(items)[np.repeat(starts, counts) + in_circle]
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values, pa.int64()))


def find_queries(rows: Interactions, length: int) -> Queries:
    """The queries of some users.

    Args:
        rows: All rows of their users.
        length: Most items of a history.
    """
    order = np.lexsort((rows.position, rows.time, rows.user))
    rows = rows.take(order)
    known, test = rows.take(rows.split != TEST), rows.take(rows.split == TEST)
    user, first_test = np.unique(test.user, return_index=True)
    start, end = np.searchsorted(known.user, user, side="left"), np.searchsorted(known.user, user, side="right")
    last_known = np.full(len(user), np.iinfo(np.int64).min)
    last_known[end > start] = known.time[end[end > start] - 1]
    items = {
        "history": _latest(known, user, length),
        "seen": _distinct(known, user),
        "relevant": _distinct(test, user),
    }
    first_row = order[np.flatnonzero(rows.split == TEST)][first_test]
    return Queries(user, np.maximum(test.time[first_test], last_known), items, first_row)


def current_queries(rows: Interactions, users: np.ndarray, length: int) -> Queries:
    """What users would ask now: everything that they did is known, and nothing is held out.

    Args:
        rows: Of these users; their splits do not matter.
        users: `[queries]` int64, distinct.
        length: Most items of a history.

    Returns:
        One query per user, in the order of `users`, at the time of the user's last row (0 for a user without rows);
        `relevant` is empty.
    """
    rows = rows.take(np.lexsort((rows.position, rows.time, rows.user)))
    start, end = np.searchsorted(rows.user, users, side="left"), np.searchsorted(rows.user, users, side="right")
    time = np.zeros(len(users), np.int64)
    time[end > start] = rows.time[end[end > start] - 1]
    items = {
        "history": _latest(rows, users, length),
        "seen": _distinct(rows, users),
        "relevant": _slices(rows.item, start, start),
    }
    return Queries(users, time, items)


def history_targets(rows: Interactions, length: int) -> np.ndarray:
    """Number of steps that each row trains in a model that predicts every item of a history from those before it.

    A step predicts an item from the items of the history before it; the last step predicts the row's own item. The
    number counts steps from the last one backwards. Every train row is the target of exactly one step of one row. Rows
    are chosen from each user's end: the last row covers its own item and its history, but not the first item of a full
    history, which is the own item of the next chosen row. Rows of one time do not stand in each other's histories, so
    each of them covers its own item.

    Args:
        rows: All rows of their users.
        length: Most items of a history.

    Returns:
        int64 `[rows]`; 0 for rows that are not chosen and for those of other splits.
    """
    train = np.flatnonzero(rows.split == TRAIN)
    train = train[np.lexsort((rows.position[train], rows.time[train], rows.user[train]))]
    user, time = rows.user[train], rows.time[train]
    row = np.arange(len(train))
    same_user = np.concatenate([[False], user[1:] == user[:-1]])[: len(train)]
    same_time = same_user & np.concatenate([[False], time[1:] == time[:-1]])[: len(train)]
    # Of each row, the first row of its user and the first of its user and time.
    of_user, of_time = (np.maximum.accumulate(np.where(same, 0, row)) for same in (same_user, same_time))
    targets, tied = np.zeros(len(train), np.int64), np.zeros(len(train) + 1, np.int64)
    last = row[np.append(~same_user[1:], True)] if len(train) else row
    while len(last):
        begin, first = of_time[last], of_user[last]
        before = begin - first
        covered = np.where(before <= length, before, length - 1)
        targets[last] = covered + 1
        np.add.at(tied, begin, 1)
        np.add.at(tied, last, -1)
        last = (begin - covered - 1)[begin - covered > first]
    result = np.zeros(len(rows.user), np.int64)
    result[train] = np.maximum(targets, np.cumsum(tied[:-1]) > 0)
    return result


class HistoryJoin(WithoutSummary):
    """The column `history`: items that the row's user had before the row, or, without times, has beside its own. With
    times, for retrieval also `history_targets` and, if rows have weights, `history_weights`."""

    name = "history"
    whole_users = True

    def __init__(self, length: int, with_targets: bool = False):
        """Takes the largest number of items, and whether to add what trains every item of a history."""
        self._length = length
        self._with_targets = with_targets

    def parts(self, rows: Rows, known: None, entities: Entities) -> list[Part]:
        interactions = Interactions.of(rows)
        if not interactions.have_times:
            return [Part.of_rows({HISTORY: as_tokens(other_items(interactions, self._length), entities.items)})]
        found = history_rows(interactions, self._length)
        columns = {HISTORY: as_tokens(_taken(found, interactions.item), entities.items)}
        if self._with_targets:
            columns[HISTORY_TARGETS] = _one_each(history_targets(interactions, self._length))
            if rows.has(WEIGHT):
                columns[HISTORY_WEIGHTS] = _taken(found, rows.column(WEIGHT))
        return [Part.of_rows(columns)]


def as_tokens(lists: pa.LargeListArray, table: pa.Table | None) -> pa.LargeListArray:
    """Identifiers in place of row numbers.

    Args:
        lists: Rows of `table`, `[n]` large lists of int64.
        table: Of users or items.
    """
    assert table is not None
    return pa.LargeListArray.from_arrays(lists.offsets, table[TOKEN].combine_chunks().take(lists.values))


def _taken(lists: pa.LargeListArray, values: np.ndarray) -> pa.LargeListArray:
    """Values of rows in place of their indices."""
    return pa.LargeListArray.from_arrays(lists.offsets, pa.array(values[lists.values.to_numpy()]))


@dataclass(frozen=True)
class _Bags:
    """The distinct items of users, each user's in a random order of the user's own.

    Attributes:
        pair: Numbers of (user, item), ascending, `[pairs]` int64.
        order: Places of the pairs by user and random number, `[pairs]` int64.
        user: In that order, `[pairs]` int64.
        item: In that order, `[pairs]` int64.
    """

    pair: np.ndarray
    order: np.ndarray
    user: np.ndarray
    item: np.ndarray

    @classmethod
    def of(cls, rows: Interactions) -> "_Bags":
        pair = np.unique(_pairs(rows.user, rows.item))
        # Numbers of users and items are below 2^31.
        user = pair >> 32
        order = np.lexsort((mix(pair.astype(np.uint64)), user))
        return cls(pair, order, user[order], (pair & 0xFFFFFFFF)[order])

    def bounds(self, user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the items of users begin and end, `[n]` int64 each."""
        return np.searchsorted(self.user, user, side="left"), np.searchsorted(self.user, user, side="right")

    def place(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Where pairs stand, `[n]` int64; -1 for those that are not among the users' items."""
        if not len(self.pair):
            return np.full(len(user), -1)
        wanted = _pairs(user, item)
        found = np.minimum(np.searchsorted(self.pair, wanted), len(self.pair) - 1)
        places = np.empty_like(self.order)
        places[self.order] = np.arange(len(self.order))
        return np.where(self.pair[found] == wanted, places[found], -1)


def _pairs(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    return (user << 32) | item


def _knowledge(rows: Interactions) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Which rows are known to which: pairs of masks, `[rows]` bool each."""
    return (
        (rows.split == TRAIN, rows.split != TEST),
        ((rows.split == TRAIN) | (rows.split == EVAL), rows.split == TEST),
    )


def _latest(rows: Interactions, users: np.ndarray, length: int) -> pa.LargeListArray:
    """The latest items of each of `users` or, without times, some; `rows` are sorted by user and time."""
    if not rows.have_times:
        bags = _Bags.of(rows)
        start, end = bags.bounds(users)
        return _slices(bags.item, start, np.minimum(end, start + length))
    start, end = np.searchsorted(rows.user, users, side="left"), np.searchsorted(rows.user, users, side="right")
    return _slices(rows.item, np.maximum(start, end - length), end)


def _one_each(values: np.ndarray) -> pa.LargeListArray:
    """Lists of one value each."""
    return pa.LargeListArray.from_arrays(pa.array(np.arange(len(values) + 1), pa.int64()), pa.array(values))


def _moments(rows: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that order rows by user and time, equal where both are, and for each row its user's first one."""
    order = np.lexsort((rows.time, rows.user))
    user, time = rows.user[order], rows.time[order]
    same_user = user[1:] == user[:-1]
    same = same_user & (time[1:] == time[:-1])
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
    indices = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values[indices], pa.int64()))
