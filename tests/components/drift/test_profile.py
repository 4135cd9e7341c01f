import numpy as np
import pyarrow as pa

from components.drift.profile import NUM_POINTS, Numbers, Tokens, load, profile_of, save

KINDS = {"tags": "tokens", "user": "tokens", "price": "numbers", "clicked": "label"}


def batch(tags, user, price, clicked) -> pa.RecordBatch:
    types = {"tags": pa.large_binary(), "user": pa.int64(), "price": pa.float32(), "clicked": pa.float32()}
    values = {"tags": tags, "user": user, "price": price, "clicked": clicked}
    return pa.record_batch({name: pa.array(values[name], pa.large_list(types[name])) for name in types})


TWO = [
    batch([[b"a", b"b"], [], [b"a"]], [[1], [2], [1]], [[1.5], [], [2.5]], [[0], [1], [1]]),
    batch([[b"c"], [b"a"]], [[3], [1]], [[1.5], [9.0]], [[0], [0]]),
]


def test_batches_are_counted_together():
    profile = profile_of(TWO, KINDS)
    assert profile.rows == 5
    tags, user, price = (profile.columns[name] for name in ("tags", "user", "price"))
    assert isinstance(tags, Tokens) and isinstance(user, Tokens) and isinstance(price, Numbers)
    assert dict(zip(tags.tokens.to_pylist(), tags.counts.tolist(), strict=True)) == {b"a": 3, b"b": 1, b"c": 1}
    assert (tags.missing, tags.total) == (1, 6)
    assert user.tokens.to_pylist() == [b"1", b"2", b"3"]
    assert (price.values.tolist(), price.weights.tolist(), price.missing) == ([1.5, 2.5, 9.0], [2, 1, 1], 1)
    assert profile.columns["clicked"].mean == 0.4


def test_many_numbers_become_quantiles():
    numbers = np.arange(5000, dtype=np.float32)
    rows = pa.record_batch({"price": pa.array([[x] for x in numbers], pa.large_list(pa.float32()))})
    column = profile_of([rows], {"price": "numbers"}).columns["price"]
    assert isinstance(column, Numbers)
    assert len(column.values) == NUM_POINTS and column.total == 5000
    assert abs(np.median(column.values) - 2499.5) < 5


def test_what_is_saved_is_read_again(tmp_path):
    profile = profile_of(TWO, KINDS)
    save(profile, str(tmp_path / "profile"))
    again = load(str(tmp_path / "profile"))
    assert again is not None and again.rows == profile.rows and list(again.columns) == list(profile.columns)
    for name, column in profile.columns.items():
        other = again.columns[name]
        assert other.missing == column.missing and type(other) is type(column)
        if isinstance(column, Tokens) and isinstance(other, Tokens):
            assert other.tokens.equals(column.tokens) and other.counts.tolist() == column.counts.tolist()
        elif isinstance(column, Numbers) and isinstance(other, Numbers):
            assert other.values.tolist() == column.values.tolist()
            assert (other.mean, other.deviation) == (column.mean, column.deviation)


def test_a_profile_that_is_gone_is_none(tmp_path):
    assert load(str(tmp_path / "nowhere")) is None


def test_columns_without_any_value_have_profiles(tmp_path):
    empty = profile_of([batch([[]], [[]], [[]], [[]])], KINDS)
    save(empty, str(tmp_path))
    again = load(str(tmp_path))
    assert again is not None and [column.total for column in again.columns.values()] == [1, 1, 1, 1]
