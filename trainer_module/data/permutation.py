"""The order in which a training sees its rows: a permutation that is computed and not stored.

It is that of TensorFlow's `RandomIndexShuffle`: four rounds of the block cipher Simon
(https://eprint.iacr.org/2013/404), repeated while they lead out of the range (cycle walking,
https://www.cs.ucdavis.edu/~rogaway/papers/subset.pdf). The operation makes the cipher's keys anew for every row, which
for a small model takes as long as a training step; here, the rows of a call share them. In one case the orders differ:
of 4 ** k + 1 rows, for k from 8 on, the operation gives one twice and another one never.
"""

import functools

import numpy as np
import tensorflow as tf

_KEY_BITS = 0xFFFFFFFF
_CONSTANT = 0xFFFFFFFC
# The operation's smallest block has 16 bits. In a small part of a block walks are long, which only the operation can
# take row by row.
_FEWEST_ROWS = 2**16


def shuffled_rows(positions: tf.Tensor, num_examples: int, seed: int) -> tf.Tensor:
    """Which rows the training sees at some positions, int64 `[positions]`, also inside a graph.

    Every epoch visits every row once, in an order that follows from seed and epoch without any state.

    Args:
        positions: Counted over all epochs, int64 `[positions]`. Many at a time take the least time.
        num_examples: Rows of an epoch, from 1.
        seed: Of the order.
    """
    if num_examples < _FEWEST_ROWS:
        epochs = tf.math.floordiv(positions, num_examples)
        seeds = tf.stack([tf.fill(tf.shape(epochs), tf.constant(seed, tf.int64)), epochs, tf.zeros_like(epochs)], 1)
        last = tf.constant(num_examples - 1, tf.int64)
        return tf.raw_ops.RandomIndexShuffle(
            index=tf.math.floormod(positions, num_examples), seed=seeds, max_index=last
        )
    permuted = functools.partial(_permuted, num_examples=num_examples, seed=seed)
    rows = tf.numpy_function(permuted, [positions], tf.int64, stateful=False)
    return tf.ensure_shape(rows, positions.shape)


def _permuted(positions: np.ndarray, num_examples: int, seed: int) -> np.ndarray:
    epochs, rows = np.divmod(positions, num_examples)
    # Of half a block.
    bits = ((num_examples - 1).bit_length() + 1) // 2
    rows = _encrypted(rows, seed & _KEY_BITS, epochs & _KEY_BITS, bits)
    outside = np.flatnonzero(rows >= num_examples)
    while len(outside):
        walked = _encrypted(rows[outside], seed & _KEY_BITS, epochs[outside] & _KEY_BITS, bits)
        rows[outside] = walked
        outside = outside[walked >= num_examples]
    return rows


def _encrypted(rows: np.ndarray, seed: int, epochs: np.ndarray, bits: int) -> np.ndarray:
    """Four rounds of Simon, with the keys seed, epoch, 0 and what follows from these, on blocks of two halves."""
    mask = 2**bits - 1
    left, right = rows >> bits, rows & mask
    left ^= _mixed(right, bits) ^ (seed & mask)
    right ^= _mixed(left, bits) ^ (epochs & mask)
    left ^= _mixed(right, bits)
    right ^= _mixed(left, bits) ^ ((seed ^ _CONSTANT ^ 1) & mask)
    return left << bits | right


def _mixed(half: np.ndarray, bits: int) -> np.ndarray:
    """Simon's round function: rotations by 1 and 8, combined, and one by 2."""
    # A rotation by n is what lies n bits to the left in two copies side by side.
    twice = half << bits | half
    return (twice >> (bits - 1) & twice >> (bits - 8) ^ twice >> (bits - 2)) & 2**bits - 1
