import json
import pickle

import pytest

from components.example_gen.output.bad_rows import BadRow, kind_of
from components.example_gen.output.outcome import Outcome, check_bad_rows, combine
from trainer_module.errors import DataError


@pytest.mark.parametrize(
    "problem, kind",
    [
        ("column 'label': expected a number, found 'x; y'", "column 'label': expected a number"),
        (
            "column 'label': expected 0 or 1, found 7; to make clicks, set label: {name: label}",
            "column 'label': expected 0 or 1; to make clicks, set label: {name: label}",
        ),
        ("expected 3 fields, found 4", "expected 3 fields"),
        ("column 'u': user 'u17' is not in the table users", "column 'u': user ... is not in the table users"),
        ("column 'u': a NUL byte; expected text", "column 'u': a NUL byte; expected text"),
    ],
)
def test_a_kind_names_the_column_and_not_the_value(problem, kind):
    assert kind_of(problem) == kind


def bad(count: int, expected: str) -> list[BadRow]:
    return [
        BadRow("f.csv", line, f"column 'label': expected {expected}, found {line}", "raw")
        for line in range(1, count + 1)
    ]


def test_the_advice_says_what_most_rows_have_in_common():
    outcome = combine([Outcome.of_bad_rows(bad(30, "0 or 1")), Outcome.of_bad_rows(bad(5, "a number"))], 0)
    with pytest.raises(DataError) as refused:
        check_bad_rows(outcome, 0, "data")
    assert "30 of them have the same problem: column 'label': expected 0 or 1. If such rows are right" in str(
        refused.value
    )
    assert "data.max_bad_rows=35" in str(refused.value)


def test_a_few_rows_are_the_rows_fault():
    with pytest.raises(DataError, match=r"\nMend the lines, or set data.max_bad_rows=3"):
        check_bad_rows(Outcome.of_bad_rows(bad(3, "0 or 1")), 0, "data")


def test_it_travels_as_one_text_and_keeps_no_more_rows_than_are_used():
    outcome = combine([Outcome.of_bad_rows(bad(5000, "0 or 1"))], 20)
    assert len(outcome.bad_rows) == 20 and outcome.num_bad_rows == 5000
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert json.loads(outcome.to_json())["problems"] == [["column 'label': expected 0 or 1", 5000]]
