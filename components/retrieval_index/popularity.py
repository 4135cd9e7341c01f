"""Divides a catalog by popularity into three parts that hold a third of the training rows each."""

import numpy as np


def third_bounds(train_counts: np.ndarray) -> np.ndarray:
    """The smallest numbers of training rows of items of the top and of the middle third, int64 `[2]`.

    The top third is the most popular items that together hold a third of all training rows, the middle third the next
    ones, up to two thirds. Items with equally many rows are in the same third, the more popular one. A third may
    therefore hold more rows than its share, and the next one fewer or none.

    Args:
        train_counts: Number of training rows of each item, int64 `[items]`, not empty.
    """
    counts = np.sort(train_counts)[::-1]
    held = np.cumsum(counts)
    # The first place at which the items up to it hold the share. In whole numbers: 3 * held >= share * total.
    places = [int(np.argmax(3 * held >= share * held[-1])) for share in (1, 2)]
    return counts[places]
