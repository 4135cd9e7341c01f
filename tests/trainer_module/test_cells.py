"""One value has one meaning: on plain values, in Arrow columns, and in the graph that training and service share."""

import math
import sys

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_module.data.cells import WHITESPACE, clean_row, trim, trimmed
from trainer_module.data.clean import clean
from trainer_module.data.clean import trimmed as trimmed_in_graph
from trainer_module.data.features import Categorical, FeatureSpec, Label, Numeric, Table, Weights
from trainer_module.data.inputs import parse_request

SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Categorical(name="country", table="country", required=False),
        Categorical(name="tags", table="tags", multivalent=True, required=False),
        Categorical(name="words", table="words", multivalent=True, required=False, weights="how_much"),
        Weights(name="how_much", required=False),
        Categorical(name="places", table="places", dtype="int64", multivalent=True, required=False),
        Numeric(name="price", required=False),
        Numeric(name="size"),
        Label(name="label"),
    ),
    tables=tuple(Table(name=name) for name in ("user", "country", "tags", "words", "places")),
)

TOKENS = st.text(st.sampled_from([*"ab ", "\t", "\xa0", "\u3000", "é", "\u200b"]), max_size=4).map(str.encode)
NUMBERS = st.floats(width=32)


def example(row: dict) -> bytes:
    features = tf.train.Features()
    for column in SPEC.inputs:
        kind = {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}[column.dtype]
        if column.name in row:
            getattr(features.feature[column.name], kind).value.extend(row[column.name])
    return tf.train.Example(features=features).SerializeToString()


def by_the_graph(rows: list[dict]) -> list[dict]:
    parsed = clean(SPEC, parse_request(tf.constant([example(row) for row in rows]), SPEC.inputs))
    dense = {
        name: value.numpy().tolist()
        if isinstance(value, tf.Tensor)
        else [of_row.numpy().tolist() for of_row in tf.RaggedTensor.from_sparse(value)]
        for name, value in parsed.items()
    }
    return [{name: values[row] for name, values in dense.items()} for row in range(len(rows))]


def test_every_character_is_trimmed_alike_everywhere():
    characters = [chr(code) for code in range(sys.maxunicode) if not 0xD800 <= code < 0xE000]
    texts = [f"{character}a{character}" for character in characters]
    expected = ["a" if character in WHITESPACE else text for character, text in zip(characters, texts, strict=True)]
    assert [trim(text) for text in texts] == expected
    assert trimmed(pa.array(texts, pa.large_string())).to_pylist() == expected
    assert [token.decode() for token in trimmed_in_graph(tf.constant(texts)).numpy()] == expected
    # The graph takes another way where all tokens are ASCII.
    ascii_only = texts[:128]
    assert [token.decode() for token in trimmed_in_graph(tf.constant(ascii_only)).numpy()] == expected[:128]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "user": st.lists(TOKENS, max_size=1),
                "country": st.lists(TOKENS, max_size=1),
                "tags": st.lists(TOKENS, max_size=4),
                "places": st.lists(st.integers(-2, 2), max_size=4),
                "price": st.lists(NUMBERS, max_size=1),
                "size": st.lists(NUMBERS, max_size=1),
                "weighted": st.lists(st.tuples(TOKENS, NUMBERS), max_size=3),
            },
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_graph_and_the_rule_on_plain_values_agree(rows):
    for row in rows:
        pairs = row.pop("weighted", [])
        row["words"], row["how_much"] = [token for token, _ in pairs], [weight for _, weight in pairs]
    for row, found in zip(rows, by_the_graph(rows), strict=True):
        expected = clean_row(SPEC, row)
        # The transform graph gives a missing number its own value.
        expected["size"] = [number for number in expected["size"] if not math.isnan(number)]
        assert found == {name: expected[name] for name in found}


@pytest.mark.parametrize("tokens", [[], [b""], [b" \t"], [b"\xc2\xa0"]])
def test_a_missing_token_has_one_meaning_however_it_is_spelt(tokens):
    row = {"user": tokens, "country": tokens, "tags": tokens, "size": [1.0]}
    (found,) = by_the_graph([row])
    assert (found["user"], found["country"], found["tags"]) == ([b""], [], [])


def test_lists_close_up_where_values_are_missing():
    row = {"tags": [b"", b" a ", b" ", b"b"], "words": [b"a", b"b", b""], "how_much": [math.nan, 2.0, 3.0]}
    (found,) = by_the_graph([row])
    assert (found["tags"], found["words"], found["how_much"]) == ([b"a", b"b"], [b"b"], [2.0])


def test_several_values_of_a_column_that_takes_one_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="column country: expected one value per example"):
        parse_request(tf.constant([example({"country": [b"de", b"fr"]})]), SPEC.inputs)


def test_an_infinite_number_is_a_number():
    (found,) = by_the_graph([{"price": [np.inf]}])
    assert found["price"] == [np.inf]


@pytest.mark.parametrize("space", ["", " ", "\x1f", "\x7f", "\u3000"])
def test_a_slice_of_a_column_is_trimmed_by_its_own_texts(space):
    texts = pa.array(["a", "b", "c", f"{space}d{space}", None, "e "], pa.large_string())
    assert trimmed(texts.slice(2, 3)).to_pylist() == ["c", trim(f"{space}d{space}"), None]
    assert trimmed(texts.slice(2, 0)).to_pylist() == []
