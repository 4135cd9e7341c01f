"""The protocols `u1` to `u5`: the official folds of MovieLens 100K."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from components.example_gen.rows import EVAL, POSITION, TEST, Entities, Rows, places
from components.example_gen.splits.assignment import Planless, choose
from components.example_gen.splits.evidence import (
    Evidence,
    describe_some,
    find_shared_keys,
    pair_keys,
    parts_by_key,
)
from components.example_gen.splits.hashing import Hasher, drawn
from components.example_gen.splits.protocol import Split
from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets.movielens import MOVIELENS_100K
from trainer_module.data.tables import InteractionsTable
from trainer_module.errors import DataError

_FOLD_LINES = 20_000
_LINES = 100_000


class FoldSplit(Split):
    """An official fold of MovieLens 100K: fold k tests on lines 20000(k-1)+1 to 20000k of `u.data`.

    Attributes:
        by: `u1` to `u5`.
        eval_fraction: Share of the other rows that become `eval`, by a hash of user and item.
        seed: Of that hash.
    """

    by: Literal["u1", "u2", "u3", "u4", "u5"]
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def fold(self) -> int:
        """1 to 5."""
        return int(self.by[1:])

    def protocol(self, interactions: InteractionsTable) -> "FoldProtocol":
        return FoldProtocol(self)

    def check(self, dataset: Dataset) -> None:
        if dataset.name != MOVIELENS_100K.name:
            raise ValueError(
                f"split by {self.by}: {self.by} is a fold of movielens-100k; take another split for {dataset.name}"
            )

    def check_num_rows(self, num_rows: int) -> None:
        if num_rows != _LINES:
            raise DataError(
                f"data.split: {self.by} is a fold of MovieLens 100K, given by line numbers of u.data, and needs "
                f"exactly {_LINES:,} lines; this u.data has {num_rows:,}. Take one of: random, user, time, "
                "leave-last-out, stratified."
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


SPLIT = FoldSplit
