"""The transformed training split in memory and in files: the same batches."""

import gc
import logging
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Numeric, Table, Weights
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.row_store import Limits, RowsInFiles, RowsInMemory, freeing_stores, store
from trainer_module.errors import DataError
from trainer_module.training.config import TrainingConfig

from .conftest import write_examples

ONE_HOST = tf.distribute.InputContext()
MUCH, NOTHING = 1 << 40, 0


def parts() -> list[dict]:
    """Five rows in two parts: dense columns of two types, one with an axis of its own, and ragged ones."""
    rows = tf.range(5, dtype=tf.int64)
    columns = {
        "id": rows[:, None] * 10,
        "number": tf.cast(rows, tf.float32)[:, None] / 3,
        "pair": tf.stack([rows, -rows], axis=1)[:, None, :],
        "label": tf.cast(rows, tf.float32),
        "tags": tf.ragged.constant([[1, 2], [], [3], [4, 5, 6], []], dtype=tf.int64),
        "weights": tf.ragged.constant([[0.1, 0.2], [], [0.3], [0.4, 0.5, 0.6], []], dtype=tf.float32),
        "never": tf.ragged.constant([[], [], [], [], []], dtype=tf.int64),
    }
    return [{name: value[:2] for name, value in columns.items()}, {name: value[2:] for name, value in columns.items()}]


def assert_equal(one, other) -> None:
    tf.nest.assert_same_structure(one, other, expand_composites=True)
    tf.nest.map_structure(np.testing.assert_array_equal, *(tf.nest.flatten(each, True) for each in (one, other)))


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [4, 3, 3, 0], [1], [1, 4]])
def test_files_give_the_same_rows_as_memory(tmp_path, rows):
    in_files = store(parts(), Limits(NOTHING, 0, str(tmp_path)))
    in_memory = store(parts(), Limits(MUCH, 0, str(tmp_path)))
    assert isinstance(in_files, RowsInFiles)
    assert isinstance(in_memory, RowsInMemory)
    assert in_files.num_rows == in_memory.num_rows == 5
    wanted = tf.constant(rows, tf.int64)
    assert_equal(in_files.gather(wanted), in_memory.gather(wanted))
    in_graph = [tf.function(each.gather)(wanted) for each in (in_files, in_memory)]
    assert_equal(*in_graph)
    assert_equal(in_graph[0], in_memory.gather(wanted))


@pytest.mark.parametrize("limit", [NOTHING, MUCH])
def test_columns_of_a_single_type_are_gathered_as_they_were(tmp_path, limit):
    columns = {"first": tf.constant([[1, 2], [3, 4]]), "second": tf.constant([5, 6]), "third": tf.constant([[7], [8]])}
    parts_of_a_row = [{name: value[row : row + 1] for name, value in columns.items()} for row in range(2)]
    made = store(parts_of_a_row, Limits(limit, 0, str(tmp_path)))
    rows = tf.constant([1, 0, 1], tf.int64)
    assert_equal(made.gather(rows), {name: tf.gather(value, rows) for name, value in columns.items()})


def test_pages_are_forgotten_and_read_again(tmp_path):
    in_files = RowsInFiles(parts(), str(tmp_path), mapped_bytes=1)
    rows = tf.constant([0, 4], tf.int64)
    assert_equal(in_files.gather(rows), in_files.gather(rows))


@pytest.mark.parametrize(("limit", "kind"), [(-1, RowsInFiles), (0, RowsInMemory)])
def test_the_budget_decides(tmp_path, limit, kind, caplog):
    num_bytes = sum(
        tensor.numpy().nbytes for part in parts() for tensor in tf.nest.flatten(part, expand_composites=True)
    )
    with caplog.at_level(logging.INFO, "trainer_module"):
        made = store(parts(), Limits(num_bytes + limit, 0, str(tmp_path)))
    assert isinstance(made, kind)
    assert ("in files below" in caplog.text) == (kind is RowsInFiles)
    assert "features of 5 rows: 0.000 GB" in caplog.text


