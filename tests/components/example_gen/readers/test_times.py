"""Times of every spelling become microseconds since 1970."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.readers.problems import Problems
from components.example_gen.readers.times import guess_unit, times
from trainer_module.errors import DataError

SECOND = 1_000_000
# 2024-05-01 10:00:00 UTC
TEN = 1_714_557_600


def converted(values, unit="auto"):
    values = values if isinstance(values, pa.Array) else pa.array(values)
    problems = Problems("f.csv", len(values))
    return times(values, unit, "ts", problems).to_pylist(), problems.of_row


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
    assert f"{TEN * 1000} looks like a time in milliseconds, and most others look like seconds" in problems[2]
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
    ("values", "unit"),
    [
        ([TEN, 0, TEN * 1000], "s"),
        ([str(TEN * 1000), ""], "ms"),
        (["2024-05-01"], "iso"),
        ([0], "s"),
        ([None], None),
        (pa.array([1], pa.timestamp("s")), None),
    ],
    ids=str,
)
def test_the_unit_is_guessed_from_most_values(values, unit):
    assert guess_unit(values if isinstance(values, pa.Array) else pa.array(values)) == unit
