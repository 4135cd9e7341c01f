"""The protocol `stratified`: of each user's rows a fixed share, drawn at random, is `test`.

It draws as `python_stratified_split(data, ratio, filter_by="user", seed=seed)` does (Recommenders team,
github.com/recommenders-team/recommenders, python_splitters.py), so that results on its splits compare: each line of the
file gets a random number, each user's rows are ordered by theirs, and rows whose rank exceeds `ratio` times the user's
number of rows are test rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from components.example_gen.rows import EVAL, POSITION, TEST, USER, Entities, Rows, places
from components.example_gen.splits.assignment import HeldOut, choose, run_lengths
from components.example_gen.splits.evidence import Evidence, describe_some, parts_by_key
from components.example_gen.splits.hashing import Hasher, drawn
from components.example_gen.splits.protocol import SeededShares
from trainer_module.data.tables import InteractionsTable

# Of `numpy.random.RandomState`, which draws.
_SEEDS = 2**32


class StratifiedSplit(SeededShares):
    """Of each user's rows the share `test_fraction`, drawn at random, is `test`; a hash of the pair chooses `eval`."""

    needs = ("user",)

    by: Literal["stratified"] = "stratified"
    test_fraction: float = Field(default=0.25, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=_SEEDS)

    def protocol(self, interactions: InteractionsTable) -> "StratifiedProtocol":
        return StratifiedProtocol(self)


@dataclass(frozen=True)
class UserRows:
    """The user of each row: 16 bytes per row.

    Attributes:
        user: `[n]` int64.
        position: `[n]` int64.
    """

    user: np.ndarray
    position: np.ndarray


class StratifiedProtocol:
    """Draws the same share of each user's rows for `test`, and `eval` among the other rows by a hash of the pair.

    Promise: of each user's n rows those of rank k from 1 to n with k / n > 1 - `test_fraction` are `test`: the share
    `test_fraction`, rounded up. A (user, item) pair that occurs more than once may be in two splits.

    The plan is made from 16 bytes per row and holds 8 bytes per test row in every worker.
    """

    needs_plan = True
    name = "stratified"

    def __init__(self, config: StratifiedSplit):
        """Takes fractions and seed from the config."""
        self._config, self._hasher = config, Hasher(config.seed)

    @property
    def promise(self) -> str:
        """What holds for every split, in a sentence."""
        return f"Of each user's rows the share {self._config.test_fraction:g}, rounded up, is in test."

    def summarize(self, rows: Rows) -> UserRows:
        """The user and position of each row in a block."""
        return UserRows(rows.column(USER), rows.column(POSITION))

    def merge(self, parts: Sequence[UserRows]) -> UserRows:
        """All rows of at least one part."""
        return UserRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "position")))

    def plan(self, whole: UserRows) -> HeldOut:
        """Draws the test rows."""
        return HeldOut(test=draw_test_rows(whole, self._config.test_fraction, self._config.seed))

    def assign(self, rows: Rows, plan: HeldOut, entities: Entities) -> np.ndarray:
        """Assigns rows; see `SplitProtocol.assign`."""
        test = np.isin(rows.column(POSITION), plan.test)
        return choose(test, drawn(self._hasher.of_pair(rows, entities), EVAL, self._config.eval_fraction))

    def evidence(self, rows: Rows) -> Evidence:
        """All rows, by user: whether one is too many depends on all others of its user."""
        return Evidence.of(rows, rows.column(USER))

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """Parts by user."""
        return parts_by_key(evidence, count)

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Looks for users with too many or too few test rows."""
        _, first, of_user, counts = np.unique(evidence.key, return_index=True, return_inverse=True, return_counts=True)
        in_test = np.bincount(of_user, weights=evidence.split == TEST, minlength=len(counts)).astype(np.int64)
        kept_share = 1 - self._config.test_fraction
        # The greatest k with k / n <= kept_share. The product may be rounded across a whole number, so it is corrected.
        others = np.floor(counts * kept_share).astype(np.int64)
        others += (others + 1) / counts <= kept_share
        others -= others / counts > kept_share
        leaks = []
        for wrong, problem in (
            (in_test > counts - others, "users have too many rows in test"),
            (in_test < counts - others, "users have too few rows in test"),
        ):
            if wrong.any():
                rows = np.sort(evidence.position[first[wrong]])
                leaks.append(f"{problem}: those of {describe_some(rows, files)}")
        return leaks


def draw_test_rows(rows: UserRows, test_fraction: float, seed: int) -> np.ndarray:
    """Positions of the test rows, ascending.

    Rows of one file draw by their line numbers, as the published benchmarks do, so bad rows do not change what the
    others draw. Rows of several files draw by their rank among all rows.

    Args:
        rows: All of them.
        test_fraction: Of each user's rows.
        seed: Of the draws.
    """
    file, number = places(rows.position)
    if len(np.unique(file)) > 1:
        number = np.empty(len(file), np.int64)
        number[np.argsort(rows.position)] = np.arange(1, len(file) + 1)
    draws = np.random.RandomState(seed).rand(number.max(initial=0))
    order = np.lexsort((draws[number - 1], rows.user))
    lengths = run_lengths(rows.user[order])
    rank = np.arange(1, len(order) + 1) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.sort(rows.position[order[rank / np.repeat(lengths, lengths) > 1 - test_fraction]])


SPLIT = StratifiedSplit
