"""JSON lines: exact values, lists, and what is wrong with a line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.readers.jsonl import column_names, parse
from components.example_gen.readers.problems import Problems
from components.example_gen.readers.records import TextBlock
from components.example_gen.readers.values import token_lists, tokens
from trainer_module.errors import DataError


def parsed(text: str | bytes, *wanted: str):
    data = text.encode() if isinstance(text, str) else text
    rows, bad = parse(TextBlock(data, 0, 5, data.count(b"\n")), wanted, "f.jsonl", 0)
    return rows, [(row.line, row.problem, row.raw) for row in bad]


def tokens_of(values: list, convert=tokens, **arguments):
    rows, bad = parsed("".join(json.dumps({"id": value}) + "\n" for value in values), "id")
    assert not bad
    problems = Problems("f", len(values))
    found = convert(rows.columns["id"], name="id", problems=problems, **arguments).to_pylist()
    assert not problems.of_row
    return found


@pytest.mark.parametrize(
    "values",
    [
        [1, None, 2**64 - 1],
        [1, None, 2**64],
        [-1, 2**63],
        [2**63 - 1, "a"],
        [10000000001, 10000000001.0],
        ["007", 7, True],
    ],
    ids=str,
)
def test_identifiers_are_exact_whatever_else_their_column_holds(values):
    text = [int(value) if isinstance(value, float) else value for value in values]
    expected = [None if value is None else str(value).encode() for value in text]
    assert tokens_of(values) == [b"true" if value == b"True" else value for value in expected]


@given(st.lists(st.one_of(st.integers(), st.text(st.characters(codec="utf-8"), min_size=1))))
def test_integers_and_texts_are_exact(values):
    found = tokens_of([f"x{value}y" if isinstance(value, str) else value for value in values])
    assert found == [(f"x{value}y" if isinstance(value, str) else str(value)).encode() for value in values]


def test_lists_of_tokens():
    found = tokens_of([["a", "b"], None, [], [1, 2], "c"], token_lists, separator=None)
    assert found == [[b"a", b"b"], [], [], [b"1", b"2"], [b"c"]]


def test_numbers_and_missing_keys():
    rows, bad = parsed('{"a": 1.5, "b": true}\n\n  \n{"a": 2}\r\n{"b": null}', "a", "b")
    assert not bad
    assert rows.columns["a"].to_pylist() == [1.5, 2.0, None]
    assert rows.columns["b"].to_pylist() == [True, None, None]
    assert rows.numbers.tolist() == [5, 8, 9]
    assert rows.raw(1) == b'{"a": 2}'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": }', "not JSON: Expecting value at character 7"),
        (b"[1]", "found a list; expected a JSON object"),
        (b"3", "found a number"),
        (b'{"a": "\xe9"}', "bytes that are not UTF-8"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
    ],
)
def test_a_bad_line_is_named(line, problem):
    rows, ((number, found, raw),) = parsed(b'{"a": 1}\n' + line + b'\n{"a": 2}\n', "a")
    assert (number, raw) == (6, line.decode("utf-8", "backslashreplace"))
    assert problem in found
    assert rows.columns["a"].to_pylist() == [1, 2]


@pytest.mark.parametrize("value", ['{"b": 1}', "[[1]]", '[{"b": 1}]'])
def test_nested_objects_are_refused(value):
    text = f'{{"a": 1}}\n{{"a": {value}}}\n'
    with pytest.raises(DataError, match=r"f\.jsonl, line 6: column 'a' holds an object or nested lists"):
        parsed(text, "a")
    assert parsed(text)[0].numbers.tolist() == [5, 6]


def test_columns_are_the_keys_of_all_lines():
    block = TextBlock(b'nope\n{"a": 1}\n{"b": 1, "a": 2}\n', 0, 1, 3)
    assert column_names(block, "f.json") == ["a", "b"]


def test_a_list_around_the_objects_is_refused():
    with pytest.raises(DataError, match=r"f\.json: no line holds a JSON object \(line 1: found a list"):
        column_names(TextBlock(b'[{"a": 1}]', 0, 1, 1), "f.json")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "a"),
        ('{"a": 1, "a" : {"b": ":"}}', "a"),
        ('{"a": {"b": 1, "b": 2}}', "b"),
        ('{"a": [{"\\u0062": 1, "b": 2}]}', "b"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(line, key):
    rows, bad = parsed('{"c": "x:y:z"}\n' + line + "\n", "c")
    assert rows.columns["c"].to_pylist() == ["x:y:z"]
    assert bad == [(6, f"the key {key!r} stands twice; expected each key of an object once", line)]
