"""Times of every spelling become microseconds since 1970."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.readers import blocks
from components.example_gen.readers.blocks import find_pieces
from components.example_gen.readers.problems import Problems
from components.example_gen.readers.time_units import ColumnUnit, unit_of
from components.example_gen.readers.times import GUESSES, suggested_units, times
from trainer_module.data.tables import InteractionsTable
from trainer_module.errors import DataError

SECOND = 1_000_000
# 2024-05-01 10:00:00 UTC
TEN = 1_714_557_600


def converted(values, unit="auto"):
    values = values if isinstance(values, pa.Array) else pa.array(values)
    problems = Problems("f.csv", len(values))
    is_guess = unit == "auto"
    if is_guess:
        unit = GUESSES[int(np.bincount(suggested_units(values), minlength=1).argmax())]
    return times(values, unit, "ts", problems, is_guess).to_pylist(), problems.of_row


def read_units(tmp_path, files: dict[str, str | pa.Table], unit="auto") -> ColumnUnit:
    for name, content in files.items():
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        else:
            pq.write_table(content, tmp_path / name, row_group_size=2)
    table = InteractionsTable.model_validate({"files": list(files), "time": {"name": "ts", "unit": unit}})
    return unit_of(table, find_pieces([str(tmp_path / name) for name in files], table))


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([TEN], "auto"),
        ([TEN * 1000], "auto"),
        ([TEN * SECOND], "auto"),
        ([TEN * 1000 * SECOND + 999], "auto"),
        ([float(TEN)], "auto"),
        ([f" {TEN} "], "auto"),
        ([f"{TEN}.0"], "s"),
        ([str(TEN * 1000 * SECOND + 999)], "ns"),
        (["2024-05-01T10:00:00Z"], "auto"),
        (["2024-05-01T10:00:00"], "iso"),
        (["2024-05-01 10:00"], "iso"),
        (["2024-05-01 10:00:00 UTC"], "iso"),
        (["2024-05-01T12:00:00+02:00"], "iso"),
        (["2024-05-01T06:30:00.000-0330"], "iso"),
        (["2024-05-01 12:00:00.0000009+02"], "iso"),
        (pa.array([TEN], pa.timestamp("s")), "auto"),
        (pa.array([TEN * 1000 * SECOND + 1], pa.timestamp("ns", "Asia/Tokyo")), "auto"),
        (pa.array([TEN * 1000], pa.timestamp("ms", "UTC")), "iso"),
        (pa.array([TEN]).dictionary_encode(), "auto"),
        (pa.array([TEN], pa.uint64()), "s"),
    ],
    ids=str,
)
def test_one_moment_in_every_spelling(values, unit):
    assert converted(values, unit) == ([TEN * SECOND], {})


def test_dates_are_midnights():
    day = 19_844 * 86_400 * SECOND
    assert converted(["2024-05-01"]) == ([day], {})
    assert converted(pa.array([19_844], pa.date32())) == ([day], {})
    assert converted(pa.array([19_844 * 86_400_000], pa.date64())) == ([day], {})


def test_fractions_and_times_before_1970():
    assert converted(["1969-12-31T23:59:59.5Z"]) == ([-SECOND // 2], {})
    assert converted([-1.5], "s") == ([-1_500_000], {})
    assert converted(pa.array([-1], pa.timestamp("ns"))) == ([-1], {})


def test_missing_times_are_null():
    assert converted(["", None, " "]) == ([None] * 3, {})
    assert converted([float("nan"), None], "s") == ([None] * 2, {})
    assert converted(pa.nulls(1)) == ([None], {})


@pytest.mark.parametrize(
    "text",
    ["2024-02-30", "2023-02-29", "2024-13-01", "2024-05-01T25:00:00", "0000-01-01", "01/05/2024", "noon", "2024"],
)
def test_a_text_that_is_no_time_is_a_problem(text):
    found, problems = converted([text], "iso")
    assert found == [None]
    assert problems[0].startswith("column 'ts': expected")
    assert problems[0].endswith(f"found {text!r}")


def test_numbers_of_mixed_magnitudes_are_a_problem():
    _, problems = converted([TEN, TEN + 1, TEN * 1000, 0])
    assert list(problems) == [2]
    assert (
        f"{TEN * 1000} looks like a time in milliseconds, and the first values of the column look like" in problems[2]
    )
    assert converted([1, TEN * 1000], "ms") == ([1000, TEN * SECOND], {})


def test_times_out_of_range_are_a_problem():
    for values, unit in (([2**62], "s"), ([1e300], "s"), ([float("inf")], "ns"), ([str(10**30)], "us")):
        found, problems = converted(values, unit)
        assert found == [None]
        assert "the years 1 to 9999" in problems[0]


def test_a_unit_asks_for_numbers():
    found, problems = converted(["5", "noon"], "ms")
    assert found == [5000, None]
    assert problems == {1: "column 'ts': expected a time in milliseconds since 1970, found 'noon'"}


@pytest.mark.parametrize(
    ("values", "unit"), [([[1]], "auto"), ([True], "auto"), ([1], "iso"), (pa.array([1], pa.time32("s")), "auto")]
)
def test_columns_of_other_types_are_refused(values, unit):
    with pytest.raises(DataError, match=r"f\.csv: column 'ts' is of type"):
        converted(values, unit)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-23 * 60, 23 * 60))
def test_iso_texts_are_read_as_python_writes_them(moment, minutes):
    hours, rest = divmod(abs(minutes), 60)
    text = f"{moment.isoformat()}{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) - timedelta(minutes=minutes)
    assert converted([text], "iso") == ([since // timedelta(microseconds=1)], {})


@pytest.mark.parametrize(
    ("values", "units"),
    [
        ([TEN, 0, TEN * 1000], ["s", "ms"]),
        ([str(TEN * 1000), "", " 2024-05-01 ", "noon"], ["ms", "iso", "iso"]),
        ([0], []),
        ([None, float("nan"), -TEN * 1.0], ["s"]),
        (pa.array([1], pa.timestamp("s")), []),
    ],
    ids=str,
)
def test_values_suggest_units(values, units):
    values = values if isinstance(values, pa.Array) else pa.array(values)
    assert [GUESSES[unit] for unit in suggested_units(values)] == units


def test_a_column_has_one_form():
    _, problems = converted(["5", "7", "2024-05-01"])
    assert problems == {
        2: "column 'ts': expected a time in seconds since 1970, like the first values of the column, found '2024-05-01'"
    }
    _, problems = converted(["2024-05-01", "2024-05-02", "5"])
    assert problems == {2: "column 'ts': expected a time of ISO 8601 such as 2024-05-01T10:00:00Z, found '5'"}


@pytest.mark.parametrize("block_bytes", [16, 200, 16 << 20])
def test_the_unit_is_that_of_the_first_thousand_values_whatever_the_blocks(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", block_bytes)
    few = "ts\n" + f"{TEN}\n" * 400
    many = "ts\n\n0\n" + f"{TEN * 1000}\n" * 700
    # Of the first thousand, 600 are milliseconds; then seconds alone would win.
    assert read_units(tmp_path, {"a.csv": few, "b.csv": many, "c.csv": few}) == ColumnUnit("ms", True)
    assert read_units(tmp_path, {"a.csv": few, "c.csv": few, "b.csv": many}) == ColumnUnit("s", True)
    assert read_units(tmp_path, {"a.csv": "ts\n2024-05-01\n", "b.csv": "ts\n"}) == ColumnUnit("iso", True)
    assert read_units(tmp_path, {"a.csv": "ts\n0\n"}) == ColumnUnit("s", True)
    assert read_units(tmp_path, {"a.csv": few}, "ms") == ColumnUnit("ms")


def test_parquet_says_by_its_type_what_a_time_is(tmp_path):
    stamps = pa.table({"ts": pa.array([TEN] * 5, pa.timestamp("s"))})
    numbers = pa.table({"ts": pa.array([TEN * 1000] * 5)})
    files = {"a.parquet": stamps, "b.parquet": numbers}
    assert read_units(tmp_path, files) == ColumnUnit("ms", True)
