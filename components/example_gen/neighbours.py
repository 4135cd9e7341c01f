"""What a user rated and who rated an item, in the training split: samples of bounded size. Arithmetic on columns.

The neighbours of a row are those of its user and its item without the row itself; a model that learns from them is the
first layer of a graph convolution (van den Berg et al., "Graph Convolutional Matrix Completion", 2017), or SVD++ from
both sides (Koren, KDD 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.example_gen.old_splits import mix

RATED, RATERS = "rated", "raters"


@dataclass(frozen=True)
class Sample:
    """Some neighbours of each key, `[pairs]` each, sorted by key, then rank.

    Attributes:
        key: Whose they are; int64.
        neighbour: int64.
        rank: Orders the neighbours of a key by chance, always in the same way; uint64.
    """

    key: np.ndarray
    neighbour: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, key: np.ndarray, neighbour: np.ndarray, rank: np.ndarray, size: int) -> "Sample":
        """Keeps for each key the `size` pairs of lowest rank."""
        order = np.lexsort((rank, key))
        key = key[order]
        position = np.arange(len(key)) - np.searchsorted(key, key, side="left")
        order, key = order[position < size], key[position < size]
        return cls(key, neighbour[order], rank[order])

    def lists(self, keys: np.ndarray, left_out: np.ndarray, length: int) -> pa.LargeListArray:
        """The neighbours of `keys`, `[rows]` large lists of int64 of `length` at most.

        Args:
            keys: `[rows]` int64.
            left_out: A neighbour that does not count, `[rows]` int64.
            length: Of a list; samples that hold one more pair lose none to what is left out.
        """
        start, end = (np.searchsorted(self.key, keys, side=side) for side in ("left", "right"))
        lengths = end - start
        row = np.repeat(np.arange(len(keys)), lengths)
        first = np.repeat(np.cumsum(lengths) - lengths, lengths)
        neighbour = self.neighbour[np.arange(len(row)) - first + np.repeat(start, lengths)]
        kept = neighbour != left_out[row]
        before = np.concatenate([[0], np.cumsum(kept)])
        kept &= before[1:] - before[first] <= length
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=len(keys)))])
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(neighbour[kept], pa.int64()))


@dataclass(frozen=True)
class Neighbours:
    """Samples from both sides; memory grows with the number of users and items, not of ratings.

    Attributes:
        items: Of users.
        users: Of items.
    """

    items: Sample
    users: Sample

    @classmethod
    def of(cls, user: np.ndarray, item: np.ndarray, length: int) -> "Neighbours":
        """Samples pairs.

        Args:
            user: `[pairs]` int64.
            item: `[pairs]` int64.
            length: Of the lists that will be asked for.
        """
        rank = mix(mix(user.astype(np.uint64)) ^ item.astype(np.uint64))
        return cls(Sample.of(user, item, rank, length + 1), Sample.of(item, user, rank, length + 1))

    def columns(self, user: np.ndarray, item: np.ndarray, length: int) -> dict[str, pa.LargeListArray]:
        """By name of the column, the neighbours of pairs `[rows]`, each pair itself left out."""
        return {RATED: self.items.lists(user, item, length), RATERS: self.users.lists(item, user, length)}


def merge(parts: Sequence[Neighbours], length: int) -> Neighbours:
    """What `Neighbours.of` gives for all pairs of the parts; associative and commutative."""

    def joined(samples: Sequence[Sample]) -> Sample:
        columns = ([vars(sample)[name] for sample in samples] for name in ("key", "neighbour", "rank"))
        return Sample.of(*map(np.concatenate, columns), size=length + 1)

    return Neighbours(joined([part.items for part in parts]), joined([part.users for part in parts]))
