"""Checks that splits keep what their protocol promises, on the rows that were written.

Nothing here is shared with the code that assigns splits, so that an error there does not hide itself. The check goes
over evidence that each block reduces by itself and that can be partitioned by user, as no promise but that of `time`
looks beyond one user; so it scales with the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NAMES = ("train", "eval", "test")
_EXAMPLES = 3
# Of each user and split so many rows, the last ones, tell whether the split holds at most one.
_LAST_KEPT = 2


@dataclass(frozen=True)
class Evidence:
    """Written rows, as far as they matter.

    Attributes:
        user: `[rows]` int64, index of the user.
        item: `[rows]` int64, index of the item.
        timestamp: `[rows]` int64, seconds since 1970.
        line: `[rows]` int64, line of `u.data`.
        split: `[rows]` int8: 0 train, 1 eval, 2 test.
    """

    user: np.ndarray
    item: np.ndarray
    timestamp: np.ndarray
    line: np.ndarray
    split: np.ndarray

    def take(self, rows: np.ndarray) -> "Evidence":
        """Selects rows by index or mask."""
        return Evidence(*(values[rows] for values in vars(self).values()))


def concatenate(parts: Sequence[Evidence]) -> Evidence:
    """Joins evidence of several blocks."""
    return Evidence(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def reduce(protocol: str, rows: Evidence) -> Evidence:
    """Drops rows that cannot change the verdict of `find_leaks`, whatever other blocks hold."""
    if protocol == "time":
        order = np.lexsort((rows.timestamp, rows.split))
        first, last = _run_ends(rows.split[order])
        return rows.take(order[np.union1d(first, last)])
    if protocol in ("user", "leave-last-out"):
        order = np.lexsort((rows.line, rows.timestamp, rows.split, rows.user))
        group = rows.user[order] * len(_NAMES) + rows.split[order]
        lengths = np.unique(group, return_counts=True)[1]
        from_end = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(group))
        return rows.take(order[from_end <= _LAST_KEPT])
    return rows


def partition(protocol: str, rows: Evidence, count: int) -> dict[int, Evidence]:
    """Distributes rows so that each part can be checked by itself."""
    if protocol == "time" or count == 1:
        return {0: rows}
    part = rows.user % count
    return {int(index): rows.take(part == index) for index in np.unique(part)}


def find_leaks(protocol: str, rows: Evidence) -> list[str]:
    """Looks for rows that break the protocol's promise.

    Promises: under `random`, `stratified` and `u1` to `u5` no (user, item) pair is in two splits, and the test rows of
    a fold are just its lines; under `user` no user is in two splits; under `time` every `test` row is later than every
    `eval` row, and that than every `train` row; under `leave-last-out` each user has at most one `test` row, later (by
    time, then by line) than its `eval` row, of which there is at most one, and that later than all its `train` rows.

    Args:
        protocol: See `IngestConfig`.
        rows: All rows, or one of their parts by `partition`, reduced or not.

    Returns:
        One sentence for each broken promise, with examples; empty if all were kept.
    """
    if protocol == "time":
        return _time_leaks(rows)
    if protocol == "leave-last-out":
        return _last_leaks(rows)
    if protocol == "user":
        return _shared_key_leaks("user", rows.user, rows)
    # Indices are far below 2^31, so the pair fits an int64.
    return _fold_leaks(protocol, rows) + _shared_key_leaks("(user, item) pair", (rows.user << 32) | rows.item, rows)


def _shared_key_leaks(what: str, key: np.ndarray, rows: Evidence) -> list[str]:
    order = np.lexsort((rows.split, key))
    key, split, line = key[order], rows.split[order], rows.line[order]
    at = np.flatnonzero((key[1:] == key[:-1]) & (split[1:] != split[:-1]))
    leaks = []
    for a, b in sorted({(int(split[i]), int(split[i + 1])) for i in at}):
        pairs = [i for i in at if (split[i], split[i + 1]) == (a, b)]
        examples = ", ".join(f"lines {line[i]} and {line[i + 1]}" for i in pairs[:_EXAMPLES])
        leaks.append(f"the same {what} is in {_NAMES[a]} and in {_NAMES[b]}: u.data {examples} ({len(pairs)} in all)")
    return leaks


def _time_leaks(rows: Evidence) -> list[str]:
    leaks = []
    for a in range(len(_NAMES)):
        for b in range(a + 1, len(_NAMES)):
            earlier, later = rows.take(rows.split == a), rows.take(rows.split == b)
            if not len(earlier.line) or not len(later.line):
                continue
            i, j = int(np.argmax(earlier.timestamp)), int(np.argmin(later.timestamp))
            if earlier.timestamp[i] >= later.timestamp[j]:
                leaks.append(
                    f"{_NAMES[b]} does not lie after {_NAMES[a]}: u.data line {earlier.line[i]} (time "
                    f"{earlier.timestamp[i]}) is in {_NAMES[a]}, line {later.line[j]} (time {later.timestamp[j]}) in "
                    f"{_NAMES[b]}"
                )
    return leaks


def _last_leaks(rows: Evidence) -> list[str]:
    order = np.lexsort((rows.line, rows.timestamp, rows.user))
    user, split, line = rows.user[order], rows.split[order], rows.line[order]
    same_user = user[1:] == user[:-1]
    # In a user's rows by time, splits must not go back, and those held out must not repeat.
    back, twice = split[1:] < split[:-1], (split[1:] == split[:-1]) & (split[1:] != 0)
    leaks = []
    for a, b in sorted({(int(split[i]), int(split[i + 1])) for i in np.flatnonzero(same_user & (back | twice))}):
        pairs = np.flatnonzero(same_user & (split[:-1] == a) & (split[1:] == b))
        examples = ", ".join(f"lines {line[i]} and {line[i + 1]}" for i in pairs[:_EXAMPLES])
        problem = (
            f"a user has two rows in {_NAMES[a]}"
            if a == b
            else f"a user's row in {_NAMES[a]} is earlier than one in {_NAMES[b]}"
        )
        leaks.append(f"{problem}: u.data {examples} ({len(pairs)} in all)")
    return leaks


def _fold_leaks(protocol: str, rows: Evidence) -> list[str]:
    if not (protocol.startswith("u") and protocol[1:].isdecimal()):
        return []
    in_fold = (rows.line - 1) // 20_000 == int(protocol[1:]) - 1
    leaks = []
    for wrong, problem in (
        (in_fold & (rows.split != 2), "lines of the test fold are outside test"),
        (~in_fold & (rows.split == 2), "lines outside the test fold are in test"),
    ):
        if wrong.any():
            examples = ", ".join(str(line) for line in rows.line[wrong][:_EXAMPLES])
            leaks.append(f"{problem}: u.data lines {examples} ({int(wrong.sum())} in all)")
    return leaks


def _run_ends(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the first and the last of each run of equal values in a sorted array."""
    lengths = np.unique(groups, return_counts=True)[1]
    ends = np.cumsum(lengths)
    return ends - lengths, ends - 1
