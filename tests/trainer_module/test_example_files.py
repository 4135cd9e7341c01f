"""Examples on disk in either format, as batches of any size."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_module.data.example_files import (
    ExampleFiles,
    rebatched,
    serialized,
    single_values,
    values_and_row_splits,
    write_parquet,
)
from trainer_module.errors import DataError

from .conftest import SPEC, batch_of, rows, serialize, write_examples

SCHEMA = SPEC.arrow_schema()


@pytest.fixture(scope="module", params=["parquet", "gz"])
def files(request, tmp_path_factory) -> ExampleFiles:
    """All rows in two files."""
    directory = tmp_path_factory.mktemp("files")
    for number, part in enumerate((rows()[:600], rows()[600:])):
        file = directory / f"examples-{number}.{request.param}"
        if request.param == "parquet":
            write_parquet(str(file), pa.Table.from_batches([batch_of(part)]))
        else:
            write_examples(file, part)
    return ExampleFiles([str(directory / "*")])


def as_rows(batches) -> list[dict]:
    return [row for batch in batches for row in batch.to_pylist()]


def test_both_formats_give_every_example_in_order(files):
    assert files.num_examples == 1000
    batches = list(files.batches(SCHEMA, 300))
    assert [batch.num_rows for batch in batches] == [300, 300, 300, 100]
    assert as_rows(batches) == batch_of(rows()).to_pylist()


def test_columns_come_as_they_are_asked_for(files):
    schema = pa.schema([SCHEMA.field("rating"), SCHEMA.field("tags")])
    (batch,) = files.batches(schema)
    assert batch.schema.equals(schema)


@pytest.mark.parametrize(("every", "first"), [(7, 0), (7, 6), (601, 600), (2, 1)])
def test_one_in_so_many_is_taken_over_the_ends_of_files(files, every, first):
    assert as_rows(files.batches(SCHEMA, every=every, first=first)) == batch_of(rows()[first::every]).to_pylist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 20))
def test_rebatching_loses_and_moves_nothing(sizes, size):
    starts = np.cumsum([0, *sizes])
    batches = [pa.record_batch({"n": np.arange(a, b)}) for a, b in itertools.pairwise(starts)]
    found = list(rebatched(batches, size))
    assert [value for batch in found for value in batch.column("n").to_pylist()] == list(range(starts[-1]))
    assert {batch.num_rows for batch in found[:-1]} <= {size}
    assert 1 <= found[-1].num_rows <= size


def test_serialized_rows_are_the_examples_that_were_meant():
    examples = serialized(batch_of(rows()[:20]))
    parse = tf.train.Example.FromString
    assert [parse(example) for example in examples] == [parse(serialize(row)) for row in rows()[:20]]


def test_a_column_of_no_type_and_no_value_is_left_out():
    users = pa.array([[b"a"]], pa.large_list(pa.large_binary()))
    (example,) = serialized(pa.RecordBatch.from_arrays([users, pa.nulls(1)], ["user", "tags"]))
    assert list(tf.train.Example.FromString(example).features.feature) == ["user"]


def test_lists_become_values_and_row_splits():
    lists = pa.array([[1, 2], None, [], [3]], pa.large_list(pa.int64()))
    values, row_splits = values_and_row_splits(lists.slice(1))
    assert (values.tolist(), row_splits.tolist()) == ([3], [0, 0, 0, 1])
    values, row_splits = values_and_row_splits(lists)
    assert (values.tolist(), row_splits.tolist()) == ([1, 2, 3], [0, 2, 2, 2, 3])


@pytest.mark.parametrize("lists", [[[1.0], []], [[1.0], [2.0, 3.0]], [[], [1.0, 2.0]], [None, [1.0]]])
def test_a_required_value_stands_in_every_row_once(lists):
    batch = pa.record_batch({"x": pa.array(lists, pa.large_list(pa.float32()))})
    with pytest.raises(DataError, match=r"column 'x': \d values in 2 rows; expected one in every row"):
        single_values(batch, "x")
    assert single_values(batch.slice(0, 0), "x").tolist() == []


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no example files match .*nowhere"):
        ExampleFiles([str(tmp_path / "nowhere-*")])
    write_parquet(str(tmp_path / "empty.parquet"), SCHEMA.empty_table())
    with pytest.raises(DataError, match=r"empty\.parquet are empty"):
        ExampleFiles([str(tmp_path / "*")])
