"""Protocols, and the checks that watch over them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_gen import leakage
from components.example_gen import old_splits as splits
from components.example_gen.catalog import ITEMS_SCHEMA, ROWS_SCHEMA, USERS_SCHEMA, Catalog
from components.example_gen.config import IngestConfig
from components.example_gen.leakage import Evidence
from components.example_gen.old_splits import EVAL, TEST, TRAIN
from components.example_gen.outcome import Outcome, check_splits
from trainer_module.errors import DataError

ALL = ("random", "user", "time", "leave-last-out", "stratified", "u1", "u5")


def make_catalog(num_users: int, num_items: int) -> Catalog:
    def table(schema: pa.Schema, count: int) -> pa.Table:
        columns = [pa.nulls(count, field.type) for field in schema]
        return pa.Table.from_arrays([pa.array(map(str, range(count)), pa.string()), *columns[1:]], schema=schema)

    return Catalog(table(USERS_SCHEMA, num_users), table(ITEMS_SCHEMA, num_items))


def make_rows(user, item, timestamp, line=None) -> pa.RecordBatch:
    line = np.arange(1, len(user) + 1) if line is None else line
    columns = [
        np.asarray(user),
        np.asarray(item),
        np.full(len(user), 3.0, np.float32),
        np.asarray(timestamp),
        line,
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, ROWS_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS_SCHEMA)


def assign(config: IngestConfig, blocks: list[pa.RecordBatch], catalog: Catalog) -> np.ndarray:
    plan = None
    if splits.needs_plan(config.protocol):
        plan = splits.plan(config, splits.merge([splits.summary(config.protocol, block) for block in blocks]))
    splitter = splits.Splitter(config, catalog)
    return np.concatenate([splitter.assign(block, plan) for block in blocks])


def evidence(rows: pa.RecordBatch, split) -> Evidence:
    columns = (rows.column(name).to_numpy().copy() for name in ("user", "item", "timestamp", "line"))
    return Evidence(*columns, split=np.array(split, np.int8))


@pytest.fixture(scope="module")
def many() -> tuple[pa.RecordBatch, Catalog]:
    """100,000 distinct pairs of 1,000 users and 400 items; many rows share their second."""
    random = np.random.default_rng(7)
    pairs = random.choice(400_000, 100_000, replace=False)
    return make_rows(pairs // 400, pairs % 400, random.integers(0, 5_000, 100_000)), make_catalog(1000, 400)


@pytest.mark.parametrize("protocol", ALL)
def test_protocols_keep_their_promise_and_about_their_fractions(protocol: str, many):
    rows, catalog = many
    config = IngestConfig(protocol=protocol, eval_fraction=0.1)
    split = assign(config, [rows], catalog)
    assert leakage.find_leaks(protocol, evidence(rows, split)) == []
    shares = np.bincount(split) / len(split)
    if protocol == "leave-last-out":
        assert np.bincount(split).tolist() == [98_000, 1_000, 1_000]
    else:
        test_share = 0.25 if protocol == "stratified" else 0.2
        assert shares[TEST] == pytest.approx(test_share, abs=0.02)
        assert shares[EVAL] == pytest.approx((1 - test_share) * 0.1, abs=0.02)


def test_stratified_draws_each_users_rows_as_the_published_benchmark_did(many):
    rows, catalog = many
    split = assign(IngestConfig(protocol="stratified", seed=42), [rows], catalog)
    frame = pd.DataFrame({name: rows.column(name).to_numpy() for name in ("user", "line")})
    np.random.seed(42)
    frame["random"] = np.random.rand(len(frame))
    share = frame.groupby("user").random.rank() / frame.groupby("user").random.transform("count")
    assert frame.line[share > 0.75].tolist() == rows.column("line").to_numpy()[split == TEST].tolist()


@pytest.mark.parametrize("protocol", ALL)
def test_the_split_of_a_row_does_not_depend_on_how_the_file_is_cut(protocol: str, many):
    rows, catalog = many
    config = IngestConfig(protocol=protocol)
    blocks = [rows.slice(0, 10), rows.slice(10, 70_000), rows.slice(70_010)]
    np.testing.assert_array_equal(assign(config, blocks, catalog), assign(config, [rows], catalog))


def test_hashes_are_the_same_everywhere():
    catalog = make_catalog(4, 4)
    user, item = np.divmod(np.arange(16), 4)
    split = assign(IngestConfig(test_fraction=0.5, eval_fraction=0.5), [make_rows(user, item, user)], catalog)
    assert split.tolist() == [1, 2, 2, 2, 1, 1, 2, 2, 2, 0, 2, 1, 0, 0, 2, 2]


def test_the_seed_changes_the_split(many):
    rows, catalog = many
    first, second = (assign(IngestConfig(seed=seed), [rows], catalog) for seed in (0, 1))
    both = np.mean((first == TEST) & (second == TEST))
    assert both == pytest.approx(0.04, abs=0.005), "test sets of two seeds are not independent"


def test_time_keeps_equal_times_together():
    rows = make_rows(range(10), [0] * 10, [1, 2, 3, 4, 5, 6, 7, 8, 8, 8])
    split = assign(IngestConfig(protocol="time", test_fraction=0.2, eval_fraction=0.15), [rows], make_catalog(10, 1))
    assert split.tolist() == [TRAIN] * 6 + [EVAL] + [TEST] * 3


def test_time_with_one_second_leaves_splits_empty():
    rows = make_rows(range(10), [0] * 10, [5] * 10)
    split = assign(IngestConfig(protocol="time"), [rows], make_catalog(10, 1))
    assert len(set(split.tolist())) == 1


def test_leave_last_out_by_hand():
    # User 0: time decides; user 1: lines break the tie; user 2 has too few rows.
    rows = make_rows([0, 0, 0, 1, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2, 0, 1], [30, 10, 20, 5, 5, 5, 1, 2])
    split = assign(IngestConfig(protocol="leave-last-out"), [rows.slice(0, 3), rows.slice(3)], make_catalog(3, 3))
    assert split.tolist() == [TEST, TRAIN, EVAL, TRAIN, EVAL, TEST, TRAIN, TRAIN]


@pytest.mark.parametrize("fold", range(1, 6))
def test_official_folds_are_lines(fold: int, many):
    rows, catalog = many
    split = assign(IngestConfig(protocol=f"u{fold}"), [rows], catalog)
    assert (np.flatnonzero(split == TEST) + 1).tolist() == list(range(20_000 * (fold - 1) + 1, 20_000 * fold + 1))


def test_official_folds_need_the_official_file():
    splits.check_num_lines("u3", 100_000)
    splits.check_num_lines("random", 5)
    with pytest.raises(DataError, match=r"u3 is a fold.*exactly 100,000 lines; this u.data has 99,999"):
        splits.check_num_lines("u3", 99_999)


@pytest.mark.parametrize(
    ("protocol", "spoil", "message"),
    [
        ("random", {"same_pair": True}, "the same (user, item) pair is in train and in test: u.data lines"),
        ("u1", {"same_pair": True}, "the same (user, item) pair is in train and in test: u.data lines"),
        ("u1", {"at": 0, "to": TRAIN}, "lines of the test fold are outside test: u.data lines 1 (1 in all)"),
        ("u1", {"at": 70_000, "to": TEST}, "lines outside the test fold are in test: u.data lines 70001"),
        ("user", {"of": TRAIN, "to": TEST}, "the same user is in train and in test"),
        ("user", {"of": TRAIN, "to": EVAL}, "the same user is in train and in eval"),
        ("time", {"of": TEST, "to": TRAIN}, "test does not lie after train"),
        ("time", {"of": TRAIN, "to": EVAL}, "eval does not lie after train"),
        ("leave-last-out", {"of": TRAIN, "to": TEST}, "a user's row in test is earlier than one in"),
        ("leave-last-out", {"of": EVAL, "to": TEST}, "a user has two rows in test"),
        ("leave-last-out", {"of": TEST, "to": EVAL}, "a user has two rows in eval"),
        ("leave-last-out", {"of": TEST, "to": TRAIN}, "a user's row in eval is earlier than one in train"),
    ],
)
def test_one_misplaced_row_is_found(protocol: str, spoil: dict, message: str, many):
    rows, catalog = many
    split = assign(IngestConfig(protocol=protocol), [rows], catalog)
    found = evidence(rows, split)
    if spoil.get("same_pair"):
        test, train = np.flatnonzero(split == TEST)[0], np.flatnonzero(split == TRAIN)[0]
        found.user[train], found.item[train] = found.user[test], found.item[test]
    else:
        moved = spoil["at"] if "at" in spoil else np.flatnonzero(split == spoil["of"])[0]
        found.split[moved] = spoil["to"]
    leaks = leakage.find_leaks(protocol, found)
    assert any(message in leak for leak in leaks), leaks
    with pytest.raises(DataError) as error:
        check_splits(Outcome(split_rows=(1, 1, 1), leaks=tuple(leaks)), protocol)
    assert protocol in str(error.value)
    assert message in str(error.value)


def test_equal_times_in_two_splits_are_found():
    rows = evidence(make_rows([0, 1, 2], [0, 0, 0], [10, 20, 20]), [TRAIN, EVAL, TEST])
    assert leakage.find_leaks("time", rows) == [
        "test does not lie after eval: u.data line 2 (time 20) is in eval, line 3 (time 20) in test"
    ]


def test_an_empty_split_is_an_error():
    with pytest.raises(DataError, match=r"'time' leaves eval and test without a row \(train 7, eval 0, test 0\)"):
        check_splits(Outcome(split_rows=(7, 0, 0)), "time")


SMALL = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5), st.sampled_from([TRAIN, EVAL, TEST])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALL), SMALL, st.integers(0, 25), st.integers(1, 3))
def test_reduced_and_partitioned_evidence_gives_the_same_verdict(protocol, cells, cut, parts):
    user, item, timestamp, split = (np.array(values) for values in zip(*cells, strict=True))
    whole = evidence(make_rows(user, item, timestamp), split)
    blocks = [whole.take(np.arange(len(cells)) < cut), whole.take(np.arange(len(cells)) >= cut)]
    pieces: dict[int, list[Evidence]] = {}
    for block in blocks:
        for part, rows in leakage.partition(protocol, leakage.reduce(protocol, block), parts).items():
            pieces.setdefault(part, []).append(rows)
    found = [leak for part in pieces.values() for leak in leakage.find_leaks(protocol, leakage.concatenate(part))]
    assert bool(found) == bool(leakage.find_leaks(protocol, whole))


@settings(max_examples=200, deadline=None)
@given(SMALL)
def test_the_check_of_leave_last_out_equals_its_definition(cells):
    user, item, timestamp, split = (np.array(values) for values in zip(*cells, strict=True))
    rows = evidence(make_rows(user, item, timestamp), split)
    kept = True
    for u in set(user.tolist()):
        mine = sorted((int(timestamp[i]), i, int(split[i])) for i in np.flatnonzero(user == u))
        sequence = [s for _, _, s in mine]
        kept &= sequence == sorted(sequence) and sequence.count(TEST) <= 1 and sequence.count(EVAL) <= 1
    assert (leakage.find_leaks("leave-last-out", rows) == []) == kept
