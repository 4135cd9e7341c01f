"""The largest of many scores: `tf.math.top_k`, several times as fast.

TensorFlow's operation looks at one score after the other. Here the maxima of blocks of scores are computed first, with
vector instructions, and only as many blocks are looked at as scores are wanted.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Long enough for few maxima, and short enough that those of `k` blocks are few scores.
_BLOCK = 64
# Of fewer scores, all are looked at.
_MANY = 20_000


class Largest(NamedTuple):
    """The largest of each row's scores, in descending order.

    Attributes:
        values: `[batch, k]`.
        indices: Their places, int32 `[batch, k]`.
    """

    values: tf.Tensor
    indices: tf.Tensor


def largest(scores: tf.Tensor, k: int | tf.Tensor) -> Largest:
    """What `tf.math.top_k` finds; of equal scores, those of the lowest places.

    Args:
        scores: float32 `[batch, n]` with a static `n`; no NaN.
        k: At most `n`.
    """
    if _num_scores(scores) >= _MANY:
        return largest_by_blocks(scores, k)
    best = tf.math.top_k(scores, k)
    return Largest(best.values, best.indices)


def largest_by_blocks(scores: tf.Tensor, k: int | tf.Tensor, size: int = _BLOCK) -> Largest:
    """As `largest`, for any number of scores.

    Each of the `k` blocks with the largest maxima holds a score that is no smaller than any in the blocks left out. So
    these hold the `k` largest scores; as blocks of equal maxima are chosen in their order, also where scores are equal.

    Args:
        scores: As `largest` takes them.
        k: Likewise.
        size: Of a block.
    """
    num_scores = _num_scores(scores)
    num_blocks = -(-num_scores // size)
    padded = tf.pad(scores, [[0, 0], [0, num_blocks * size - num_scores]], constant_values=-np.inf)
    blocks = tf.reshape(padded, [-1, num_blocks, size])
    chosen = tf.math.top_k(tf.reduce_max(blocks, axis=2), tf.minimum(k, num_blocks), sorted=False).indices
    # In the order of the scores, so that of equal ones the first is found first here too.
    chosen = tf.sort(chosen, axis=1)
    candidates = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [tf.shape(scores)[0], tf.shape(chosen)[1] * size])
    best = tf.math.top_k(candidates, k)
    block = tf.gather(chosen, best.indices // size, batch_dims=1)
    return Largest(best.values, block * size + best.indices % size)


def _num_scores(scores: tf.Tensor) -> int:
    number = scores.shape[1]
    assert number is not None
    return number
