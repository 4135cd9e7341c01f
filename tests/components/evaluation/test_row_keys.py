import numpy as np
import pyarrow as pa

from components.evaluation.row_keys import row_keys

BYTES, INTEGERS, NUMBERS = (pa.large_list(each) for each in (pa.large_binary(), pa.int64(), pa.float32()))


def batch(users, tags, times, ratings) -> pa.RecordBatch:
    arrays = [pa.array(users, BYTES), pa.array(tags, BYTES), pa.array(times, INTEGERS), pa.array(ratings, NUMBERS)]
    return pa.RecordBatch.from_arrays(arrays, ["user", "tags", "time", "rating"])


ROWS = batch(
    [[b"a"], [b"b"], [b"a"], [b"a"], []],
    [[b"x", b"y"], [], [b"y", b"x"], [b"x", b"y"], [b"a"]],
    [[1], [1], [1], [1], [1]],
    [[4.0], [4.0], [4.0], [4.0], [4.0]],
)
ALL = ("user", "tags", "time", "rating")


def test_equal_rows_have_equal_keys_and_others_do_not():
    keys = row_keys(ROWS, ALL)
    assert keys[0] == keys[3]
    assert len(set(keys.tolist())) == 4


def test_only_the_named_columns_count():
    keys = row_keys(ROWS, ("user", "time"))
    assert keys[0] == keys[2] == keys[3] != keys[1]


def test_keys_do_not_depend_on_batches_or_on_the_order_of_columns():
    parts = [row_keys(ROWS.slice(start, length), ALL[::-1]) for start, length in ((0, 2), (2, 3))]
    assert np.concatenate(parts).tolist() == row_keys(ROWS, ALL).tolist()


def test_a_value_counts_for_its_own_column():
    swapped = batch([[b"x"]], [[b"a"]], [[1]], [[1.0]])
    assert row_keys(swapped, ALL)[0] != row_keys(batch([[b"a"]], [[b"x"]], [[1]], [[1.0]]), ALL)[0]


def test_large_integers_are_told_apart():
    keys = row_keys(batch([[]] * 2, [[]] * 2, [[2**60], [2**60 + 1]], [[]] * 2), ALL)
    assert keys[0] != keys[1]


def test_numbers_that_differ_have_other_keys():
    same = batch([[b"a"]] * 3, [[]] * 3, [[1], [2], [1]], [[1.0], [1.0], [1.5]])
    assert len(set(row_keys(same, ALL).tolist())) == 3
