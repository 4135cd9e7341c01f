"""The first stage of a two-stage model: what finds the candidates, exactly or approximately, inside the SavedModel."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import faiss
import numpy as np
import tensorflow as tf

from components.retrieval_index import approximate
from components.retrieval_index.config import EXCLUDE, SECTION, K
from components.retrieval_index.exact import BY_COLUMN as RECOMMEND
from components.retrieval_index.exact import IDS, SCORES, TITLES, table_of_positions, write_ids
from components.retrieval_index.layout import FAISS_DIRECTORY
from components.retrieval_index.towers import captured_by
from trainer_module.data.clean import trimmed
from trainer_module.errors import ConfigError
from trainer_module.models.signatures import EMBED_QUERY, EMBEDDING

_NO_ITEM = -1


class CandidateSearch(Protocol):
    """Finds candidates.

    Attributes:
        columns: What it reads of a query, by name.
    """

    columns: dict[str, tf.TensorSpec]

    def find(self, columns: Mapping[str, tf.Tensor], exclude: tf.Tensor, count: int) -> dict[str, tf.Tensor]:
        """The best items of each query, best first.

        Args:
            columns: Of the queries.
            exclude: Identifiers to leave out, string `[batch, n]`, filled up with empty texts.
            count: Number of items; fewer may come back.

        Returns:
            `ids`, `titles` and `scores`, `[batch, at most count]` each. Where fewer items remain, identifiers are empty
            and scores -inf.
        """
        ...


class ExactCandidates(tf.Module):
    """The search of the retrieval model itself, which scores all items."""

    def __init__(self, retrieval: Any):
        """Takes a loaded retrieval model with the signature `recommend`."""
        super().__init__()
        self._retrieval = retrieval
        self._recommend = retrieval.signatures[RECOMMEND]
        self.columns = {name: spec for name, spec in inputs(self._recommend).items() if name not in (EXCLUDE, K)}

    def find(self, columns: Mapping[str, tf.Tensor], exclude: tf.Tensor, count: int) -> dict[str, tf.Tensor]:
        """Finds candidates; see `CandidateSearch.find`."""
        own = {name: columns[name] for name in self.columns}
        found = self._recommend(**own, **{EXCLUDE: exclude, K: tf.constant(count)})
        return {name: found[name] for name in (IDS, TITLES, SCORES)}


@dataclass(frozen=True)
class Cells:
    """The cells of a k-means over the items' vectors, as FAISS's inverted file has them.

    Attributes:
        centroids: Float32 `[cells, dim]`.
        splits: The members of cell c are `members[splits[c]:splits[c + 1]]`, int64 `[cells + 1]`.
        members: Rows of the items, int64 `[items]`.
        vectors: Of the items, float32 `[items, dim]`.
        ids: Of the items.
        num_probes: Number of cells that a search visits.
    """

    centroids: np.ndarray
    splits: np.ndarray
    members: np.ndarray
    vectors: np.ndarray
    ids: Sequence[str]
    num_probes: int


def read_cells(version: str) -> Cells:
    """Reads the FAISS index of a pushed retrieval model.

    Args:
        version: Its directory.

    Raises:
        ConfigError: The index is of another type than `ivf`.
    """
    index, ids = approximate.load(os.path.join(version, FAISS_DIRECTORY))
    if not isinstance(index, faiss.IndexIVFFlat):
        raise ConfigError(
            f"{version}: its FAISS index has no cells of whole vectors, which an approximate search needs; train the "
            f"retrieval model with {SECTION}.faiss: {{type: ivf}}, or search exactly"
        )
    lists = [
        faiss.rev_swig_ptr(index.invlists.get_ids(cell), index.invlists.list_size(cell)).copy()
        for cell in range(index.nlist)
    ]
    index.make_direct_map()
    return Cells(
        centroids=index.quantizer.reconstruct_n(0, index.nlist),
        splits=np.cumsum([0, *map(len, lists)]),
        members=np.concatenate(lists),
        vectors=index.reconstruct_n(0, index.ntotal),
        ids=ids,
        num_probes=index.nprobe,
    )


class ApproximateCandidates(tf.Module):
    """Scores the items of the cells whose centroids have the largest dot products with the query, and no others."""

    def __init__(self, retrieval: Any, cells: Cells, titles: Mapping[str, str], ids_file: str):
        """Copies the cells into variables, which a SavedModel stores outside its graph of at most 2 GB.

        Args:
            retrieval: A loaded retrieval model with the signature `embed_query`; its own vectors are left behind.
            cells: Of its items.
            titles: Of the items, by identifier.
            ids_file: Is written; becomes an asset of the SavedModel.
        """
        super().__init__()
        self._embed = retrieval.signatures[EMBED_QUERY]
        self._of_queries = captured_by(retrieval, [EMBED_QUERY])
        self.columns = inputs(self._embed)
        self._centroids = tf.Variable(cells.centroids, trainable=False, name="centroids")
        self._splits = tf.Variable(cells.splits, trainable=False, dtype=tf.int64, name="cell_splits")
        self._members = tf.Variable(cells.members, trainable=False, dtype=tf.int64, name="cell_members")
        self._vectors = tf.Variable(cells.vectors, trainable=False, name="item_vectors")
        self._ids = tf.Variable(list(cells.ids), trainable=False, name="item_ids")
        self._titles = tf.Variable([titles[item] for item in cells.ids], trainable=False, name="item_titles")
        self._num_probes = min(cells.num_probes, len(cells.centroids))
        write_ids(cells.ids, ids_file)
        self._positions = table_of_positions(ids_file)

    def find(self, columns: Mapping[str, tf.Tensor], exclude: tf.Tensor, count: int) -> dict[str, tf.Tensor]:
        """Finds candidates; see `CandidateSearch.find`."""
        queries = self._embed(**{name: columns[name] for name in self.columns})[EMBEDDING]
        rows = self._visited(queries)
        vectors = tf.gather(self._vectors, tf.maximum(rows, 0))
        scores = tf.where(rows == _NO_ITEM, -np.inf, tf.linalg.matvec(vectors, queries))
        # No more than the excluded ones can be in the way of the best that remain.
        excluded = self._positions.lookup(trimmed(exclude))
        longest = tf.minimum(count + tf.shape(excluded)[1], tf.shape(rows)[1])
        best = tf.math.top_k(scores, longest)
        rows = tf.gather(rows, best.indices, batch_dims=1)
        is_excluded = tf.reduce_any(rows[:, :, tf.newaxis] == excluded[:, tf.newaxis], axis=2)
        left = tf.math.top_k(tf.where(is_excluded, -np.inf, best.values), tf.minimum(count, longest))
        rows, remains = tf.maximum(tf.gather(rows, left.indices, batch_dims=1), 0), left.values > -np.inf
        return {
            IDS: tf.where(remains, tf.gather(self._ids, rows), ""),
            TITLES: tf.where(remains, tf.gather(self._titles, rows), ""),
            SCORES: left.values,
        }

    def _visited(self, queries: tf.Tensor) -> tf.Tensor:
        """Rows of the items in the nearest cells of each query, `[batch, n]`, filled up with -1."""
        nearest = tf.math.top_k(tf.matmul(queries, self._centroids, transpose_b=True), self._num_probes).indices
        cells = tf.RaggedTensor.from_row_splits(self._members.read_value(), self._splits.read_value(), validate=False)
        return tf.gather(cells, nearest).merge_dims(1, 2).to_tensor(_NO_ITEM)


def inputs(signature: Any) -> dict[str, tf.TensorSpec]:
    """What a signature reads, by name."""
    return dict(signature.structured_input_signature[1])
