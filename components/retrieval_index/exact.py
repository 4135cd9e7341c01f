"""Exact search as a SavedModel of plain TensorFlow operations that includes the query tower.

The model scores every candidate against every query and returns the best. A batch needs `8 * batch * candidates` bytes
for scores. The model holds one copy of the candidates' vectors, in float32 or int8.
"""

import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from components.retrieval_index.catalog import Catalog
from components.retrieval_index.config import EXCLUDE, LONGEST_CUTOFF, K
from components.retrieval_index.item_vectors import Float32Vectors, Int8Vectors
from components.retrieval_index.largest import largest
from components.retrieval_index.popularity import third_bounds
from components.retrieval_index.towers import Towers
from trainer_module.data.clean import trimmed
from trainer_module.data.spec import RELEVANT, SEEN
from trainer_module.errors import ConfigError
from trainer_module.models.signatures import EMBED_QUERIES, EMBED_QUERY, EMBEDDING

BY_EXAMPLE, BY_COLUMN, EVALUATE = "serving_default", "recommend", "evaluate"
IDS, TITLES, SCORES, TRAIN_COUNTS = "ids", "titles", "scores", "train_counts"
# Further outputs of `evaluate`, besides `ids` and `train_counts`.
POPULAR_IDS, RELEVANT_COUNTS, CANDIDATES = "popular_ids", "relevant_train_counts", "candidates"
IDS_WITH_SEEN = "ids_with_seen"
THIRD_BOUNDS = "third_bounds"

# Numbers that one call makes, 28 MB. The C library maps arrays of more than 32 MB anew each time, which takes a third
# of the time.
_NUMBERS_AT_ONCE = 7 << 20

UNKNOWN = -1
"""Position of an identifier that a `table_of_positions` does not know."""


def queries_at_once(numbers: int) -> int:
    """How many queries to ask in one call, so that memory does not grow with the candidates.

    Args:
        numbers: That a call makes for each query, such as one score per candidate.
    """
    return max(1, _NUMBERS_AT_ONCE // numbers)


def table_of_positions(ids_file: str) -> tf.lookup.StaticHashTable:
    """From identifiers to their places, int64; the file, one per line, becomes an asset of a SavedModel."""
    return tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            ids_file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        ),
        default_value=UNKNOWN,
    )


def write_ids(ids: Iterable[str], ids_file: str) -> None:
    """Writes the file that `table_of_positions` reads."""
    with open(ids_file, "w", encoding="utf-8") as file:
        file.writelines(f"{item}\n" for item in ids)


