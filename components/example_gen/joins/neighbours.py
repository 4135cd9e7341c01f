"""The items of a user and the users of an item in the train split: samples of bounded size. Arithmetic on columns.

The neighbours of a row are those of its user and its item without the row itself. A model that learns from them is the
first layer of a graph convolution (van den Berg et al., "Graph Convolutional Matrix Completion", 2017), or SVD++ from
both sides (Koren, KDD 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.example_gen.joins.histories import as_tokens
from components.example_gen.output.examples import Part
from components.example_gen.rows import ITEM, TRAIN, USER, Entities, Rows
from components.example_gen.splits.hashing import mix
from trainer_module.data.dataset import RATED, RATERS


@dataclass(frozen=True)
class Sample:
    """Some neighbours of each key, `[pairs]` each, sorted by key, then rank.

    Attributes:
        key: User or item that the neighbour belongs to; int64.
        neighbour: Item or user; int64.
        rank: Hash that puts the neighbours of a key in a random but fixed order; uint64.
    """

    key: np.ndarray
    neighbour: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, key: np.ndarray, neighbour: np.ndarray, rank: np.ndarray, size: int) -> "Sample":
        """Keeps the `size` pairs of lowest rank of each key."""
        order = np.lexsort((rank, key))
        key = key[order]
        position = np.arange(len(key)) - np.searchsorted(key, key, side="left")
        order, key = order[position < size], key[position < size]
        return cls(key, neighbour[order], rank[order])

    def lists(self, keys: np.ndarray, left_out: np.ndarray, length: int) -> pa.LargeListArray:
        """The neighbours of `keys`, `[rows]` large lists of int64.

        Args:
            keys: `[rows]` int64.
            left_out: A neighbour to leave out of each list, `[rows]` int64.
            length: Most neighbours of a list. Samples that hold one more pair per key still fill it when one is left
                out.
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
        items: The items of each user.
        users: The users of each item.
    """

    items: Sample
    users: Sample

    @classmethod
    def of(cls, user: np.ndarray, item: np.ndarray, length: int) -> "Neighbours":
        """Samples pairs.

        Args:
            user: `[pairs]` int64.
            item: `[pairs]` int64.
            length: Most neighbours of the lists that `columns` will make.
        """
        rank = mix(mix(user.astype(np.uint64)) ^ item.astype(np.uint64))
        return cls(Sample.of(user, item, rank, length + 1), Sample.of(item, user, rank, length + 1))

    def columns(self, user: np.ndarray, item: np.ndarray, length: int) -> dict[str, pa.LargeListArray]:
        """The neighbours of pairs, by name of the column; each pair itself is left out.

        Args:
            user: `[rows]` int64.
            item: `[rows]` int64.
            length: Most neighbours of a list.
        """
        return {RATED: self.items.lists(user, item, length), RATERS: self.users.lists(item, user, length)}


def merge(parts: Sequence[Neighbours], length: int) -> Neighbours:
    """What `Neighbours.of` returns for the pairs of all parts; associative and commutative."""

    def joined(samples: Sequence[Sample]) -> Sample:
        columns = ([vars(sample)[name] for sample in samples] for name in ("key", "neighbour", "rank"))
        return Sample.of(*map(np.concatenate, columns), size=length + 1)

    return Neighbours(joined([part.items for part in parts]), joined([part.users for part in parts]))


class NeighbourJoin:
    """The columns `rated` and `raters`: other items of the row's user, and other users of the row's item."""

    name = "neighbours"
    needs_summary = True
    whole_users = False

    def __init__(self, length: int):
        """Takes the largest number of neighbours of a list."""
        self._length = length

    def summarize(self, rows: Rows, entities: Entities) -> Neighbours:
        in_train = rows.split == TRAIN
        return Neighbours.of(rows.column(USER)[in_train], rows.column(ITEM)[in_train], self._length)

    def merge(self, parts: Sequence[Neighbours]) -> Neighbours:
        return merge(parts, self._length)

    def parts(self, rows: Rows, known: Neighbours, entities: Entities) -> list[Part]:
        tables = {RATED: entities.items, RATERS: entities.users}
        lists = known.columns(rows.column(USER), rows.column(ITEM), self._length)
        return [Part.of_rows({name: as_tokens(values, tables[name]) for name, values in lists.items()})]
