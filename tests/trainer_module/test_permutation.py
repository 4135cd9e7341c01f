"""The order of a training is TensorFlow's own, computed for many rows at a time."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from trainer_module.data.permutation import shuffled_batches, shuffled_rows


def of_tensorflow(positions: np.ndarray, num_examples: int, seed: int) -> np.ndarray:
    epochs, rows = np.divmod(positions, num_examples)
    seeds = np.stack([np.full_like(epochs, seed), epochs, np.zeros_like(epochs)], axis=1)
    return tf.raw_ops.RandomIndexShuffle(index=rows, seed=seeds, max_index=np.int64(num_examples - 1)).numpy()


@given(
    st.one_of(st.integers(2**16, 2**40), st.integers(16, 40).map(lambda bits: 2**bits), st.integers(1, 3000)),
    st.integers(0, 2**32),
    st.integers(0, 2**41),
)
def test_rows_are_those_of_tensorflows_operation(num_examples, seed, first):
    bits = (num_examples - 1).bit_length() - 1
    assume(num_examples != 2**bits + 1 or bits % 2 or bits < 16)
    rows = shuffled_rows(tf.constant(first, tf.int64), 50, num_examples, seed)
    np.testing.assert_array_equal(rows, of_tensorflow(np.arange(first, first + 50), num_examples, seed))


def test_rows_of_several_epochs_are_those_of_tensorflows_operation():
    first, number = 3 * 70_000 - 10_000, 150_000
    rows = shuffled_rows(tf.constant(first, tf.int64), number, 70_000, 42)
    np.testing.assert_array_equal(rows, of_tensorflow(np.arange(first, first + number), 70_000, 42))


@pytest.mark.parametrize("num_examples", [1, 2, 500, 65_535, 65_536, 65_537, 65_538, 2**18 + 1])
def test_an_epoch_holds_every_row_once(num_examples):
    for epoch in (0, 7):
        rows = shuffled_rows(tf.constant(epoch * num_examples, tf.int64), num_examples, num_examples, 42)
        np.testing.assert_array_equal(np.sort(rows), np.arange(num_examples))


@pytest.mark.parametrize("num_examples", [1234, 70_000])
@pytest.mark.parametrize("size", [7, 1000, 100_000])
def test_batches_go_on_where_the_first_position_says(size, num_examples):
    batches = shuffled_batches(3 * size, size, num_examples, 5)
    assert batches.element_spec.shape == [size]
    found = np.concatenate([rows.numpy() for rows in batches.take(4)])
    np.testing.assert_array_equal(found, shuffled_rows(tf.constant(3 * size, tf.int64), 4 * size, num_examples, 5))
