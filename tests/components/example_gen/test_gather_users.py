"""Partitions of users: whole, in the order of the files, and without gaps where that is asked for."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.testing.util import assert_that, equal_to

from components.example_gen.rows import ITEM, ROW_TYPES, USER, Rows
from components.example_gen.transforms import GatherUsers

SCHEMA = pa.schema([(name, ROW_TYPES[name]) for name in (USER, ITEM)])


def block(index: int, *rows: tuple[int, int]) -> Rows:
    columns = [pa.array(values, pa.int64()) for values in zip(*rows, strict=True)]
    return Rows(index, pa.RecordBatch.from_arrays(columns, schema=SCHEMA), np.zeros(len(rows), np.int8))


def assert_gathered(schema: pa.Schema | None, expected: dict[int, list[tuple[int, int]]]) -> None:
    """Compares rows by partition of three, of users 0 (in two blocks), 3 and 1."""
    with beam.Pipeline() as pipeline:
        blocks = pipeline | beam.Create([block(1, (0, 7), (1, 8)), block(0, (0, 5), (3, 6))])
        found = blocks | GatherUsers(3, schema) | beam.Map(pairs)
        assert_that(found, equal_to(list(expected.items())))


def pairs(rows: Rows) -> tuple[int, list[tuple[int, int]]]:
    assert rows.split is not None and len(rows.split) == rows.batch.num_rows
    return rows.index, list(zip(rows.column(USER).tolist(), rows.column(ITEM).tolist(), strict=True))


def test_a_partition_holds_all_rows_of_its_users_in_the_order_of_the_files():
    assert_gathered(None, {0: [(0, 5), (3, 6), (0, 7)], 1: [(1, 8)]})


def test_partitions_without_rows_appear_if_a_schema_is_given():
    assert_gathered(SCHEMA, {0: [(0, 5), (3, 6), (0, 7)], 1: [(1, 8)], 2: []})
