"""Which files belong to a window of spans."""

import re
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_gen.spans import (
    SpanFile,
    as_ranges,
    check_pattern,
    choose,
    has_span,
    number_of,
    read_spans,
    wildcards,
)
from trainer_module.errors import DataError

_TEXT = st.text(alphabet="abz._-", min_size=1, max_size=4)
_NUMBER = st.integers(min_value=0, max_value=10**9)


def days(*numbers: int, version: int | None = None) -> list[SpanFile]:
    return [SpanFile(f"data/{number}-{version}.csv", number, version) for number in numbers]


@settings(deadline=None)
@given(_TEXT, _TEXT, _NUMBER, _NUMBER, st.integers(min_value=1, max_value=12))
def test_span_and_version_are_read_where_the_markers_stand(before, after, span, version, width):
    pattern = before + "{SPAN}/" + after + "{VERSION}" + after + "/*.csv"
    check_pattern(pattern)
    path = f"my {{data}}+/{before}{span:0{width}}/{after}{version:0{width}}{after}/part.csv"
    assert read_spans("my {data}+", [path], [pattern]) == [SpanFile(path, span, version)]


@settings(deadline=None)
@given(st.dates(min_value=date(1970, 1, 1)))
def test_a_date_is_its_number_of_days(day):
    pattern = "{YYYY}{MM}{DD}.csv"
    check_pattern(pattern)
    (file,) = read_spans(
        "gs://b/data/", [f"gs://b/data/{day:%Y%m%d}.csv".replace(f"{day:%Y}", f"{day.year:04}", 1)], [pattern]
    )
    assert file.span == number_of(day)
    assert date(1970, 1, 1) + timedelta(days=file.span) == day


@settings(deadline=None)
@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 70), st.one_of(st.none(), st.integers(0, 70)))
def test_a_window_ends_where_it_should_and_is_no_longer_than_asked(spans, window, last):
    end = max(spans) if last is None else last
    begin = max(end - window + 1, 0) if window else 0
    expected = {span for span in spans if begin <= span <= end}
    if not expected:
        with pytest.raises(DataError, match=r"data\.window, data\.last_span"):
            choose(days(*spans), window, last, "warning")
        return
    chosen = choose(days(*spans), window, last, "warning")
    assert set(chosen.spans) == expected
    assert len(chosen.files) == len(expected)
    is_whole = expected == set(range(begin if window else min(spans), end + 1))
    assert (chosen.warning is None) == is_whole


def test_left_out_spans_are_neither_read_nor_missing():
    chosen = choose(days(1, 2, 3, 4, 6), 4, None, "error", leave_out=[4, 5])
    assert (chosen.spans, chosen.newest_files, chosen.warning) == ((3, 6), {"data/6-None.csv"}, None)
    # Without the newest one, the window ends earlier.
    assert choose(days(1, 2, 3), 2, None, "error", leave_out=[3]).spans == (1, 2)
    with pytest.raises(DataError, match=r"data\.leave_out names all spans"):
        choose(days(1, 2), 2, None, "warning", leave_out=[1, 2])


def test_each_span_is_read_in_its_newest_version():
    files = [*days(1, 2, 3, version=10), *days(1, 2, version=9)]
    chosen = choose(files, 2, 2, "error")
    assert chosen.files == ["data/1-10.csv", "data/2-10.csv"]
    assert (chosen.spans, chosen.version) == ((1, 2), 10)


def test_what_is_missing_is_said():
    chosen = choose(days(1, 2, 4, 8), 6, None, "warning")
    assert chosen.warning == "of the window of spans 3-8, 4 missing: 3,5-7; there are 1-2,4,8"


def test_a_window_longer_than_what_is_there_is_clipped_and_said():
    chosen = choose(days(4, 5), 7, None, "warning")
    assert chosen.spans == (4, 5)
    assert chosen.warning == "of the window of spans 0-5, 4 missing: 0-3; there are 4-5"