class ExactSearch(tf.Module):
    """Finds the candidates with the largest dot product.

    Equal scores keep the order of the candidates. Equal vectors may have scores that differ in the last bit, because
    float32 sums depend on a candidate's position and the batch size. Excluded candidates have the score -inf. If fewer
    than `k` candidates remain, the rest of the answer has that score, empty strings and counts of 0.
    """

    def __init__(self, towers: Towers, catalog: Catalog, ids_file: str, quantize: bool = False):
        """Copies the candidates into variables, which a SavedModel stores outside its graph of at most 2 GB.

        Args:
            towers: The model's towers; only the query tower is used.
            catalog: The candidates. Vectors are copied block by block.
            ids_file: One identifier per line, in the catalog's order; becomes an asset of the SavedModel.
            quantize: Whether vectors become int8 rows.
        """
        super().__init__()
        # Tracks these objects only. Tracking the whole model would include the candidates' tables.
        self._of_queries = towers.query_trackables
        self._vectors = (Int8Vectors if quantize else Float32Vectors)(catalog.vectors)
        self._ids = tf.Variable(catalog.ids, trainable=False, name="candidate_ids")
        self._titles = tf.Variable(catalog.titles, trainable=False, name="candidate_titles")
        self._train_counts = tf.Variable(catalog.train_counts, trainable=False, name="candidate_train_counts")
        self._positions = table_of_positions(ids_file)

    def search(self, queries: tf.Tensor, exclude: tf.Tensor, k: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Finds the best candidates of each query.

        Args:
            queries: Vectors `[batch, dim]`.
            exclude: Identifiers to exclude, string `[batch, n]`. Unknown identifiers, such as padding, are ignored.
            k: Number of candidates per query; at most all candidates are returned.

        Returns:
            Identifiers, titles, scores and training counts, each `[batch, min(k, candidates)]`, best first.
        """
        return self.best(self.scores(queries), exclude, k)

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """Dot products of query vectors `[batch, dim]` with all candidates, `[batch, candidates]`."""
        return self._vectors.scores(queries)

    def most_popular(self, exclude: tf.Tensor, k: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Like `search`, but scores each candidate by its number of rows in the training split."""
        counts = tf.cast(self._train_counts, tf.float32)
        return self.best(tf.repeat(counts[tf.newaxis], tf.shape(exclude)[0], axis=0), exclude, k)

    def train_counts(self, ids: tf.Tensor) -> tf.Tensor:
        """Number of training rows of each identifier, int64; 0 for unknown identifiers."""
        positions = self._positions.lookup(ids)
        counts = tf.gather(self._train_counts, tf.maximum(positions, 0))
        return tf.where(positions == UNKNOWN, tf.zeros_like(counts), counts)

    def best(self, scores: tf.Tensor, exclude: tf.Tensor, k: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Like `search`, from the candidates' scores `[batch, candidates]`."""
        positions = self._positions.lookup(trimmed(exclude))
        known = tf.where(positions != UNKNOWN)
        cells = tf.stack([known[:, 0], tf.gather_nd(positions, known)], axis=1)
        scores = tf.tensor_scatter_nd_update(scores, cells, tf.fill(tf.shape(known)[:1], -np.inf))
        best = largest(scores, tf.minimum(k, self._ids.shape[0]))
        remains = best.values > -np.inf
        return {
            IDS: tf.where(remains, tf.gather(self._ids, best.indices), ""),
            TITLES: tf.where(remains, tf.gather(self._titles, best.indices), ""),
            SCORES: best.values,
            TRAIN_COUNTS: tf.where(remains, tf.gather(self._train_counts, best.indices), 0),
        }


def save_exact_search(
    towers: Towers, catalog: Catalog, max_k: int, scratch: str, directory: str, quantize: bool = False
) -> None:
    """Writes the SavedModel.

    Its signatures:

    - `serving_default`: takes `examples`, serialized queries, string `[batch]`, and excludes the items in an example's
      `seen`. Returns `ids`, `titles` (string), `scores` (float32) and `train_counts` (int64), each `[batch, max_k]`.
    - `evaluate`: takes `examples` as above. Returns `ids`, `train_counts`, `ids_with_seen` (nothing excluded) and
      `popular_ids` (the most frequent candidates of the training split, without seen items), each `[batch, 100]`;
      the example's `relevant` and `relevant_train_counts`, `[batch, n]`; the number of `candidates`, `[batch]`; and
      `third_bounds` (see `popularity.third_bounds`), int64 `[batch, 2]`.
    - `embed_queries` and `embed_query`: the query tower alone, as the Trainer exported it, for searching elsewhere.
    - `recommend`: takes one tensor per query column, as `embed_query` does; `exclude`, string `[batch, n]`, padded with
      empty strings; and `k`, int32. Returns `ids`, `titles` and `scores`, each `[batch, min(k, candidates)]`.

    Args:
        towers: The model's towers; only the query tower is used.
        catalog: The candidates.
        max_k: Number of items per query in the answer of `serving_default`.
        scratch: Local directory for the file of identifiers.
        directory: Output directory.
        quantize: Whether the candidates' vectors become int8 rows.

    Raises:
        ConfigError: A query column has the name of another input of `recommend`.
    """
    if taken := {spec.name for spec in towers.query_columns} & {EXCLUDE, K}:
        raise ConfigError(
            f"query column(s) {', '.join(sorted(taken))}: the signature {BY_COLUMN} has inputs of that name; rename "
            "them in the feature spec"
        )
    ids_file = os.path.join(scratch, "candidate_ids.txt")
    write_ids(catalog.ids, ids_file)
    module = ExactSearch(towers, catalog, ids_file, quantize)
    bounds = third_bounds(catalog.train_counts)
    fillers = {IDS: "", TITLES: "", SCORES: -np.inf, TRAIN_COUNTS: 0}

    def padded(best: dict[str, tf.Tensor], k: int) -> dict[str, tf.Tensor]:
        rest = [[0, 0], [0, max(0, k - len(catalog.ids))]]
        return {name: tf.pad(values, rest, constant_values=fillers[name]) for name, values in best.items()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def serve(examples):
        items = _items(examples, SEEN, catalog.item_dtype)
        return padded(module.search(towers.queries(examples), items, max_k), max_k)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def evaluate(examples):
        seen, relevant = (_items(examples, name, catalog.item_dtype) for name in (SEEN, RELEVANT))
        scores = module.scores(towers.queries(examples))
        k = LONGEST_CUTOFF
        found = padded(module.best(scores, seen, k), k)
        return {
            IDS: found[IDS],
            IDS_WITH_SEEN: padded(module.best(scores, seen[:, :0], k), k)[IDS],
            TRAIN_COUNTS: found[TRAIN_COUNTS],
            POPULAR_IDS: padded(module.most_popular(seen, k), k)[IDS],
            RELEVANT: relevant,
            RELEVANT_COUNTS: module.train_counts(relevant),
            CANDIDATES: tf.fill(tf.shape(examples), tf.constant(len(catalog.ids), tf.int64)),
            THIRD_BOUNDS: tf.repeat(tf.constant(bounds[np.newaxis], tf.int64), tf.size(examples), axis=0),
        }

    @tf.function(
        input_signature=[
            *towers.query_columns,
            tf.TensorSpec([None, None], tf.string, name=EXCLUDE),
            tf.TensorSpec([], tf.int32, name=K),
        ],
        autograph=False,
    )
    def recommend(*inputs):
        *columns, exclude, k = inputs
        named = {spec.name: value for spec, value in zip(towers.query_columns, columns, strict=True)}
        best = module.search(towers.query(**named), exclude, k)
        return {name: best[name] for name in (IDS, TITLES, SCORES)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def embed_queries(examples):
        return {EMBEDDING: towers.queries(examples)}

    @tf.function(input_signature=towers.query_columns, autograph=False)
    def embed_query(*columns):
        named = {spec.name: value for spec, value in zip(towers.query_columns, columns, strict=True)}
        return {EMBEDDING: towers.query(**named)}

    signatures = {
        BY_EXAMPLE: serve,
        BY_COLUMN: recommend,
        EVALUATE: evaluate,
        EMBED_QUERIES: embed_queries,
        EMBED_QUERY: embed_query,
    }
    tf.saved_model.save(module, directory, signatures=signatures)


def _items(examples: tf.Tensor, column: str, dtype: tf.DType) -> tf.Tensor:
    """Identifiers in a column of serialized queries, string `[batch, n]`, padded with empty strings."""
    items = tf.io.parse_example(examples, {column: tf.io.VarLenFeature(dtype)})[column]
    tokens = items.values if dtype == tf.string else tf.strings.as_string(items.values)
    return tf.sparse.to_dense(tf.SparseTensor(items.indices, tokens, items.dense_shape), default_value="")
