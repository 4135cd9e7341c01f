"""The order in which a training sees its rows: a permutation that is computed and not stored.

It is that of TensorFlow's `RandomIndexShuffle`: four rounds of the block cipher Simon
(https://eprint.iacr.org/2013/404), repeated while they lead out of the range (cycle walking,
https://www.cs.ucdavis.edu/~rogaway/papers/subset.pdf). The operation makes the cipher's keys anew for every row, which
takes longer than to gather the rows; here, the rows of an epoch share them. In one case the orders differ: of
4 ** k + 1 rows, for k from 8 on, the operation gives one twice and another one never.
"""

import functools

import numpy as np
import tensorflow as tf

# What a call of NumPy costs by itself is shared by so many.
_ROWS_PER_CALL = 65_536
# Few enough for temporary arrays to stay in the processor's caches.
_ROWS_PER_ENCRYPTION = 8192
# The operation's smallest block has 16 bits. In a small part of a block walks are long, which only the operation can
# take row by row.
_FEWEST_ROWS = 2**16
# Bits of half a block that fit twice into 32-bit integers, which NumPy computes with twice as fast.
_BITS_OF_HALF_A_WORD = 16
_KEY_BITS = 0xFFFFFFFF
# Simon's; the fourth key has the first bit of its sequence as well.
_CONSTANT = 0xFFFFFFFC


def shuffled_batches(first: int, size: int, num_examples: int, seed: int) -> tf.data.Dataset:
    """The rows of batches without end, int64 `[size]`; see `shuffled_rows`.

    Args:
        first: Position of the first batch's first row, counted over all epochs.
        size: Rows of a batch.
        num_examples: Rows of an epoch, from 1.
        seed: Of the order.
    """
    number = max(1, _ROWS_PER_CALL // size)

    def batches(position: tf.Tensor) -> tf.Tensor:
        return tf.reshape(shuffled_rows(position, number * size, num_examples, seed), [number, size])

    # Not several at a time, since they would contend for Python's lock.
    function = tf.autograph.experimental.do_not_convert(batches)
    return tf.data.Dataset.counter(first, number * size).map(function, num_parallel_calls=1).unbatch()


def shuffled_rows(first: tf.Tensor, number: int, num_examples: int, seed: int) -> tf.Tensor:
    """Which rows the training sees from a position on, int64 `[number]`, also inside a graph.

    Every epoch visits every row once, in an order that follows from seed and epoch without any state.

    Args:
        first: The position, counted over all epochs, an int64 scalar.
        number: How many rows. Many at a time take the least time.
        num_examples: Rows of an epoch, from 1.
        seed: Of the order.
    """
    if num_examples < _FEWEST_ROWS:
        positions = first + tf.range(number, dtype=tf.int64)
        epochs = tf.math.floordiv(positions, num_examples)
        seeds = tf.stack([tf.fill([number], tf.constant(seed, tf.int64)), epochs, tf.zeros_like(epochs)], axis=1)
        last = tf.constant(num_examples - 1, tf.int64)
        return tf.raw_ops.RandomIndexShuffle(
            index=tf.math.floormod(positions, num_examples), seed=seeds, max_index=last
        )
    rows = functools.partial(_rows, number=number, num_examples=num_examples, seed=seed)
    return tf.ensure_shape(tf.numpy_function(rows, [first], tf.int64, stateful=False), [number])


def _rows(first: np.int64, number: int, num_examples: int, seed: int) -> np.ndarray:
    epoch, start = divmod(int(first), num_examples)
    parts = []
    while number:
        stop = min(num_examples, start + number)
        parts.append(_rows_of_epoch(epoch, start, stop, num_examples, seed))
        epoch, start, number = epoch + 1, 0, number - (stop - start)
    return np.concatenate(parts)


def _rows_of_epoch(epoch: int, start: int, stop: int, num_examples: int, seed: int) -> np.ndarray:
    # Of half a block.
    bits = ((num_examples - 1).bit_length() + 1) // 2
    rows = np.arange(start, stop, dtype=np.uint32 if bits <= _BITS_OF_HALF_A_WORD else np.uint64)
    encrypted = functools.partial(_encrypted, keys=(seed & _KEY_BITS, epoch & _KEY_BITS), bits=bits)
    for first in range(0, len(rows), _ROWS_PER_ENCRYPTION):
        part = rows[first : first + _ROWS_PER_ENCRYPTION]
        part[:] = encrypted(part)
    outside = np.flatnonzero(rows >= num_examples)
    while len(outside):
        walked = encrypted(rows[outside])
        rows[outside] = walked
        outside = outside[walked >= num_examples]
    return rows.astype(np.int64)


def _encrypted(rows: np.ndarray, keys: tuple[int, int], bits: int) -> np.ndarray:
    """Four rounds of Simon on blocks of two halves; two keys are given, the third is 0, and the fourth follows."""
    mask = 2**bits - 1
    first, second = keys
    fourth = first ^ _CONSTANT ^ 1
    left, right = rows >> bits, rows & mask
    left ^= _mixed(right, bits) ^ (first & mask)
    right ^= _mixed(left, bits) ^ (second & mask)
    left ^= _mixed(right, bits)
    right ^= _mixed(left, bits) ^ (fourth & mask)
    return left << bits | right


def _mixed(half: np.ndarray, bits: int) -> np.ndarray:
    """Simon's round function: rotations by 1 and 8, combined, and one by 2."""
    # A rotation by n is what lies n bits to the left in two copies side by side.
    twice = half << bits | half
    return (twice >> (bits - 1) & twice >> (bits - 8) ^ twice >> (bits - 2)) & 2**bits - 1
