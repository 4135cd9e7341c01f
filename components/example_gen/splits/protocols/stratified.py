"""The protocol `stratified`: of each user's items a fixed share, drawn at random, is `test`.

It draws as `python_stratified_split(data, ratio, filter_by="user", seed=seed)` does (Recommenders team,
github.com/recommenders-team/recommenders, python_splitters.py), so that results on its splits compare: each line of the
file gets a random number, each user's rows are ordered by theirs, and rows whose rank exceeds `ratio` times the user's
number of rows are test rows. Rows of one user and item count as one row, the first, and go with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from components.example_gen.rows import EVAL, ITEM, POSITION, TEST, USER, Entities, Rows, places
from components.example_gen.splits.assignment import HeldOut, choose, run_lengths
from components.example_gen.splits.evidence import (
    Evidence,
    describe_some,
    find_shared_keys,
    first_of_each_key_and_split,
    pair_keys,
    parts_by_key,
)
from components.example_gen.splits.hashing import Hasher, drawn
from components.example_gen.splits.protocol import SeededShares
from trainer_module.data.tables import InteractionsTable

# Of `numpy.random.RandomState`, which draws.
_SEEDS = 2**32
# Of the keys that `evidence.pair_keys` makes.
_BITS_OF_ITEM = 32


class StratifiedSplit(SeededShares):
    """Of each user's items the share `test_fraction`, drawn at random, is `test`; a hash of the pair chooses `eval`.

    Without items, the same holds of each user's rows, and a hash of the row's place chooses `eval`.
    """

    needs = ("user",)

    by: Literal["stratified"] = "stratified"
    test_fraction: float = Field(default=0.25, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=_SEEDS)

    def protocol(self, interactions: InteractionsTable) -> "StratifiedProtocol":
        return StratifiedProtocol(self, has_items=interactions.item is not None)


@dataclass(frozen=True)
class UserRows:
    """The user and item of each row: 24 bytes per row.

    Attributes:
        user: `[n]` int64.
        item: `[n]` int64; where rows have no items, numbers that are all different.
        position: `[n]` int64.
    """

    user: np.ndarray
    item: np.ndarray
    position: np.ndarray


class StratifiedProtocol:
    """Draws the same share of each user's items for `test`, and `eval` among the others by a hash of the pair.

    Promise: of each user's n items those of rank k from 1 to n with k / n > 1 - `test_fraction` are `test`: the share
    `test_fraction`, rounded up. No (user, item) pair is in two splits. Without items, rows take their place.

    The plan is made from 24 bytes per row and holds 8 bytes per test row in every worker.
    """

    needs_plan = True
    name = "stratified"

    def __init__(self, config: StratifiedSplit, has_items: bool):
        """Takes fractions and seed from the config.

        Args:
            config: Of the split.
            has_items: Whether rows have items.
        """
        self._config, self._hasher, self._has_items = config, Hasher(config.seed), has_items

    @property
    def promise(self) -> str:
        """What holds for every split, in a sentence."""
        share = f"the share {self._config.test_fraction:g}, rounded up, is in test"
        if not self._has_items:
            return f"Of each user's rows {share}."
        return f"Of each user's items {share}, and no (user, item) pair is in two splits."

    def summarize(self, rows: Rows) -> UserRows:
        """The user, item and position of each row in a block."""
        position = rows.column(POSITION)
        return UserRows(rows.column(USER), rows.column(ITEM) if self._has_items else position, position)

    def merge(self, parts: Sequence[UserRows]) -> UserRows:
        """All rows of at least one part."""
        return UserRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))

    def plan(self, whole: UserRows) -> HeldOut:
        """Draws the test rows."""
        return HeldOut(test=draw_test_rows(whole, self._config.test_fraction, self._config.seed))

    def assign(self, rows: Rows, plan: HeldOut, entities: Entities) -> np.ndarray:
        """Assigns rows; see `SplitProtocol.assign`."""
        test = np.isin(rows.column(POSITION), plan.test)
        hashes = (self._hasher.of_pair if self._has_items else self._hasher.of_place)(rows, entities)
        return choose(test, drawn(hashes, EVAL, self._config.eval_fraction))

    def evidence(self, rows: Rows) -> Evidence:
        """One row of each pair and split, or all rows by user: whether one is too many depends on its user's others."""
        if self._has_items:
            return first_of_each_key_and_split(Evidence.of(rows, pair_keys(rows)))
        return Evidence.of(rows, rows.column(USER))

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """Parts by user."""
        if count == 1 or not self._has_items:
            return parts_by_key(evidence, count)
        part = (evidence.key >> _BITS_OF_ITEM) % count
        return {int(index): evidence.take(part == index) for index in np.unique(part)}

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Looks for users with too many or too few test items, and for pairs in two splits."""
        leaks, what, user, in_test, position = [], "rows", evidence.key, evidence.split == TEST, evidence.position
        if self._has_items:
            leaks, what = find_shared_keys("(user, item) pair", evidence, files), "items"
            pair, first, of_pair = np.unique(evidence.key, return_index=True, return_inverse=True)
            user, position = pair >> _BITS_OF_ITEM, evidence.position[first]
            in_test = np.bincount(of_pair, weights=in_test, minlength=len(pair)) > 0
        _, first, of_user, counts = np.unique(user, return_index=True, return_inverse=True, return_counts=True)
        num_test = np.bincount(of_user, weights=in_test, minlength=len(counts)).astype(np.int64)
        kept_share = 1 - self._config.test_fraction
        # The greatest k with k / n <= kept_share. The product may be rounded across a whole number, so it is corrected.
        others = np.floor(counts * kept_share).astype(np.int64)
        others += (others + 1) / counts <= kept_share
        others -= others / counts > kept_share
        for wrong, problem in (
            (num_test > counts - others, f"users have too many {what} in test"),
            (num_test < counts - others, f"users have too few {what} in test"),
        ):
            if wrong.any():
                leaks.append(f"{problem}: those of {describe_some(np.sort(position[first[wrong]]), files)}")
        return leaks


def draw_test_rows(rows: UserRows, test_fraction: float, seed: int) -> np.ndarray:
    """Positions of the test rows, ascending.

    Rows of one file draw by their line numbers, as the published benchmarks do, so bad rows do not change what the
    others draw. Rows of several files draw by their rank among all rows.

    Args:
        rows: All of them.
        test_fraction: Of each user's items.
        seed: Of the draws.
    """
    file, number = places(rows.position)
    if len(np.unique(file)) > 1:
        number = np.empty(len(file), np.int64)
        number[np.argsort(rows.position)] = np.arange(1, len(file) + 1)
    draws = np.random.RandomState(seed).rand(number.max(initial=0))
    order = np.lexsort((rows.position, rows.item, rows.user))
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(rows.user[order]) != 0) | (np.diff(rows.item[order]) != 0)
    of_pair = np.cumsum(is_first) - 1
    first = order[is_first]
    user, draw = rows.user[first], draws[number[first] - 1]
    by_draw = np.lexsort((draw, user))
    lengths = run_lengths(user[by_draw])
    rank = np.arange(1, len(by_draw) + 1) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    is_test = np.zeros(len(first), bool)
    is_test[by_draw] = rank / np.repeat(lengths, lengths) > 1 - test_fraction
    return np.sort(rows.position[order[is_test[of_pair]]])


SPLIT = StratifiedSplit
