"""Partitions of users: whole, in the order of the files, and without gaps where that is asked for."""

import pickle

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen import transforms
from components.example_gen.rows import ITEM, POSITION, ROW_TYPES, USER, Rows
from components.example_gen.spilling import IN_MEMORY, Aside
from components.example_gen.transforms import GatherUsers

SCHEMA = pa.schema([(name, ROW_TYPES[name]) for name in (POSITION, USER, ITEM)])
# Splits follow from the items, so that a row that got the split of another would show.
SPLITS = 3


def block(index: int, *rows: tuple[int, int, int]) -> Rows:
    columns = [pa.array(values, pa.int64()) for values in zip(*rows, strict=True)]
    return Rows(
        index, pa.RecordBatch.from_arrays(columns, schema=SCHEMA), np.array(rows)[:, 2].astype(np.int8) % SPLITS
    )


# Of users 0 (in two blocks), 3 and 1: position, user and item of each row.
BLOCKS = [block(1, (20, 0, 7), (21, 1, 8)), block(0, (10, 0, 5), (11, 3, 6))]


def assert_gathered(
    schema: pa.Schema | None, expected: dict[int, list[tuple[int, int]]], aside: Aside = IN_MEMORY
) -> None:
    """Compares rows by partition of three."""
    with beam.Pipeline() as pipeline:
        found = pipeline | beam.Create(BLOCKS) | GatherUsers(3, schema, aside) | beam.Map(pairs)
        assert_that(found, equal_to(list(expected.items())))


def pairs(rows: Rows) -> tuple[int, list[tuple[int, int]]]:
    assert rows.split is not None
    np.testing.assert_array_equal(rows.split, rows.column(ITEM) % SPLITS)
    return rows.index, list(zip(rows.column(USER).tolist(), rows.column(ITEM).tolist(), strict=True))


# Blocks are parted together up to the size, or each one by itself.
@pytest.mark.parametrize("bytes_together", [1, 1 << 20])
@pytest.mark.parametrize("in_files", [False, True])
def test_a_partition_holds_all_rows_of_its_users_in_the_order_of_the_files(
    tmp_path, monkeypatch, bytes_together, in_files
):
    monkeypatch.setattr(transforms, "_BYTES_PARTED_TOGETHER", bytes_together)
    aside = Aside(str(tmp_path)) if in_files else IN_MEMORY
    assert_gathered(None, {0: [(0, 5), (3, 6), (0, 7)], 1: [(1, 8)]}, aside)
    # Not a file for each partition of each block.
    assert len(list(tmp_path.iterdir())) <= in_files * len(BLOCKS)


def test_partitions_without_rows_appear_if_a_schema_is_given():
    assert_gathered(SCHEMA, {0: [(0, 5), (3, 6), (0, 7)], 1: [(1, 8)], 2: []})


@given(st.lists(st.tuples(st.integers(0, 99), st.binary(max_size=9)), max_size=30), st.data())
def test_rows_are_pickled_alone_and_come_back_as_they_were(rows, data):
    users, texts = [user for user, _ in rows], [[text, text] for _, text in rows]
    batch = pa.record_batch({USER: pa.array(users, pa.int64()), "t": pa.array(texts, pa.large_list(pa.binary()))})
    begin = data.draw(st.integers(0, len(rows)))
    cut = Rows(4, batch.slice(begin, 5), np.arange(len(rows), dtype=np.int8)[begin : begin + 5])
    found = pickle.loads(pickle.dumps(cut))
    assert found.index == 4 and found.batch.equals(cut.batch)
    np.testing.assert_array_equal(found.split, cut.split)


def test_a_slice_is_pickled_without_the_rows_around_it():
    batch = pa.record_batch({USER: pa.array(np.arange(100_000))})
    assert len(pickle.dumps(Rows(0, batch.slice(5, 10)))) < 2_000
