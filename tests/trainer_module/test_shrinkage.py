"""How much of a correction is believed: arithmetic by hand, bounds, and what noise gets."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from trainer_module.models.shrinkage import best_shrinkage, shrinkage_sums


def sums(correction, missing, weights=None) -> np.ndarray:
    """Of rows whose baseline is 3."""
    correction, missing = (np.asarray(values, np.float32) for values in (correction, missing))
    weights = np.ones_like(missing) if weights is None else np.asarray(weights, np.float32)
    baseline = np.full_like(missing, 3.0)
    return shrinkage_sums(*(tf.constant(each) for each in (baseline, correction, baseline + missing, weights))).numpy()


def test_sums_by_hand():
    # The third row is padding.
    found = sums([2.0, -1.0, 9.0], [1.0, 1.0, 9.0], [1.0, 1.0, 0.0])
    np.testing.assert_allclose(found, [4 + 1, 2 - 1, 1 + 1, 2])


@pytest.mark.parametrize(
    ("totals", "share"),
    [
        ((10, 10, 10, 100), 1.0),  # exactly what is missing
        ((10, 5, 2.5, 100), 0.5),  # twice what is missing
        ((10, 30, 90, 100), 1.0),  # a third of what is missing; not more than all of it is taken
        # 8 / 16 fits, (36 - 4) / 100 stays unexplained, and (0.32 / 16) / 0.25 is the squared relative error.
        ((16, 8, 36, 100), 0.5 * (1 - 4 * 0.08)),
        ((16, 8, 200, 100), 0.0),  # 1.98 / 16 is half of 0.25: within two standard errors of nothing
        ((10, -5, 20, 100), 0.0),
        ((0, 0, 20, 100), 0.0),
    ],
)
def test_share_by_hand(totals, share):
    assert best_shrinkage(totals) == pytest.approx(share)


values = st.lists(st.tuples(*[st.floats(-10, 10, width=32)] * 2), min_size=1, max_size=50)


@given(values)
def test_on_the_rows_that_chose_it_a_share_never_does_harm(rows):
    correction, missing = np.array(rows).T
    share = best_shrinkage(sums(correction, missing).astype(np.float64))
    assert 0 <= share <= 1
    error, without = (np.square(missing - f * correction).sum() for f in (share, 0.0))
    assert error <= without * (1 + 1e-4) + 1e-4


def test_noise_is_not_believed_and_signal_is():
    random = np.random.default_rng(0)
    missing = random.normal(size=(200, 500))
    noise = [best_shrinkage(sums(random.normal(size=500), row)) for row in missing]
    assert np.mean(np.array(noise) > 0) < 0.05
    signal = [best_shrinkage(sums(random.normal(size=500) + row, row)) for row in missing]
    # Least squares takes half.
    assert np.mean(signal) == pytest.approx(0.5, abs=0.02)
