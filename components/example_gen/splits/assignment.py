"""What the assignments of several protocols share. Leak checks use none of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from components.example_gen.rows import EVAL, TEST, TRAIN, Rows


@dataclass(frozen=True)
class HeldOut:
    """Plan of a protocol that holds out single rows.

    Attributes:
        test: Positions of the `test` rows, ascending, `[n]` int64.
        evaluation: Positions of the `eval` rows; empty where hashes draw them among the other rows.
    """

    test: np.ndarray
    evaluation: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def choose(test: np.ndarray, evaluation: np.ndarray) -> np.ndarray:
    """Indices into `SPLITS`, `[rows]` int8, from two masks `[rows]`; rows in both are `test`."""
    return np.where(test, TEST, np.where(evaluation, EVAL, TRAIN)).astype(np.int8)


def run_lengths(groups: np.ndarray) -> np.ndarray:
    """Lengths of the runs of equal values in a sorted array."""
    return np.unique(groups, return_counts=True)[1]


def from_end(groups: np.ndarray) -> np.ndarray:
    """0 for the last of each run of equal values in a sorted array, 1 for the one before it, and so on."""
    lengths = run_lengths(groups)
    return np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(len(groups))


class Planless:
    """Base of protocols that assign a row without knowing the other rows. They have nothing to plan."""

    needs_plan = False

    def summarize(self, rows: Rows) -> None:
        """Nothing: there is no plan."""

    def merge(self, parts: Sequence[None]) -> None:
        """Nothing: there is no plan."""

    def plan(self, whole: None) -> None:
        """Nothing: there is no plan."""