def test_files_have_no_names_and_end_with_their_reader(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    in_files = RowsInFiles(parts(), str(tmp_path), 1)
    assert in_files.num_bytes
    assert not list(tmp_path.iterdir())
    assert len(os.listdir("/proc/self/fd")) > before
    del in_files
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_disk_is_an_error_with_a_way_out():
    with pytest.raises(DataError, match=r"cannot be written to /nowhere.*--memory-gb.*training\.cache to none"):
        store(parts(), Limits(NOTHING, 0, "/nowhere"))


def spec(layout: str) -> FeatureSpec:
    return FeatureSpec(
        columns=(
            Categorical(name="user", table="user"),
            Categorical(name="tags", table="tags", multivalent=True, layout=layout),
            Categorical(name="words", table="tags", multivalent=True, layout=layout, weights="strengths"),
            Weights(name="strengths"),
            Numeric(name="year"),
            Label(name="rating"),
            ExampleWeight(name="plays"),
        ),
        tables=(Table(name="user"), Table(name="tags")),
    )


NUM_EXAMPLES = 100


def as_ids(raw: dict) -> dict:
    """Stands for a transform graph: tokens to numbers."""
    return {
        name: value
        if value.dtype != tf.string
        else value.with_values(tf.strings.to_number(value.values, tf.int64))
        if isinstance(value, tf.SparseTensor)
        else tf.strings.to_number(value, tf.int64)
        for name, value in raw.items()
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    """Examples of all kinds of columns: dense, sparse, ragged with weights, and weights of examples."""
    random = np.random.default_rng(0)
    examples = []
    for number in range(NUM_EXAMPLES):
        tags, words = (random.integers(0, 9, random.integers(0, 4)).tolist() for _ in range(2))
        examples.append(
            {
                "user": [str(number).encode()],
                "tags": [str(tag).encode() for tag in tags],
                "words": [str(word).encode() for word in words],
                "strengths": random.random(len(words)).tolist(),
                "year": [float(number)],
                "rating": [float(number % 5)],
                "plays": [float(number)],
            }
        )
    directory: Path = tmp_path_factory.mktemp("rows")
    return write_examples(directory / "examples.gz", examples)


@pytest.mark.parametrize("layout", ["sparse", "ragged"])
@pytest.mark.parametrize(
    ("host", "first_step"), [(ONE_HOST, 0), (ONE_HOST, 7), (tf.distribute.InputContext(2, 1, 2), 2)]
)
def test_batches_are_the_same_bit_for_bit(file, tmp_path, layout, host, first_step):
    config = TrainingConfig(batch_size=32, seed=5)

    def batches(limit: int) -> list:
        reader = ExampleReader(
            spec(layout), ModelInputs(spec(layout), as_ids), [file], limits=Limits(limit, 0, str(tmp_path))
        )
        return list(reader.training_batches(config, host, first_step).take(9))

    in_files, in_memory = batches(NOTHING), batches(MUCH)
    features, _ = in_files[0]
    assert set(features) == {"user", "tags", "words", "strengths", "year", "plays"}
    kind = tf.SparseTensor if layout == "sparse" else tf.RaggedTensor
    assert all(isinstance(features[name], kind) for name in ("tags", "words", "strengths"))
    for one, other in zip(in_files, in_memory, strict=True):
        assert_equal(one, other)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [NOTHING, MUCH])
def test_an_eval_split_that_memory_may_not_hold_is_read_again(file, limit, caplog):
    reader = ExampleReader(spec("sparse"), ModelInputs(spec("sparse"), as_ids), [file], limits=Limits(MUCH, limit))
    with caplog.at_level(logging.INFO, "trainer_module"):
        batches = reader.evaluation_batches(30, TrainingConfig(), ONE_HOST)
    assert ("reads its examples again" in caplog.text) == (limit == NOTHING)
    first, second = list(batches), list(batches)
    assert len(first) == 4
    for one, other in zip(first, second, strict=True):
        assert_equal(one, other)


def batches_of(rows) -> tf.data.Dataset:
    """Two batches, gathered in a graph of `tf.data`."""
    return tf.data.Dataset.range(0, 4, 2).map(lambda first: rows.gather(first + tf.range(2, dtype=tf.int64)))


def test_rows_in_memory_are_freed_although_a_graph_has_gathered_them():
    with freeing_stores():
        rows = store(parts(), Limits(MUCH, 0))
        assert isinstance(rows, RowsInMemory)
        matrices = [weakref.ref(matrix) for matrix in rows._matrices]
        assert len(list(batches_of(rows))) == 2
        assert all(matrix() is not None for matrix in matrices)
    gc.collect()
    assert all(matrix() is None for matrix in matrices)


def test_files_of_rows_are_closed(tmp_path):
    def open_files() -> int:
        return sum("(deleted)" in os.readlink(link) for link in _descriptors() if str(tmp_path) in os.readlink(link))

    with freeing_stores():
        rows = store(parts(), Limits(NOTHING, 0, str(tmp_path)))
        assert len(list(batches_of(rows))) == 2
        assert open_files()
    gc.collect()
    assert not open_files()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_stores_that_are_made_outside_stay():
    rows = store(parts(), Limits(MUCH, 0))
    with freeing_stores():
        pass
    assert len(list(batches_of(rows))) == 2


def _descriptors() -> list[str]:
    """Paths of the links of open files."""
    found = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return [path for path in found if os.path.islink(path)]
