"""Thirds of a catalog by hand."""

import numpy as np
import pytest

from components.retrieval_index.popularity import third_bounds


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        # 30 rows: the first item holds 10, the next two another 10, all others the rest.
        ([1, 10, 5, 5, 4, 3, 2, 0], [10, 5]),
        # One item holds more than two thirds: nothing is in the middle.
        ([9, 1, 1], [9, 9]),
        # All alike: all are in the top third.
        ([2, 2, 2, 2], [2, 2]),
        # 10 rows: a third is 3.33, so that the first item with 3 is not enough.
        ([3, 3, 2, 1, 1], [3, 2]),
        ([0, 0], [0, 0]),
    ],
)
def test_each_third_holds_a_third_of_the_rows(counts, bounds):
    assert third_bounds(np.array(counts, np.int64)).tolist() == bounds
