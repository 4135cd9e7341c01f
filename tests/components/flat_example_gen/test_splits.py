import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.old_splits import EVAL, TEST, TRAIN
from components.flat_example_gen.config import ColumnSplit, RandomSplit, TimeSplit
from components.flat_example_gen.splits import Counts, assign, count_times, merge, plan

ROWS = np.arange(1, 20_001)
KEYS = st.lists(st.binary(max_size=3), min_size=1)


def keys(values: list[bytes]) -> pa.Array:
    return pa.array(values, pa.large_binary())


def test_rows_are_split_at_random_in_the_wanted_shares():
    split = assign(RandomSplit(test_fraction=0.2, eval_fraction=0.1), "f", ROWS, None, None)
    shares = np.bincount(split) / len(split)
    np.testing.assert_allclose(shares, [0.72, 0.08, 0.2], atol=0.01)


def test_seeds_and_files_have_splits_of_their_own():
    one = assign(RandomSplit(), "f", ROWS, None, None)
    assert np.array_equal(one, assign(RandomSplit(), "f", ROWS, None, None))
    for other in (assign(RandomSplit(seed=1), "f", ROWS, None, None), assign(RandomSplit(), "g", ROWS, None, None)):
        # Independent splits of shares .855, .045 and .1 agree in .743 of the rows.
        assert np.mean(one == other) == pytest.approx(0.743, abs=0.02)


@given(KEYS, st.data())
def test_a_row_stays_in_its_split_whatever_else_is_read(values, data):
    cut = data.draw(st.integers(0, len(values)))
    split, rows = RandomSplit(key="user", test_fraction=0.4, eval_fraction=0.4), np.arange(len(values))
    whole = assign(split, "f", rows, keys(values), None)
    parts = [
        assign(split, f"{i}", rows[: len(part)], keys(part), None)
        for i, part in enumerate((values[:cut], values[cut:]))
    ]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert len({(key, of_key) for key, of_key in zip(values, whole.tolist(), strict=True)}) == len(set(values))


def test_the_last_rows_in_time_are_held_out_and_equal_times_stay_together():
    times = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 9])
    split = TimeSplit(column="t", test_fraction=0.2, eval_fraction=0.25)
    cuts = plan(split, merge([count_times(times[5:]), count_times(times[:5])]))
    assert assign(split, "f", ROWS[:10], pa.array(times), cuts).tolist() == [TRAIN] * 6 + [EVAL] * 2 + [TEST] * 2


def test_times_may_be_text():
    texts = keys([b"2024-01-01", b"2024-06-01", b"2023-12-31", b"2025-01-01"])
    split = TimeSplit(column="t", type="text", test_fraction=0.25, eval_fraction=0.34)
    cuts = plan(split, count_times(texts.to_numpy(zero_copy_only=False)))
    assert assign(split, "f", ROWS[:4], texts, cuts).tolist() == [TRAIN, EVAL, TRAIN, TEST]


@given(st.lists(st.integers(0, 9), min_size=1), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_no_time_is_held_out_before_a_time_that_is_not(times, test_fraction, eval_fraction):
    split = TimeSplit(column="t", test_fraction=test_fraction, eval_fraction=eval_fraction)
    values = np.array(times, float)
    assigned = assign(split, "f", np.arange(len(times)), pa.array(values), plan(split, count_times(values)))
    ordered = assigned[np.argsort(values, kind="stable")]
    assert np.array_equal(ordered, np.sort(ordered))
    assert all(len(set(assigned[values == time].tolist())) == 1 for time in set(times))


def test_counts_add_up():
    merged = merge([Counts(np.array([1.0, 2.0]), np.array([3, 4])), Counts(np.array([2.0]), np.array([5]))])
    assert merged.times.tolist() == [1.0, 2.0]
    assert merged.counts.tolist() == [3, 9]


def test_a_column_may_say_it():
    split = ColumnSplit(column="fold", eval="dev", test="holdout")
    assert assign(split, "f", ROWS[:3], keys([b"holdout", b"train", b"dev"]), None).tolist() == [TEST, TRAIN, EVAL]
