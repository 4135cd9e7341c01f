"""The items whose vectors are nearest to that of an item, by the index of a pushed retrieval model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from components.retrieval_index import approximate
from components.retrieval_index.layout import FAISS_DIRECTORY
from trainer_module.errors import DataError, ModelError
from trainer_module.suggestions import did_you_mean


@dataclass(frozen=True)
class Neighbour:
    """An item near another.

    Attributes:
        item: Identifier.
        score: Dot product of both items' vectors, which is the cosine where the model compares by it.
    """

    item: str
    score: float


def neighbours(version: Path, item: str, k: int) -> list[Neighbour]:
    """The `k` nearest items of the catalog, the nearest first, without the item itself.

    Args:
        version: A pushed retrieval model.
        item: Identifier.
        k: Number of items; all others if there are fewer.

    Raises:
        DataError: The catalog has no such item.
        ModelError: The version has no index.
    """
    directory = version / FAISS_DIRECTORY
    if not (directory / approximate.INDEX_FILE).is_file():
        raise ModelError(
            f"{version} holds no {FAISS_DIRECTORY}/{approximate.INDEX_FILE}; name a pushed retrieval model"
        )
    index, ids = approximate.load(str(directory))
    return nearest(index, ids, item, k)


def nearest(index: faiss.Index, ids: Sequence[str], item: str, k: int) -> list[Neighbour]:
    """As `neighbours`, in an index whose row `n` is the vector of `ids[n]`."""
    if item not in ids:
        raise DataError(f"the catalog has no item {item!r}. {did_you_mean(item, ids, always=False)}".rstrip())
    if isinstance(index, faiss.IndexIVF):
        # Inverted lists do not say where a row lies.
        index.make_direct_map()
    query = index.reconstruct(ids.index(item))[np.newaxis]
    scores, rows = index.search(query, min(k + 1, len(ids)))
    found = [
        Neighbour(ids[row], score)
        for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        # An approximate index may find fewer, and fills up with -1.
        if row >= 0 and ids[row] != item
    ]
    return found[:k]
