"""Histories and queries, by hand and against their definition."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_gen.joins.histories import (
    Interactions,
    current_queries,
    find_queries,
    history_rows,
    history_targets,
    other_items,
)
from components.example_gen.rows import EVAL, TEST, TIME, TRAIN, Rows
from tests.components.example_gen.splits.invented import make_rows


def interactions(*rows: tuple[int, int, int, int]) -> Interactions:
    """From (user, item, time, split); positions count from 1."""
    user, item, time, split = np.array(rows, np.int64).reshape(-1, 4).T
    return Interactions(user, item, time, np.arange(1, len(rows) + 1), split.astype(np.int8))


def histories(rows: Interactions, length: int) -> pa.LargeListArray:
    found = history_rows(rows, length)
    return pa.LargeListArray.from_arrays(found.offsets, pa.array(rows.item).take(found.values))


def test_a_history_ends_before_the_row():
    rows = interactions((7, 10, 100, TRAIN), (7, 11, 200, TRAIN), (7, 12, 200, TRAIN), (7, 13, 300, TRAIN))
    assert histories(rows, 50).to_pylist() == [[], [10], [10], [10, 11, 12]]


def test_a_history_keeps_the_latest_items_of_its_own_user():
    rows = interactions((7, 10, 1, TRAIN), (8, 99, 1, TRAIN), (7, 11, 2, TRAIN), (7, 12, 3, TRAIN), (8, 98, 4, TRAIN))
    assert histories(rows, 1).to_pylist() == [[], [], [10], [11], [99]]


def test_training_knows_nothing_of_held_out_rows():
    rows = interactions((7, 10, 1, TRAIN), (7, 11, 2, EVAL), (7, 12, 3, TEST), (7, 13, 4, TRAIN), (7, 14, 5, TEST))
    assert histories(rows, 50).to_pylist() == [[], [10], [10, 11], [10], [10, 11, 13]]


def test_the_last_row_trains_its_history_and_itself():
    rows = interactions((7, 10, 1, TRAIN), (7, 11, 2, TRAIN), (8, 10, 1, TRAIN), (7, 12, 3, TRAIN), (7, 13, 4, EVAL))
    # Three targets: 10 from nothing, 11 from 10, 12 from both. The user with one row is trained from nothing.
    assert history_targets(rows, 50).tolist() == [0, 0, 1, 3, 0]


def test_windows_of_full_histories_meet():
    rows = interactions(*((7, item, item, TRAIN) for item in range(1, 8)))
    # Of 7 rows and windows of 3: items 7, 6, 5 by the last row; 4, 3, 2 and 1 by the one of item 4.
    assert history_targets(rows, 3).tolist() == [0, 0, 0, 4, 0, 0, 3]


def test_rows_of_one_time_train_themselves():
    rows = interactions((7, 10, 1, TRAIN), (7, 11, 2, TRAIN), (7, 12, 2, TRAIN), (7, 13, 2, TRAIN))
    # One of them trains the history too.
    assert history_targets(rows, 50).tolist() == [0, 1, 1, 2]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.sampled_from([TRAIN, TRAIN, EVAL, TEST])), max_size=40),
    st.integers(1, 5),
)
@settings(deadline=None, max_examples=60)
def test_every_train_row_is_trained_once(drawn, length):
    rows = interactions(*((user, number, time, split) for number, (user, time, split) in enumerate(drawn)))
    targets = history_targets(rows, length)
    trained = []
    for number, (own, history) in enumerate(zip(rows.item, histories(rows, length).to_pylist(), strict=True)):
        count = targets[number]
        assert 0 <= count <= len(history) + 1
        trained += [*history, own][len(history) + 1 - count :] if count else []
    assert sorted(trained) == sorted(rows.item[rows.split == TRAIN].tolist())


def test_a_query_knows_all_but_the_test_rows():
    rows = interactions(
        (7, 12, 3, TEST), (7, 10, 1, TRAIN), (7, 11, 2, EVAL), (7, 13, 9, TRAIN), (8, 10, 1, TRAIN), (9, 10, 6, TEST)
    )
    queries = find_queries(rows, 2)
    assert queries.user.tolist() == [7, 9]
    assert queries.time.tolist() == [9, 6]  # not before the last row that is known
    assert {name: items.to_pylist() for name, items in queries.items.items()} == {
        "history": [[11, 13], []],
        "seen": [[10, 11, 13], []],
        "relevant": [[12], [10]],
    }


def test_items_chosen_twice_are_seen_once():
    rows = interactions((7, 10, 1, TRAIN), (7, 10, 2, TRAIN), (7, 11, 3, TEST), (7, 11, 4, TEST))
    items = find_queries(rows, 50).items
    assert items["history"].to_pylist() == [[10, 10]]
    assert items["seen"].to_pylist() == [[10]]
    assert items["relevant"].to_pylist() == [[11]]


def test_now_all_is_known_and_nothing_held_out():
    rows = interactions((7, 10, 3, TEST), (8, 99, 1, TRAIN), (7, 11, 1, TRAIN), (7, 10, 5, EVAL))
    queries = current_queries(rows, np.array([8, 3, 7]), 2)
    assert queries.user.tolist() == [8, 3, 7]
    assert queries.time.tolist() == [1, 0, 5]
    assert {name: items.to_pylist() for name, items in queries.items.items()} == {
        "history": [[99], [], [10, 10]],
        "seen": [[99], [], [11, 10]],
        "relevant": [[], [], []],
    }


def test_without_test_rows_there_are_no_queries():
    queries = find_queries(interactions((7, 10, 1, TRAIN)), 5)
    assert len(queries.user) == 0
    assert all(len(items) == 0 for items in queries.items.values())


def test_rows_of_a_dataset_become_interactions():
    rows = make_rows([7, 8], [10, 11], [5, 6], position=[3, 4], split=[TRAIN, TEST])
    found = vars(Interactions.of(rows))
    assert found.pop("have_times")
    assert {name: values.tolist() for name, values in found.items()} == {
        "user": [7, 8],
        "item": [10, 11],
        "time": [5, 6],
        "position": [3, 4],
        "split": [TRAIN, TEST],
    }
    without_times = Rows(0, rows.batch.drop_columns([TIME]), rows.split)
    assert Interactions.of(without_times).time.tolist() == [0, 0]
    assert not Interactions.of(without_times).have_times


ROWS = st.lists(st.tuples(*(st.integers(0, high) for high in (3, 5, 6, 2))), max_size=30)


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_histories_are_what_their_definition_says(rows, length):
    expected = []
    for user, _, timestamp, split in rows:
        known = {TRAIN, EVAL} if split == TEST else {TRAIN}
        before = sorted(
            (at, line, item)
            for line, (other, item, at, of) in enumerate(rows)
            if other == user and of in known and at < timestamp
        )
        expected.append([item for _, _, item in before][-length:])
    found = histories(interactions(*rows), length)
    assert isinstance(found, pa.LargeListArray)
    assert found.to_pylist() == expected


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_queries_are_what_their_definition_says(rows, length):
    queries = find_queries(interactions(*rows), length)
    assert queries.user.tolist() == sorted({user for user, _, _, split in rows if split == TEST})
    for position, user in enumerate(queries.user.tolist()):
        mine = sorted((at, line, item, of) for line, (other, item, at, of) in enumerate(rows) if other == user)
        known = [item for _, _, item, of in mine if of != TEST]
        held_out = [item for _, _, item, of in mine if of == TEST]
        assert queries.items["history"][position].as_py() == known[-length:]
        assert queries.items["seen"][position].as_py() == list(dict.fromkeys(known))
        assert queries.items["relevant"][position].as_py() == list(dict.fromkeys(held_out))


@pytest.mark.parametrize(
    ("rows", "findable"),
    [
        ([(7, 10, 1, TRAIN), (7, 10, 2, TEST)], 0),
        ([(7, 10, 1, TRAIN), (7, 11, 2, TEST)], 1),
        ([(7, 10, 1, EVAL), (7, 10, 2, TEST), (7, 11, 3, TEST), (8, 11, 3, TEST), (9, 10, 1, TEST)], 3),
        ([(7, 10, 1, TRAIN), (8, 11, 2, TRAIN), (7, 10, 3, TEST), (8, 10, 3, TEST)], 1),
        ([(7, 10, 1, TRAIN)], 0),
    ],
)
def test_queries_with_an_item_that_lists_may_hold_are_counted(rows, findable):
    assert find_queries(interactions(*rows), 5).num_findable() == findable


def without_times(rows: list[tuple[int, int, int, int]]) -> Interactions:
    return replace(interactions(*((user, item, 0, split) for user, item, _, split in rows)), have_times=False)


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_without_times_a_row_knows_its_users_other_items(rows, length):
    for (user, item, _, split), found in zip(rows, other_items(without_times(rows), length).to_pylist(), strict=True):
        known = {TRAIN, EVAL} if split == TEST else {TRAIN}
        others = {thing for other, thing, _, of in rows if other == user and of in known} - {item}
        assert len(found) == len(set(found)) == min(length, len(others))
        assert set(found) <= others


def test_rows_of_a_user_with_many_items_know_different_ones():
    rows = [(7, item, 0, TRAIN) for item in range(40)]
    found = other_items(without_times(rows), 5).to_pylist()
    # Each item is known to as many rows as it knows itself.
    assert np.bincount(np.concatenate(found)).tolist() == [5] * 40
    # The circle is another one for another user.
    others = other_items(without_times([(8, item, 0, TRAIN) for item in range(40)]), 5).to_pylist()
    assert others != found


def test_an_unknown_item_of_a_held_out_row_takes_none_away():
    rows = [(7, 10, 0, TRAIN), (7, 11, 0, TRAIN), (7, 12, 0, EVAL), (7, 12, 0, TEST), (8, 10, 0, TEST)]
    found = [sorted(items) for items in other_items(without_times(rows), 50).to_pylist()]
    assert found == [[11], [10], [10, 11], [10, 11], []]


def test_without_times_a_query_knows_distinct_items_of_all():
    rows = without_times([(7, 10, 0, TRAIN), (7, 10, 0, TRAIN), (7, 11, 0, EVAL), (7, 12, 0, TEST), (9, 12, 0, TEST)])
    history = find_queries(rows, 50).items["history"].to_pylist()
    assert [sorted(items) for items in history] == [[10, 11], []]
    (cut,) = current_queries(rows, np.array([7]), 2).items["history"].to_pylist()
    assert len(cut) == 2 and set(cut) <= {10, 11, 12}
