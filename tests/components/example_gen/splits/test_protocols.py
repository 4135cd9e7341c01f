"""What each protocol assigns, by hand and as properties of all."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from components.example_gen.rows import EVAL, ITEM, POSITION, TEST, TRAIN, USER, Entities, Rows
from components.example_gen.splits.config import SplitConfig
from components.example_gen.splits.protocols.column import ColumnSplit
from components.example_gen.splits.protocols.time import TimeCounts
from tests.components.example_gen.splits.invented import (
    CONFIGS,
    FILES,
    assign,
    assigned,
    fit,
    leaks_of,
    make_entities,
    make_rows,
    many_rows,
    named,
    protocol,
    take,
    with_values,
)
from trainer_module.errors import DataError


@pytest.fixture(scope="module")
def many() -> tuple[Rows, Entities]:
    return many_rows()


@pytest.mark.parametrize("name", [name for name in CONFIGS if "column" not in name])
def test_protocols_keep_their_promise_and_about_their_fractions(name: str, many):
    rows, entities = many
    of = named(name) if name == "leave-last-out" else named(name, eval_fraction=0.1)
    split = assign(of, [rows], entities)
    assert leaks_of(of, [assigned(rows, split)]) == []
    shares = np.bincount(split) / len(split)
    if name == "leave-last-out":
        assert np.bincount(split).tolist() == [98_000, 1_000, 1_000]
    else:
        test_share = 0.25 if name == "stratified" else 0.2
        # Of keys such as 400 items, the share drawn varies more than of rows.
        tolerance = 0.05 if name == "random by item" else 0.02
        assert shares[TEST] == pytest.approx(test_share, abs=tolerance)
        assert shares[EVAL] == pytest.approx((1 - test_share) * 0.1, abs=tolerance)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_split_of_a_row_does_not_depend_on_how_files_are_cut_or_ordered(name: str, many):
    rows, entities = fit(many[0], name), many[1]
    whole = assign(named(name), [rows], entities)
    ends = np.array_split(np.arange(100_000), [10, 70_010])[::-1]
    cut = assign(named(name), [take(rows, block) for block in ends], entities)
    np.testing.assert_array_equal(cut, whole[np.concatenate(ends)])
    shuffled = np.random.default_rng(0).permutation(100_000)
    np.testing.assert_array_equal(assign(named(name), [take(rows, shuffled)], entities), whole[shuffled])


CELLS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5), st.sampled_from(["train", "eval", "test"])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CONFIGS)), CELLS, st.data())
def test_every_row_is_in_one_split_whatever_the_blocks_and_their_order(name, cells, data):
    user, item, time, values = zip(*cells, strict=True)
    rows, entities = fit(make_rows(user, item, time, values=values), name), make_entities(4, 3)
    whole = assign(named(name), [rows], entities)
    assert whole.dtype == np.int8 and whole.shape == (len(cells),) and set(whole) <= {TRAIN, EVAL, TEST}
    order = np.array(data.draw(st.permutations(range(len(cells)))))
    cut = data.draw(st.integers(0, len(cells)))
    blocks = [take(rows, order[:cut]), take(rows, order[cut:])]
    assert assign(named(name), blocks, entities).tolist() == whole[order].tolist()
    if name not in ("u1", "u5"):
        # Folds promise distinct pairs because those of u.data are; the others hold on any rows.
        assert leaks_of(named(name), [assigned(rows, whole)]) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_protocols_and_what_they_make_travel_between_processes(name: str, many):
    rows, entities = fit(many[0], name), many[1]
    of = named(name)
    split = assign(of, [rows], entities)
    copy = pickle.loads(pickle.dumps(of))
    assert len(pickle.dumps(of)) < 10_000, "hashes of all users and items travel along"
    np.testing.assert_array_equal(assign(copy, [rows], entities), split)
    assert pickle.loads(pickle.dumps(copy.evidence(assigned(rows, split)))).split.dtype == np.int8


def test_tokens_are_hashed_anew_for_other_entities():
    rows, of = make_rows(range(4), [0] * 4, [0] * 4), protocol(by="user", test_fraction=0.5, eval_fraction=0.5)
    first, second = make_entities(4, 1), make_entities(4, 1)
    reversed_users = Entities(second.users.take([3, 2, 1, 0]), second.items, FILES)
    assert of.assign(rows, None, reversed_users).tolist() == of.assign(rows, None, first).tolist()[::-1]


def test_stratified_draws_each_users_rows_as_the_published_benchmark_did(many):
    rows, entities = many
    split = assign(protocol(by="stratified", seed=42), [rows], entities)
    frame = pd.DataFrame({"user": rows.column(USER), "line": rows.column(POSITION)})
    np.random.seed(42)
    frame["random"] = np.random.rand(len(frame))
    share = frame.groupby("user").random.rank() / frame.groupby("user").random.transform("count")
    assert frame.line[share > 0.75].tolist() == rows.column(POSITION)[split == TEST].tolist()


def test_stratified_keeps_equal_pairs_together_and_counts_them_once():
    # User 0 has 8 items, one of them nine times.
    rows = make_rows([0] * 16, [*range(8), *[3] * 8], [0] * 16)
    held_out = set()
    for seed in range(12):
        of = protocol(by="stratified", seed=seed, eval_fraction=0.3)
        split = assign(of, [take(rows, np.arange(9, 16)), take(rows, np.arange(9))], make_entities(1, 8))
        assert len({(item, s) for item, s in zip([3] * 7 + [*range(8), 3], split.tolist(), strict=True)}) == 8
        assert leaks_of(of, [assigned(take(rows, np.r_[9:16, 0:9]), split)]) == []
        held_out.add(int((split == TEST).sum()))
    # Two of the 8 items, with the other rows of that one if it is among them.
    assert held_out == {2, 10}


def test_stratified_without_items_draws_rows():
    rows = make_rows(np.repeat(np.arange(50), 20), [0] * 1000, [0] * 1000)
    rows = Rows(0, rows.batch.drop_columns([ITEM]))
    of = protocol(False, by="stratified", test_fraction=0.1)
    split = assign(of, [rows], Entities(make_entities(50, 1).users, None, FILES))
    assert np.bincount(rows.column(USER)[split == TEST]).tolist() == [2] * 50
    assert 0 < (split == EVAL).sum() < 200
    assert leaks_of(of, [assigned(rows, split)]) == []
    split[np.flatnonzero(split == TRAIN)[0]] = TEST
    assert "users have too many rows in test" in leaks_of(of, [assigned(rows, split)])[0]


def test_seeds_and_files_have_splits_of_their_own(many):
    rows, entities = many
    first, second = (assign(protocol(seed=seed), [rows], entities) for seed in (0, 1))
    both = np.mean((first == TEST) & (second == TEST))
    assert both == pytest.approx(0.04, abs=0.005), "test sets of two seeds are not independent"
    config = {"key": "row", "test_fraction": 0.1}
    one = assign(protocol(**config), [rows], entities)
    others = (
        assign(protocol(**config, seed=1), [rows], entities),
        assign(protocol(**config), [rows], make_entities(1000, 400, ["g"])),
    )
    for other in others:
        # Independent splits of shares .855, .045 and .1 agree in .743 of the rows.
        assert np.mean(one == other) == pytest.approx(0.743, abs=0.02)


@given(st.lists(st.text(max_size=2), min_size=1, max_size=20))
def test_rows_of_equal_value_stay_together(values):
    n = len(values)
    rows = make_rows([0] * n, [0] * n, [0] * n, values=values)
    of = protocol(key="country", test_fraction=0.4, eval_fraction=0.4)
    split = assign(of, [rows], make_entities(1, 1))
    assert len(set(zip(values, split.tolist(), strict=True))) == len(set(values))


def test_time_keeps_equal_times_together():
    rows = make_rows(range(10), [0] * 10, [1, 2, 3, 4, 5, 6, 7, 8, 8, 8])
    split = assign(protocol(by="time", test_fraction=0.2, eval_fraction=0.15), [rows], make_entities(10, 1))
    assert split.tolist() == [TRAIN] * 6 + [EVAL] + [TEST] * 3


def test_the_last_rows_in_time_are_held_out_in_whatever_block():
    rows = make_rows([0] * 10, [0] * 10, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9])
    of = protocol(by="time", test_fraction=0.2, eval_fraction=0.25)
    blocks = [take(rows, np.arange(5, 10)), take(rows, np.arange(5))]
    split = assign(of, blocks, make_entities(1, 1))
    assert split.tolist() == [TRAIN, EVAL, EVAL, TEST, TEST] + [TRAIN] * 5


def test_time_with_one_second_leaves_splits_empty():
    rows = make_rows(range(10), [0] * 10, [5] * 10)
    split = assign(protocol(by="time"), [rows], make_entities(10, 1))
    assert len(set(split.tolist())) == 1


def test_time_without_a_good_row_has_a_plan():
    assert assign(protocol(by="time"), [make_rows([], [], [])], make_entities(1, 1)).tolist() == []


@given(st.lists(st.integers(0, 9), min_size=1), st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_no_time_is_held_out_before_a_time_that_is_not(times, test_fraction, eval_fraction):
    of = protocol(by="time", test_fraction=test_fraction, eval_fraction=eval_fraction)
    split = assign(of, [make_rows([0] * len(times), [0] * len(times), times)], make_entities(1, 1))
    values = np.array(times)
    ordered = split[np.argsort(values, kind="stable")]
    assert np.array_equal(ordered, np.sort(ordered))
    assert all(len(set(split[values == time].tolist())) == 1 for time in set(times))


def test_counts_of_times_add_up():
    parts = [TimeCounts(np.array([1, 2]), np.array([3, 4])), TimeCounts(np.array([2]), np.array([5]))]
    merged = protocol(by="time").merge(parts)
    assert merged.times.tolist() == [1, 2]
    assert merged.counts.tolist() == [3, 9]


def test_leave_last_out_by_hand():
    # User 0: time decides; user 1: lines break the tie; user 2 has too few rows.
    rows = make_rows([0, 0, 0, 1, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2, 0, 1], [30, 10, 20, 5, 5, 5, 1, 2])
    blocks = [take(rows, np.arange(3)), take(rows, np.arange(3, 8))]
    split = assign(protocol(by="leave-last-out"), blocks, make_entities(3, 3))
    assert split.tolist() == [TEST, TRAIN, EVAL, TRAIN, EVAL, TEST, TRAIN, TRAIN]


@pytest.mark.parametrize("fold", range(1, 6))
def test_official_folds_are_lines(fold: int, many):
    rows, entities = many
    split = assign(protocol(by=f"u{fold}"), [rows], entities)
    assert (np.flatnonzero(split == TEST) + 1).tolist() == list(range(20_000 * (fold - 1) + 1, 20_000 * fold + 1))


def test_official_folds_need_the_official_file():
    read = TypeAdapter(SplitConfig).validate_python
    read("u3").check_num_rows(100_000)
    read("random").check_num_rows(5)
    with pytest.raises(DataError, match=r"u3 is a fold.*exactly 100,000 lines; this u.data has 99,999"):
        read("u3").check_num_rows(99_999)


def test_a_column_may_say_it():
    rows = make_rows([0] * 3, [0] * 3, [0] * 3, values=["holdout", "train", "dev"])
    of = protocol(by="column", column="fold", eval="dev", test="holdout")
    assert assign(of, [rows], make_entities(1, 1)).tolist() == [TEST, TRAIN, EVAL]
    assert ColumnSplit(column="fold", eval="dev", test="holdout").known_values == ("train", "dev", "holdout")
    assert ColumnSplit(column="fold", eval=None).known_values == ("train", "test")


def test_a_column_without_eval_draws_it_among_the_train_rows(many):
    rows, entities = many
    values = np.where(np.arange(100_000) % 5 == 3, "test", "train").tolist()
    rows = with_values(rows, values)
    config = {"by": "column", "column": "fold", "eval": None, "eval_fraction": 0.1}
    by_pair, by_place = (assign(protocol(known, **config), [rows], entities) for known in (True, False))
    for split in (by_pair, by_place):
        assert ((split == TEST) == (np.array(values) == "test")).all()
        assert np.mean(split[split != TEST] == EVAL) == pytest.approx(0.1, abs=0.01)
    assert not np.array_equal(by_pair, by_place)
    assert not np.array_equal(assign(protocol(**config, seed=1), [rows], entities), by_pair)


def test_a_value_that_was_not_checked_is_an_error():
    rows = make_rows([0] * 2, [0] * 2, [0] * 2, values=["train", "validation"])
    with pytest.raises(ValueError, match=r"column 'fold' holds b'validation'; expected one of \('train'"):
        assign(protocol(by="column", column="fold"), [rows], make_entities(1, 1))


@pytest.mark.parametrize("name", CONFIGS)
def test_protocols_say_what_they_promise(name: str):
    of = named(name)
    assert of.name == CONFIGS[name].get("by", "random")
    assert of.promise.endswith(".")
