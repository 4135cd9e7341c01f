"""The checks that watch over the protocols."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.example_gen.output.outcome import Outcome, check_splits
from components.example_gen.rows import EVAL, ITEM, TEST, TRAIN, USER, Entities, Rows, positions
from components.example_gen.splits.evidence import Evidence, find_shared_keys, first_of_each_key_and_split
from tests.components.example_gen.splits.invented import (
    CONFIGS,
    assign,
    assigned,
    leaks_of,
    make_entities,
    make_rows,
    many_rows,
    named,
    protocol,
    take,
)
from trainer_module.errors import DataError


@pytest.fixture(scope="module")
def many() -> tuple[Rows, Entities]:
    return many_rows()


def replace(rows: Rows, column: str, row: int, value: int) -> Rows:
    """Rows of which one has another value."""
    values = rows.column(column).copy()
    values[row] = value
    at = rows.batch.schema.get_field_index(column)
    return dataclasses.replace(rows, batch=rows.batch.set_column(at, column, pa.array(values)))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("random", {"same_pair": True}, "the same (user, item) pair is in train and in test: u.data lines"),
        ("u1", {"same_pair": True}, "the same (user, item) pair is in train and in test: u.data lines"),
        ("random by user", {"of": TRAIN, "to": TEST}, "the same user is in train and in test: u.data lines"),
        ("random by item", {"of": TRAIN, "to": EVAL}, "the same item is in train and in eval: u.data lines"),
        ("random by column", {"of": TRAIN, "to": TEST}, "the same value of 'country' is in train and in test: u.data"),
        ("u1", {"at": 0, "to": TRAIN}, "lines of the test fold are outside test: u.data line 1 (1 in all)"),
        ("u1", {"at": 70_000, "to": TEST}, "lines outside the test fold are in test: u.data line 70001"),
        ("user", {"of": TRAIN, "to": TEST}, "the same user is in train and in test"),
        ("user", {"of": TRAIN, "to": EVAL}, "the same user is in train and in eval"),
        ("stratified", {"of": TRAIN, "to": TEST}, "users have too many items in test: those of u.data line"),
        ("stratified", {"same_pair": True}, "the same (user, item) pair is in train and in test: u.data lines"),
        ("stratified", {"of": TEST, "to": EVAL}, "users have too few items in test: those of u.data line"),
        ("time", {"of": TEST, "to": TRAIN}, "test does not lie after train"),
        ("time", {"of": TRAIN, "to": EVAL}, "eval does not lie after train"),
        ("leave-last-out", {"of": TRAIN, "to": TEST}, "a user's row in test is earlier than one in"),
        ("leave-last-out", {"of": EVAL, "to": TEST}, "a user has two rows in test"),
        ("leave-last-out", {"of": TEST, "to": EVAL}, "a user has two rows in eval"),
        ("leave-last-out", {"of": TEST, "to": TRAIN}, "a user's row in eval is earlier than one in train"),
        ("column", {"at": 2, "to": TRAIN}, "column 'fold' says 'eval' of rows in train: u.data line 3 (1 in all)"),
        ("column", {"at": 3, "to": EVAL}, "column 'fold' says 'test' of rows in eval: u.data line 4 (1 in all)"),
    ],
)
def test_one_misplaced_row_is_found(name: str, spoil: dict, message: str, many):
    rows, entities = many
    split = assign(named(name), [rows], entities)
    if spoil.get("same_pair"):
        test, train = np.flatnonzero(split == TEST)[0], np.flatnonzero(split == TRAIN)[0]
        for column in (USER, ITEM):
            rows = replace(rows, column, train, rows.column(column)[test])
    else:
        moved = spoil["at"] if "at" in spoil else np.flatnonzero(split == spoil["of"])[0]
        split[moved] = spoil["to"]
    leaks = leaks_of(named(name), [assigned(rows, split)])
    assert any(message in leak for leak in leaks), leaks
    with pytest.raises(DataError) as error:
        check_splits(Outcome(split_rows=(1, 1, 1), leaks=tuple(leaks)), name, "rating")
    assert name in str(error.value)
    assert message in str(error.value)


def test_places_in_two_files_are_named():
    rows = make_rows([0, 0, 1], [0, 0, 0], [1, 2, 3], [3, *positions(1, np.array([7, 8]))], split=[TRAIN, TEST, TEST])
    assert leaks_of(protocol(), [rows]) == [
        "the same (user, item) pair is in train and in test: u.data line 3 and b.csv line 7 (1 in all)"
    ]


def test_equal_times_in_two_splits_are_found():
    rows = make_rows([0, 1, 2], [0, 0, 0], [10_000_000, 20_500_000, 20_500_000], split=[TRAIN, EVAL, TEST])
    assert leaks_of(protocol(by="time"), [rows]) == [
        "test does not lie after eval: u.data line 2 (time 1970-01-01T00:00:20.500 UTC) is in eval, "
        "u.data line 3 (time 1970-01-01T00:00:20.500 UTC) in test"
    ]


def test_rows_by_themselves_and_pairs_of_official_splits_may_repeat():
    rows = make_rows([0, 0], [0, 0], [1, 2], values=["train", "test"], split=[TRAIN, TEST])
    assert leaks_of(named("random by row"), [rows]) == []
    assert leaks_of(named("column"), [rows]) == []
    assert leaks_of(named("random"), [rows]) != []


def test_eval_rows_may_be_drawn_among_the_train_rows_only():
    rows = make_rows([0] * 3, [0] * 3, [0] * 3, values=["train", "train", "test"])
    of = named("column without eval")
    assert leaks_of(of, [assigned(rows, [TRAIN, EVAL, TEST])]) == []
    assert leaks_of(of, [assigned(rows, [TRAIN, EVAL, EVAL])]) == [
        "column 'fold' says 'test' of rows in eval: u.data line 3 (1 in all)"
    ]


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.3, 0.32, 0.55, 0.7, 0.8])
def test_the_share_of_each_users_rows_is_met_where_it_is_a_whole_number(fraction: float):
    # In floating point 90 * (1 - 0.3) is below 63 and 20 * (1 - 0.55) above 9: the check must round as the draw does.
    user = np.repeat(np.arange(100), np.arange(1, 101))
    rows = make_rows(user, np.arange(len(user)), np.zeros_like(user))
    of = protocol(by="stratified", test_fraction=fraction)
    split = assign(of, [rows], make_entities(100, len(user)))
    assert leaks_of(of, [assigned(rows, split)]) == []
    for row in (0, 500):
        flipped = split.copy()
        flipped[row] = TRAIN if split[row] == TEST else TEST
        assert len(leaks_of(of, [assigned(rows, flipped)])) == 1


CELLS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5), st.sampled_from([TRAIN, EVAL, TEST])),
    min_size=1,
    max_size=25,
)
VALUES = ("train", "eval", "test")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CONFIGS)), CELLS, st.integers(0, 25), st.integers(1, 3))
def test_reduced_and_partitioned_evidence_gives_the_same_verdict(name, cells, cut, parts):
    user, item, time, split = (np.array(values) for values in zip(*cells, strict=True))
    whole = make_rows(user, item, time, values=[VALUES[i] for i in item], split=split)
    blocks = [take(whole, np.flatnonzero(np.arange(len(cells)) < cut)), take(whole, np.arange(cut, len(cells)))]
    assert bool(leaks_of(named(name), blocks, parts)) == bool(leaks_of(named(name), [whole]))


@settings(max_examples=200, deadline=None)
@given(CELLS)
def test_the_check_of_leave_last_out_equals_its_definition(cells):
    user, item, time, split = (np.array(values) for values in zip(*cells, strict=True))
    rows = make_rows(user, item, time, split=split)
    kept = True
    for u in set(user.tolist()):
        mine = sorted((int(time[i]), i, int(split[i])) for i in np.flatnonzero(user == u))
        sequence = [s for _, _, s in mine]
        kept &= sequence == sorted(sequence) and sequence.count(TEST) <= 1 and sequence.count(EVAL) <= 1
    assert (leaks_of(protocol(by="leave-last-out"), [rows]) == []) == kept


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["random", "random by user", "random by item", "random by column", "user"]), CELLS)
def test_the_check_of_keys_equals_its_definition(name, cells):
    user, item, time, split = zip(*cells, strict=True)
    values = [VALUES[i] for i in item]
    keys = {"random": list(zip(user, item, strict=True)), "random by item": item, "random by column": values}
    key = keys.get(name, user)
    rows = make_rows(user, item, time, values=values, split=split)
    kept = len(set(zip(key, split, strict=True))) == len(set(key))
    assert (leaks_of(named(name), [rows]) == []) == kept


@settings(max_examples=200, deadline=None)
@given(CELLS)
def test_the_check_of_time_equals_its_definition(cells):
    user, item, time, split = zip(*cells, strict=True)
    rows = make_rows(user, item, time, split=split)
    pairs = [
        (t1 < t2) for t1, s1 in zip(time, split, strict=True) for t2, s2 in zip(time, split, strict=True) if s1 < s2
    ]
    assert (leaks_of(protocol(by="time"), [rows]) == []) == all(pairs)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["random", "user", "stratified", "column", "u5"]), CELLS, st.data())
def test_a_flipped_assignment_is_found(name, cells, data):
    # Each cell twice, so that every key has another row.
    cells = list({cell[:2]: cell for cell in cells}.values())
    cells = cells if name == "u5" else cells * 2
    user, item, time, says = zip(*cells, strict=True)
    rows = make_rows(user, item, time, values=[VALUES[i] for i in says])
    split = assign(named(name), [rows], make_entities(4, 3))
    assert leaks_of(named(name), [assigned(rows, split)]) == []
    row = data.draw(st.integers(0, len(cells) - 1))
    to = data.draw(st.sampled_from([TRAIN, EVAL, TEST]))
    assume(to != split[row])
    if name == "u5":
        # It promises which rows are test, and leaves the choice of eval to chance.
        assume(TEST in (to, split[row]))
    split[row] = to
    assert leaks_of(named(name), [assigned(rows, split)]) != []


def test_a_test_split_of_one_class_is_refused_with_the_counts():
    outcome = Outcome(split_rows=(9, 4, 5), split_positives=(5, 4, 0))
    with pytest.raises(DataError) as error:
        check_splits(outcome, "column", "click")
    message = str(error.value)
    assert "all 5 rows of test have the label 0, so the AUC is undefined" in message
    assert "Rows with the label 1: train 5 of 9, eval 4 of 4, test 0 of 5" in message
    check_splits(outcome, "column", "rating")


def test_a_train_split_of_one_class_is_refused():
    with pytest.raises(DataError, match="all 9 rows of train have the label 1, so nothing can be learnt"):
        check_splits(Outcome(split_rows=(9, 4, 5), split_positives=(9, 2, 2)), "random", "click")


def test_test_users_without_a_new_item_are_refused():
    rows = {"split_rows": (9, 4, 5), "split_positives": (9, 4, 5)}
    with pytest.raises(DataError, match="none of the 3 test users has an item in test that is not in train or eval"):
        check_splits(Outcome(**rows, num_queries=3), "time", "retrieval")
    check_splits(Outcome(**rows, num_queries=3, num_findable=1), "time", "retrieval")
    restored = Outcome.from_json(Outcome(**rows, num_queries=3, num_findable=1).to_json())
    assert (restored.num_queries, restored.num_findable) == (3, 1)


def evidence_of(*rows: tuple[int, int, int]) -> Evidence:
    """From keys, splits and positions."""
    key, split, position = (np.array(values) for values in zip(*rows, strict=True))
    return Evidence(key, np.zeros(len(rows), np.int64), position, split.astype(np.int8))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]], ids=["as in the file", "of several blocks"])
def test_of_each_key_and_split_the_row_of_lowest_position_is_kept(order):
    rows = [(7, TRAIN, 10), (3, TRAIN, 11), (7, TRAIN, 12), (7, TEST, 13), (3, TRAIN, 14)]
    kept = first_of_each_key_and_split(evidence_of(*(rows[number] for number in order)))
    found = zip(kept.key.tolist(), kept.split.tolist(), kept.position.tolist(), strict=True)
    assert sorted(found) == [(3, TRAIN, 11), (7, TRAIN, 10), (7, TEST, 13)]


def test_shared_keys_are_named_in_ascending_order_by_their_first_rows():
    evidence = evidence_of((9, TEST, 5), (9, TRAIN, 4), (2, TRAIN, 3), (2, TEST, 8), (2, TEST, 6), (5, TRAIN, 1))
    assert find_shared_keys("user", evidence, ["a.csv"]) == [
        "the same user is in train and in test: a.csv lines 3 and 6, a.csv lines 4 and 5 (2 in all)"
    ]
