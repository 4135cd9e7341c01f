"""Published figures depend on which rows are held out: these assignments must never change."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from components.example_gen.rows import POSITION, TEST, Entities, Rows, positions
from tests.components.example_gen.splits.invented import (
    assign,
    make_entities,
    make_rows,
    many_rows,
    protocol,
    take,
)

_NUMBER = np.arange(24)
# 24 rows of 4 users and 6 items.
SMALL = make_rows(
    _NUMBER % 4, _NUMBER // 4, _NUMBER * 7 % 11 * 1_000_000, values=[["train", "eval", "test"][i % 3] for i in _NUMBER]
)
FRACTIONS = {"test_fraction": 0.4, "eval_fraction": 0.3}


def digest(split: np.ndarray) -> str:
    assert split.dtype == np.int8
    return hashlib.sha256(split.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("config", "small", "large"),
    [
        ({"seed": 0, **FRACTIONS}, "002021002220021112112120", "a8d87f45252bdb5b"),
        ({"seed": 3, **FRACTIONS}, "002202100000122000000210", "e107927d000b7cc7"),
        ({"by": "user", "seed": 0, **FRACTIONS}, "122012201220122012201220", "e334c8b18fb2abe6"),
        ({"by": "user", "seed": 3, **FRACTIONS}, "112011201120112011201120", "73cf89e1f06c5fd3"),
        ({"key": "user", "seed": 0, **FRACTIONS}, "122012201220122012201220", "e334c8b18fb2abe6"),
        ({"by": "stratified", "seed": 0, **FRACTIONS}, "002011022120221112222202", "287f09cfb214b5fb"),
        ({"by": "stratified", "seed": 3, **FRACTIONS}, "222222100002202200000220", "5d70a027097ab098"),
        ({"by": "time", **FRACTIONS}, "020210210200202102102002", "2bafc506db43edbd"),
        ({"by": "leave-last-out"}, "000200100100102002002001", "a3b54fed5adcba49"),
        ({"by": "u1", "seed": 0, "eval_fraction": 0.3}, "2" * 24, "9c5055be446ffc18"),
        ({"by": "u1", "seed": 3, "eval_fraction": 0.3}, "2" * 24, "4b16882c44f22c47"),
        ({"by": "u5", "seed": 0, "eval_fraction": 0.3}, "000011000110001111110100", "d562005c0d0e3eeb"),
        ({"by": "u5", "seed": 3, "eval_fraction": 0.3}, "000001100000100000000010", "96f85968842149c9"),
        ({"key": "row", "seed": 0, **FRACTIONS}, "200011021211201011022022", "42d6ce04449edf4f"),
        ({"key": "row", "seed": 3, **FRACTIONS}, "220201002020212110220001", "59bb0d16156a8f71"),
        ({"key": "country", "seed": 0, **FRACTIONS}, "020020020020020020020020", "1e1f6cca91ad395e"),
        ({"key": "country", "seed": 3, **FRACTIONS}, "220220220220220220220220", "2cbe90f416163fa6"),
        ({"by": "column", "column": "fold"}, "012012012012012012012012", "32927139563329db"),
    ],
)
def test_the_rows_held_out_are_those_of_the_published_figures(config, small, large):
    split = assign(protocol(**config), [SMALL], make_entities(4, 6))
    assert "".join(map(str, split)) == small
    rows, entities = many_rows()
    assert digest(assign(protocol(**config), [rows], entities)) == large


@pytest.mark.parametrize(("seed", "expected"), [(0, "61f99e60f815a4a9"), (3, "ce2d74d6cba1fecb")])
def test_rows_of_a_second_file_are_hashed_by_its_name(seed: int, expected: str):
    rows, entities = many_rows()
    second = pa.array(positions(1, rows.column(POSITION)))
    rows = Rows(0, rows.batch.set_column(0, POSITION, second))
    assert digest(assign(protocol(key="row", seed=seed, **FRACTIONS), [rows], entities)) == expected


def test_without_users_and_items_random_hashes_places():
    rows, entities = many_rows()
    by_place = assign(protocol(key="row"), [rows], entities)
    files_alone = Entities(None, None, entities.files)
    positions_alone = Rows(0, rows.batch.select([POSITION]))
    split = assign(protocol(has_users_and_items=False), [positions_alone], files_alone)
    np.testing.assert_array_equal(split, by_place)
    assert not np.array_equal(assign(protocol(), [rows], entities), by_place)


def test_hashes_are_the_same_everywhere():
    user, item = np.divmod(np.arange(16), 4)
    rows = make_rows(user, item, user)
    split = assign(protocol(test_fraction=0.5, eval_fraction=0.5), [rows], make_entities(4, 4))
    assert split.tolist() == [1, 2, 2, 2, 1, 1, 2, 2, 2, 0, 2, 1, 0, 0, 2, 2]


def test_bad_rows_do_not_change_what_the_others_of_one_file_draw():
    # Ten rows of one user; lines 3 and 4 are bad. The others draw the third and later numbers that lines 5 on draw.
    line = np.array([1, 2, 5, 6, 7, 8, 9, 10])
    rows = make_rows([0] * 8, range(8), [0] * 8, position=line)
    split = assign(protocol(by="stratified", seed=5), [rows], make_entities(1, 8))
    draws = np.random.RandomState(5).rand(10)[line - 1]
    assert (split == TEST).tolist() == (draws > np.sort(draws)[5]).tolist()


def test_rows_of_several_files_draw_by_their_rank():
    position = np.concatenate([positions(0, np.array([2, 3, 9])), positions(1, np.array([2, 4, 5, 6, 7]))])
    rows = make_rows([0] * 8, range(8), [0] * 8, position=position)
    backward = take(rows, np.arange(8)[::-1])
    of, entities = protocol(by="stratified", seed=5), make_entities(1, 8)
    draws = np.random.RandomState(5).rand(8)
    expected = (draws > np.sort(draws)[5]).tolist()
    assert (assign(of, [rows], entities) == TEST).tolist() == expected
    assert (assign(of, [backward], entities) == TEST).tolist() == expected[::-1]
