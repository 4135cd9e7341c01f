"""Parquet files of every ordinary type."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.example_gen.readers import parquet
from components.example_gen.readers.parquet import check_types, read_row_group, row_groups, schema
from components.example_gen.readers.problems import Problems
from components.example_gen.readers.values import numbers, times, token_lists, tokens
from trainer_module.errors import DataError

COLUMNS = {
    "id": pa.array([2**64 - 1, None, 1], pa.uint64()),
    "word": pa.array(["a", "", None]).dictionary_encode(),
    "tags": pa.array([["x", None, ""], None, []], pa.large_list(pa.string())),
    "pair": pa.array([[1, 2], [5, 6], [3, 4]], pa.list_(pa.int64(), 2)),
    "ts": pa.array([1_000_000_000, None, 0], pa.timestamp("ns", "Europe/Paris")),
    "day": pa.array([1, None, 0], pa.date32()),
    "price": pa.array([Decimal("1.50"), None, Decimal("2")], pa.decimal128(10, 2)),
    "flag": pa.array([True, None, False]),
    "half": pa.array(np.array([1.5, np.nan, 2], np.float16)),
    "single": pa.array([1.5, None, float("nan")], pa.float32()),
    "a.b": pa.array([1, 2, 3]),
    "a": pa.array([4, 5, 6]),
    "part": pa.array([{"x": 1}] * 3),
    "took": pa.array([1, 2, 3], pa.duration("s")),
    "map": pa.array([[("k", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
    "parts": pa.array([[{"x": 1}]] * 3),
}


@pytest.fixture
def file(tmp_path):
    pq.write_table(pa.table(COLUMNS), tmp_path / "f.parquet", row_group_size=2)
    return str(tmp_path / "f.parquet")


def columns_of(file, *wanted):
    rows = [rows for group in row_groups(file) for rows in read_row_group(file, 0, group, wanted)]
    arrays = {name: pa.chunked_array([block.columns[name] for block in rows]).combine_chunks() for name in wanted}
    return arrays, np.concatenate([block.numbers for block in rows]).tolist()


@pytest.mark.parametrize(
    ("name", "convert", "arguments", "expected"),
    [
        ("id", tokens, (), [b"18446744073709551615", None, b"1"]),
        ("word", tokens, (), [b"a", None, None]),
        ("tags", token_lists, (None,), [[b"x"], [], []]),
        ("pair", token_lists, (None,), [[b"1", b"2"], [b"5", b"6"], [b"3", b"4"]]),
        ("ts", times, ("auto",), [1_000_000, None, 0]),
        ("day", times, ("auto",), [86_400_000_000, None, 0]),
        ("price", numbers, (), [1.5, None, 2.0]),
        ("price", tokens, (), [b"1.5", None, b"2"]),
        ("flag", numbers, (), [1.0, None, 0.0]),
        ("flag", tokens, (), [b"true", None, b"false"]),
        ("half", numbers, (), [1.5, None, 2.0]),
        ("single", numbers, (), [1.5, None, None]),
        ("a.b", tokens, (), [b"1", b"2", b"3"]),
        ("a", tokens, (), [b"4", b"5", b"6"]),
    ],
)
def test_every_ordinary_type_is_read(file, name, convert, arguments, expected):
    columns, rows = columns_of(file, name)
    problems = Problems(file, len(rows))
    assert convert(columns[name], *arguments, name, problems).to_pylist() == expected
    assert not problems.of_row
    assert rows == [1, 2, 3]


@pytest.mark.parametrize("name", ["part", "took", "map", "parts"])
def test_other_types_are_refused_with_file_and_column(file, name):
    with pytest.raises(DataError, match=rf"f\.parquet: column '{name}' is of type"):
        check_types(file, schema(file), [name])
    with pytest.raises(DataError, match=rf"f\.parquet: column '{name}' is of type"):
        columns_of(file, name)


def test_row_groups_know_their_first_rows(file, monkeypatch):
    assert [(group.index, group.first_row, group.num_rows) for group in row_groups(file)] == [(0, 1, 2), (1, 3, 1)]
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 1)
    rows = [rows for group in row_groups(file) for rows in read_row_group(file, 2, group, ["id"])]
    assert [block.numbers.tolist() for block in rows] == [[1], [2], [3]]
    assert [block.raw(0) for block in rows] == [b"{'id': 18446744073709551615}", b"{'id': None}", b"{'id': 1}"]


def test_a_damaged_file_is_named(file, tmp_path):
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "f.parquet").read_bytes()[:-7])
    for path in (tmp_path / "cut.parquet", tmp_path / "text.parquet"):
        if not path.exists():
            path.write_text("user,item\n")
        with pytest.raises(DataError, match=rf"{path.name}: cannot be read as Parquet"):
            row_groups(str(path))
    damaged = bytearray((tmp_path / "f.parquet").read_bytes())
    damaged[4:400] = bytes(396)
    (tmp_path / "pages.parquet").write_bytes(damaged)
    with pytest.raises(DataError, match=r"pages\.parquet: cannot be read as Parquet"):
        columns_of(str(tmp_path / "pages.parquet"), "id", "word")


def test_a_packed_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="a packed Parquet file; unpack it"):
        row_groups(str(tmp_path / "f.parquet.gz"))
