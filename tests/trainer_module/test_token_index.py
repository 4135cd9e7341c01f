"""Lookups among many known tokens: those of Arrow, whatever the types and the hashes."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_module.data import token_index
from trainer_module.data.token_index import TokenIndex

WORDS = st.lists(st.binary(max_size=3), max_size=20)


@pytest.fixture(autouse=True, scope="module")
def few_are_many():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_index, "_MANY", 1)
        yield


def as_arrow_finds_them(tokens: pa.Array, known: pa.Array) -> list[int]:
    return pc.index_in(tokens, value_set=known).fill_null(-1).to_pylist()


@given(WORDS, WORDS)
def test_places_of_texts(known, tokens):
    known, tokens = (pa.array(each, pa.large_binary()) for each in (list(dict.fromkeys(known)), [*tokens, *known]))
    assert TokenIndex(known).places(tokens).tolist() == as_arrow_finds_them(tokens, known)


@given(st.lists(st.integers(-5, 5), unique=True), st.lists(st.integers(-5, 5)))
def test_places_of_integers(known, tokens):
    known, tokens = pa.array(known, pa.int64()), pa.array(tokens, pa.int64())
    assert TokenIndex(known).places(tokens).tolist() == as_arrow_finds_them(tokens, known)


def test_tokens_are_cast_and_nulls_are_unknown():
    index = TokenIndex(pa.array([b"a", b"b"], pa.large_binary()))
    assert index.places(pa.array([b"b", None, b"a"], pa.binary())).tolist() == [1, -1, 0]


def test_tokens_with_the_hash_of_another_one_are_not_taken_for_it(monkeypatch):
    def by_length(tokens):
        return pc.binary_length(tokens).cast(pa.uint64()).fill_null(0).to_numpy()

    monkeypatch.setattr(token_index, "_hashes", by_length)
    different = TokenIndex(pa.array([b"a", b"bb"], pa.large_binary()))
    assert different.places(pa.array([b"cc", b"bb", b"a", b"d", b""])).tolist() == [-1, 1, 0, -1, -1]
    equal = TokenIndex(pa.array([b"a", b"b"], pa.large_binary()))
    assert equal.places(pa.array([b"b", b"a", b"c"])).tolist() == [1, 0, -1]


def test_an_index_travels_without_its_hashes():
    index = TokenIndex(pa.array(np.arange(1000), pa.int64()))
    index.places(pa.array([3]))
    assert len(pickle.dumps(index)) < 9000
    assert pickle.loads(pickle.dumps(index)).places(pa.array([5, -7])).tolist() == [5, -1]
