"""The protocols `u1` to `u5`: the official folds of MovieLens 100K."""

from collections.abc import Sequence

import numpy as np

from components.example_gen.rows import EVAL, POSITION, TEST, Entities, Rows, places
from components.example_gen.splits.assignment import Planless, choose
from components.example_gen.splits.config import FoldSplit, SplitConfig
from components.example_gen.splits.evidence import (
    Evidence,
    describe_some,
    find_shared_keys,
    pair_keys,
    parts_by_key,
)
from components.example_gen.splits.hashing import Hasher, drawn
from trainer_module.errors import DataError

_FOLD_LINES = 20_000
_LINES = 100_000


def check_num_rows(config: SplitConfig, num_rows: int) -> None:
    """Checks that the interactions have the rows that a fold counts on. Other splits take any number.

    Args:
        config: Of the split.
        num_rows: Rows of the interactions, good and bad.

    Raises:
        DataError: A fold is asked for, and there are not exactly 100,000 rows.
    """
    if isinstance(config, FoldSplit) and num_rows != _LINES:
        raise DataError(
            f"data.split: {config.by} is a fold of MovieLens 100K, given by line numbers of u.data, and needs exactly "
            f"{_LINES:,} lines; this u.data has {num_rows:,}. Take one of: random, user, time, leave-last-out, "
            "stratified."
        )


class FoldProtocol(Planless):
    """Takes the test rows from their lines, and draws `eval` among the other rows by a hash of the pair.

    Promise: the test rows are exactly the lines of the fold, and no (user, item) pair is in two splits.

    Attributes:
        name: `u1` to `u5`.
    """

    def __init__(self, config: FoldSplit):
        """Takes fold, fraction and seed from the config."""
        self.name: str = config.by
        self._config, self._hasher = config, Hasher(config.seed)

    @property
    def promise(self) -> str:
        """What holds for every split, in a sentence."""
        last = _FOLD_LINES * self._config.fold
        return (
            f"Lines {last - _FOLD_LINES + 1} to {last} of u.data are test, and no (user, item) pair is in two splits."
        )

    def assign(self, rows: Rows, plan: None, entities: Entities) -> np.ndarray:
        """Assigns rows; see `SplitProtocol.assign`."""
        _, line = places(rows.column(POSITION))
        last = _FOLD_LINES * self._config.fold
        test = (line > last - _FOLD_LINES) & (line <= last)
        return choose(test, drawn(self._hasher.of_pair(rows, entities), EVAL, self._config.eval_fraction))

    def evidence(self, rows: Rows) -> Evidence:
        """All rows, by (user, item) pair; there are 100,000."""
        return Evidence.of(rows, pair_keys(rows))

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """Parts by (user, item) pair."""
        return parts_by_key(evidence, count)

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Looks for rows on the wrong side of the fold, and for pairs in two splits."""
        _, line = places(evidence.position)
        in_fold = (line - 1) // 20_000 == int(self.name[1:]) - 1
        leaks = []
        for wrong, problem in (
            (in_fold & (evidence.split != TEST), "lines of the test fold are outside test"),
            (~in_fold & (evidence.split == TEST), "lines outside the test fold are in test"),
        ):
            if wrong.any():
                leaks.append(f"{problem}: {describe_some(np.sort(evidence.position[wrong]), files)}")
        return leaks + find_shared_keys("(user, item) pair", evidence, files)
