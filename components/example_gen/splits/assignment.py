"""What the assignments of several protocols share. Leak checks use none of it."""

from collections.abc import Sequence

import numpy as np

from components.example_gen.rows import EVAL, TEST, TRAIN, Rows


def choose(test: np.ndarray, evaluation: np.ndarray) -> np.ndarray:
    """Indices into `SPLITS`, `[rows]` int8, from two masks `[rows]`; rows in both are `test`."""
    return np.where(test, TEST, np.where(evaluation, EVAL, TRAIN)).astype(np.int8)


class Planless:
    """Base of protocols that assign a row without knowing the other rows. They have nothing to plan."""

    needs_plan = False

    def summarize(self, rows: Rows) -> None:
        """Nothing: there is no plan."""

    def merge(self, parts: Sequence[None]) -> None:
        """Nothing: there is no plan."""

    def plan(self, whole: None) -> None:
        """Nothing: there is no plan."""