def test_missing_spans_may_be_an_error():
    with pytest.raises(
        DataError,
        match=r"3 missing: 5-7; there are 4,8\. Deliver what is missing, or set data\.missing_spans",
    ):
        choose(days(4, 8), 5, None, "error")


def test_numbers_far_apart_cost_nothing():
    chosen = choose(days(1, 10**12), 0, None, "warning")
    assert chosen.warning
    assert "999,999,999,998 missing: 2-999999999999;" in chosen.warning


def test_an_empty_window_names_what_is_there():
    with pytest.raises(
        DataError,
        match=re.escape("no span in 9-10 (data.window, data.last_span); there are 1-2 in data/1-None.csv"),
    ):
        choose(days(1, 2), 2, 10, "warning")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/day-old/a.csv", "data/day-old/a.csv: {SPAN} is 'old', and a number is expected"),
        ("data/day-/a.csv", "data/day-/a.csv: {SPAN} is '', and a number is expected"),
    ],
)
def test_a_span_that_is_no_number_is_named(path, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_spans("data", ["data/day-1/a.csv", path], ["day-{SPAN}/*.csv"])


def test_a_date_that_is_none_is_named():
    with pytest.raises(DataError, match=r"2024-02-30\.csv: its path is no date \(day is out of range for month\)"):
        read_spans("data", ["data/2024-02-30.csv"], ["{YYYY}-{MM}-{DD}.csv"])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{SPAM}/*.csv", "has the marker {SPAM}; known are {SPAN}"),
        ("{SPAN}/{SPAN}.csv", "{SPAN} more than once"),
        ("{VERSION}.csv", "{VERSION} and no {SPAN}"),
        ("{YYYY}-{MM}.csv", "{YYYY}, {MM} and {DD} together"),
        ("{YYYY}-{MM}-{DD}-{SPAN}.csv", "{YYYY}, {MM} and {DD} together"),
        ("{SPAN}*.csv", "'{SPAN}*' is open"),
        ("?{SPAN}.csv", "'?{SPAN}' is open"),
        ("{SPAN}{VERSION}.csv", "is open"),
        ("2{SPAN}.csv", "'2{SPAN}' is open"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_refused(pattern, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "glob"),
    [
        ("day-{SPAN}/v{VERSION}/*.csv", "day-*/v*/*.csv"),
        ("{YYYY}{MM}{DD}/[ab]?.csv", "*/[ab]?.csv"),
        ("clicks/*.csv", "clicks/*.csv"),
    ],
)
def test_the_driver_gets_wildcards(pattern, glob):
    check_pattern(pattern)
    assert wildcards(pattern) == glob
    assert has_span(pattern) == ("{" in pattern)


def test_wildcards_beside_markers_match_as_in_a_file_system():
    pattern = "*/[!x]-{SPAN}.??v"
    (file,) = read_spans("data", ["data/any.thing/a-007.csv"], [pattern])
    assert file.span == 7
    with pytest.raises(DataError):
        read_spans("data", ["data/any/x-007.csv"], [pattern])


@settings(deadline=None)
@given(st.sets(st.integers(0, 30)))
def test_ranges_hold_the_numbers(numbers):
    text = as_ranges(sorted(numbers))
    if text.endswith("..."):
        return
    read = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == numbers


def test_dates_are_shown_as_dates():
    leap_day = number_of(date(2024, 2, 29))
    assert as_ranges([leap_day - 1, leap_day, leap_day + 1, leap_day + 3], by_date=True) == (
        "2024-02-28/2024-03-01,2024-03-03"
    )
    chosen = choose(days(leap_day, leap_day + 2), 2, None, "warning", by_date=True)
    assert chosen.warning == (
        "of the window of spans 2024-03-01/2024-03-02, 1 missing: 2024-03-01; there are 2024-02-29,2024-03-02"
    )
