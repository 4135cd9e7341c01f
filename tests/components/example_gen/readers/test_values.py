"""Conversions of columns, whatever type a file stores them in."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.readers.values import Problems, numbers, token_lists, tokens, words
from trainer_module.errors import DataError


def converted(convert, values, *arguments):
    """The values and the problems by row."""
    values = values if isinstance(values, pa.Array) else pa.array(values)
    problems = Problems("f.parquet", len(values))
    return convert(values, *arguments, "c", problems).to_pylist(), problems.of_row


@pytest.mark.parametrize(
    "values",
    [
        pa.array([10000000001, None]),
        pa.array([10000000001.0, None]),
        pa.array([10000000001.0, float("nan")]),
        pa.array([10000000001, None], pa.uint64()),
        pa.array(["10000000001", ""]),
        pa.array([" 10000000001\t", "\u00a0 "]),
        pa.array([b"10000000001", None], pa.large_binary()),
        pa.array(["10000000001", None], pa.string_view()),
        pa.array([b"10000000001", None], pa.binary_view()),
        pa.array([b"10000000001", None], pa.binary(11)),
        pa.array(["10000000001", None]).dictionary_encode(),
        pa.array([10000000001, None]).dictionary_encode(),
        pa.array([Decimal("10000000001.00"), None]),
    ],
    ids=lambda values: str(values.type),
)
def test_a_token_is_one_whatever_the_type(values):
    assert converted(tokens, values) == ([b"10000000001", None], {})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([2**64 - 1], pa.uint64()), b"18446744073709551615"),
        (pa.array([True]), b"true"),
        (pa.array(["007"]), b"007"),
        (pa.array([-0.0]), b"0"),
        (pa.array(np.array([2048 - 1], np.float16)), b"2047"),
        (pa.array([Decimal("7.50")]), b"7.5"),
        (pa.array([Decimal("0E-8")]), b"0"),
        (pa.array([1], pa.date32()), b"1970-01-02"),
    ],
    ids=str,
)
def test_tokens_of_other_types(values, expected):
    assert converted(tokens, values) == ([expected], {})


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([1.5]), "found the float 1.5"),
        (pa.array([2.0**53]), "below 9,007,199,254,740,992 are exact"),
        (pa.array([2.0**24], pa.float32()), "below 16,777,216 are exact as floats of 32 bits"),
        (pa.array([float("inf")]), "found the float inf"),
        (pa.array([b"\xff"]), "expected text in UTF-8, found the bytes b'\\xff'"),
    ],
    ids=str,
)
def test_a_token_that_its_type_cannot_hold_exactly_is_a_problem(values, shown):
    found, problems = converted(tokens, values)
    assert found == [None]
    assert problems[0].startswith("column 'c': expected")
    assert shown in problems[0]


def test_more_texts_may_stand_for_a_missing_token():
    problems = Problems("f", 3)
    assert tokens(pa.array(["NA", " NA ", "NAN"]), "c", problems, ["NA"]).to_pylist() == [None, None, b"NAN"]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1)))
def test_integers_and_floats_of_one_value_are_one_token(values):
    as_integers = converted(tokens, pa.array(values, pa.int64()))
    assert as_integers == converted(tokens, pa.array([float(value) for value in values], pa.float64()))
    assert as_integers == ([str(value).encode() for value in values], {})


def test_lists_where_one_value_is_expected_are_an_error():
    for convert in (tokens, numbers):
        with pytest.raises(DataError, match=r"f\.parquet: column 'c' holds lists .* say multivalent: true"):
            converted(convert, [[1]])
    with pytest.raises(DataError, match="holds lists"):
        converted(token_lists, [[[1]]], None)


@pytest.mark.parametrize(
    ("values", "separator", "expected"),
    [
        (pa.array(["a| b||a", "", None, "|"]), "|", [[b"a", b"b", b"a"], [], [], []]),
        (pa.array(["a::b"]), "::", [[b"a", b"b"]]),
        (pa.array([[1, None, 2], None, []]), None, [[b"1", b"2"], [], []]),
        (pa.array([["a", "", " b "]], pa.large_list(pa.large_string())), None, [[b"a", b"b"]]),
        (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)), None, [[b"1", b"2"], [], [b"3", b"4"]]),
        (pa.array([["x"], ["a"], None]).slice(1), None, [[b"a"], []]),
        (pa.array([7, None]), None, [[b"7"], []]),
        (pa.nulls(1), None, [[]]),
        (pa.nulls(1), "|", [[]]),
    ],
    ids=str,
)
def test_lists_of_tokens(values, separator, expected):
    assert converted(token_lists, values, separator) == (expected, {})


def test_a_problem_of_an_element_is_one_of_its_row():
    found, problems = converted(token_lists, [[1.0], [2.0, 2.5, 3.5]], None)
    assert found == [[b"1"], [b"2"]]
    assert list(problems) == [1]
    assert "found the float 2.5" in problems[1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([" +1.5 ", "-.5", "1e3", "2.", "", None]), [1.5, -0.5, 1000.0, 2.0, None, None]),
        (pa.array([True, False, None]), [1.0, 0.0, None]),
        (pa.array([Decimal("1.25")]), [1.25]),
        (pa.array([1.5, float("nan")]), [1.5, None]),
        (pa.array(np.array([1.5], np.float16)), [1.5]),
        (pa.array([2**63 - 1]), [2.0**63]),
        (pa.array([2**64 - 1], pa.uint64()), [2.0**64]),
        (pa.nulls(1), [None]),
    ],
    ids=str,
)
def test_numbers_of_every_type(values, expected):
    assert converted(numbers, values) == (expected, {})


WAY_OUT = {"nan": ". If it stands for a missing value, set missing_values: ['', 'nan'] for the table"}


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "0x10", "1_000", "1,5", "cheap", ".", "1e", "٣", "1 2"])
def test_other_texts_are_no_numbers(text):
    assert converted(numbers, [text]) == (
        [None],
        {0: f"column 'c': expected a number, found {text!r}{WAY_OUT.get(text, '')}"},
    )


@pytest.mark.parametrize("values", [["1e99"], ["-1e999"], [1e39], [float("inf")]], ids=str)
def test_numbers_beyond_float32_are_a_problem(values):
    found, problems = converted(numbers, values)
    assert found == [None]
    assert "column 'c': expected a number within the range of float32" in problems[0]


@given(st.lists(st.floats(-(2.0**100), 2.0**100)))
def test_numbers_come_back_as_they_were_written(values):
    assert converted(numbers, pa.array([repr(value) for value in values], pa.string())) == (values, {})


def test_dates_are_no_numbers():
    with pytest.raises(DataError, match="is of type date32"):
        converted(numbers, pa.array([1], pa.date32()))


def test_words_are_lower_case_and_keep_apostrophes_and_years():
    found = words(pa.array(["Schindler's List (1993)", None, "", "a_b-Ça ça", "Schindler's List (1993)"]))
    first = [b"schindler's", b"list", b"1993"]
    assert found.to_pylist() == [first, [], [], [b"a", b"b", "ça".encode(), "ça".encode()], first]
    assert found.type == pa.large_list(pa.large_binary())
    assert words(pa.array([7])).to_pylist() == [[b"7"]]


def test_only_the_first_problem_of_a_row_counts():
    problems = Problems("f", 4)
    problems.add(np.array([True, False, False, False]), lambda row: f"first of {row}")
    problems.add(np.array([True, False, True, False]), lambda row: f"second of {row}")
    assert problems.of_row == {0: "first of 0", 2: "second of 2"}
    assert problems.good().tolist() == [1, 3]


def test_missing_texts_have_no_words():
    assert words(pa.array([None, ""])).to_pylist() == [[], []]
    assert words(pa.array([float("nan"), None])).to_pylist() == [[], []]
