"""Two-tower retrieval: a query vector and a candidate vector per interaction, trained to find each other in the batch.

Sampled softmax with in-batch negatives and the correction for their frequencies (Yi et al., "Sampling-Bias-Corrected
Neural Modeling for Large Corpus Item Recommendations", RecSys 2019).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.embeddings.layer import FeatureConfigs, Features, look_up
from trainer_module.models.config import TwoTowerConfig
from trainer_module.models.example_weights import weighted
from trainer_module.models.layers import FLOAT32, MLP, DenseOptions, dropout, fold_in
from trainer_module.models.negatives import negative_name, with_negatives
from trainer_module.models.retrieval import Retrieval
from trainer_module.models.signatures import EMBED_CANDIDATES, EMBED_QUERIES, EMBED_QUERY, EMBEDDING, Served

# What the model predicts, by name.
QUERY, CANDIDATE = "query", "candidate"

_MASKED = -1e9


class Tower(tf.keras.layers.Layer):
    """The sum of what the features of one side say, plus an MLP over them, on the unit sphere."""

    def __init__(self, numbers: tf.keras.layers.Layer, mlp: MLP | None, dropout: float, dtype: str = "float32"):
        """Takes the parts.

        Args:
            numbers: From numbers `[batch, num_numbers]` to `[batch, dim]`.
            mlp: From embeddings and numbers, side by side, to `[batch, dim]`; None for the sum alone.
            dropout: Fraction of embedding units dropped in training.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._numbers = numbers
        self._mlp = mlp
        self._dropout = dropout

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]` or sequences of them `[batch, length, dim]` and numbers `[batch, 1]` to unit
        vectors, float32 `[batch, dim]`."""
        rows = [_mean(row) if row.shape.rank == 3 else row for row in rows]
        if seed is not None:
            rows = [dropout(row, self._dropout, fold_in(seed, number)) for number, row in enumerate(rows)]
        numbers = [tf.cast(number, rows[0].dtype) for number in numbers]
        vector = tf.add_n(list(rows))
        if numbers:
            vector += self._numbers(tf.concat(numbers, axis=1))
        if self._mlp:
            of_mlp = None if seed is None else fold_in(seed, len(rows))
            vector += self._mlp(tf.concat([*rows, *numbers], axis=1), seed=of_mlp)
        return tf.math.l2_normalize(tf.cast(vector, tf.float32), axis=1)


def _mean(sequence: tf.Tensor) -> tf.Tensor:
    """Mean `[batch, dim]` over the steps of `[batch, length, dim]` that are no padding, which is all zeros."""
    steps = tf.reduce_sum(tf.cast(tf.reduce_any(sequence != 0, axis=2), sequence.dtype), axis=1, keepdims=True)
    return tf.math.divide_no_nan(tf.reduce_sum(sequence, axis=1), steps)


def sampled_softmax(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    candidate_ids: tf.Tensor,
    log_frequencies: tf.Tensor,
    temperature: float,
    hard_negatives: int | None = None,
) -> tf.Tensor:
    """Cross entropy of finding each query's own candidate among all, `[batch]`.

    A candidate is among them in proportion to its frequency, so frequent ones are negatives too often. Subtracting
    the log frequency from its logit makes the softmax over the sample estimate the one over all items (Yi et al., 2019,
    equation 3). A candidate that is the query's own once more is no negative and is left out.

    Args:
        queries: Unit vectors `[batch, dim]`.
        candidates: Unit vectors `[candidates, dim]`; the first `batch` are of the items that the queries chose.
        candidate_ids: `[candidates]`.
        log_frequencies: Of the candidates in the sample, `[candidates]`.
        temperature: Divides the dot products.
        hard_negatives: Only so many of each query's negatives count, those with the largest logits; None takes all.
    """
    logits = tf.matmul(queries, candidates, transpose_b=True) / temperature - log_frequencies
    positive = tf.linalg.diag_part(logits)
    own_ids = candidate_ids[: tf.shape(queries)[0], tf.newaxis]
    # The own candidate enters once, from the diagonal.
    negatives = tf.where(tf.equal(own_ids, candidate_ids), _MASKED, logits)
    if hard_negatives:
        negatives = tf.math.top_k(negatives, hard_negatives, sorted=False).values
    return tf.reduce_logsumexp(tf.concat([positive[:, tf.newaxis], negatives], axis=1), axis=1) - positive


class TwoTowerModel(tf.keras.Model):
    """Two towers over one embedding layer.

    Attributes:
        embedding: The layer with the tables.
        calibration: None, since nothing is chosen on held-out rows but the weights.
    """

    calibration = None

    def __init__(
        self,
        embedding: tf.keras.layers.Layer,
        spec: FeatureSpec,
        retrieval: Retrieval,
        query_tower: tf.keras.layers.Layer,
        candidate_tower: tf.keras.layers.Layer,
        config: TwoTowerConfig,
        mixed_negatives: int = 0,
    ):
        """Takes the parts.

        Args:
            embedding: From `{column: ids}` to `{column: [batch, dim], [batch, 1, dim] or [batch, length, dim]}`; called
                once per step.
            spec: Says which inputs are ids, weights and numbers.
            retrieval: Says which of them describe the item.
            query_tower: From embeddings, numbers and seed to unit vectors `[batch, dim]`.
            candidate_tower: The same for items.
            config: Gives temperature, hard negatives and regularization.
            mixed_negatives: For so many drawn items per example the embedding layer has columns.
        """
        super().__init__()
        self.embedding = embedding
        self._spec = spec
        self._retrieval = retrieval
        self._query_tower = query_tower
        self._candidate_tower = candidate_tower
        self._config = config
        self._mixed_negatives = mixed_negatives
        self._layer_spec = with_negatives(spec, retrieval.candidate_columns, mixed_negatives)

    @property
    def selection_metric(self) -> str:
        """Which of `metrics_from` chooses the best weights; the lower the better."""
        return "softmax_loss"

    def call(self, features: Features) -> dict[str, tf.Tensor]:
        """Unit vectors `[batch, dim]` of each example's query and candidate; their dot product is the score."""
        looked_up = self._own(self._look_up(features))
        return {
            QUERY: self.queries_from(looked_up, features),
            CANDIDATE: self.candidates_from(looked_up, features),
        }

    def queries_from(
        self, looked_up: Mapping[str, tf.Tensor], features: Features, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Unit vectors `[batch, dim]` of queries, from looked-up rows and numbers of the query's columns."""
        return self._query_tower(*self._inputs_of(False, looked_up, features), seed)

    def candidates_from(
        self, looked_up: Mapping[str, tf.Tensor], features: Features, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Unit vectors `[batch, dim]` of items, likewise."""
        return self._candidate_tower(*self._inputs_of(True, looked_up, features), seed)

    def per_example_loss(self, features: Features, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Sampled softmax against the other items of this replica's batch and those drawn, plus regularization,
        `[batch]`.

        Every interaction counts as a choice, by its weight if the spec has a column of weights; the labels' values do
        not matter.
        """
        all_rows = self._look_up(features)
        looked_up = self._own(all_rows)
        queries = self.queries_from(looked_up, features, fold_in(seed, 0))
        candidates = [self.candidates_from(looked_up, features, fold_in(seed, 1))]
        ids = [tf.reshape(features[self._retrieval.item_key], [-1])]
        for number in range(1, self._mixed_negatives + 1):
            drawn = self._drawn(number, all_rows), self._drawn(number, features)
            candidates.append(self.candidates_from(*drawn, fold_in(seed, 1 + number)))
            ids.append(tf.reshape(drawn[1][self._retrieval.item_key], [-1]))
        all_ids = tf.concat(ids, axis=0)
        loss = sampled_softmax(
            queries,
            tf.concat(candidates, axis=0),
            all_ids,
            tf.gather(self._retrieval.log_sampling_shares(self._mixed_negatives), all_ids),
            self._config.temperature,
            self._config.hard_negatives,
        )
        loss = weighted(loss, self._spec, features)
        if not self._config.embedding_l2:
            return loss
        # Of the example's own rows alone: the weight means the same however many items are drawn.
        norms = [tf.reduce_sum(tf.square(rows), axis=list(range(1, rows.shape.rank))) for rows in looked_up.values()]
        return loss + self._config.embedding_l2 * tf.add_n(norms)

    def evaluation_sums(self, features: Features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Loss and weights, `[2]`; labels and weights are `[batch]`."""
        looked_up = self._own(self._look_up(features))
        queries, candidates = self.queries_from(looked_up, features), self.candidates_from(looked_up, features)
        ids = tf.reshape(features[self._retrieval.item_key], [-1])
        # Padding rows get infinite log-frequency, so they are never candidates.
        frequencies = tf.where(weights > 0, tf.gather(self._retrieval.log_frequencies, ids), -_MASKED)
        loss = sampled_softmax(queries, candidates, ids, frequencies, self._config.temperature)
        return tf.stack([tf.reduce_sum(weights * loss), tf.reduce_sum(weights)])

    def metrics_from(self, sums: np.ndarray) -> dict[str, float]:
        """Metrics by name, from the total of `evaluation_sums`."""
        loss, count = (float(x) for x in sums)
        return {"softmax_loss": loss / count}

    @property
    def served(self) -> tuple[Served, ...]:
        """Vectors of queries, as examples or column by column, and of candidates."""
        columns = self._retrieval.candidate_columns
        of_query = tuple(column for column in self._spec.inputs if column.name not in columns)
        of_candidate = tuple(column for column in self._spec.inputs if column.name in columns)

        def query(rows: Mapping[str, tf.Tensor], features: Features) -> dict[str, tf.Tensor]:
            return {EMBEDDING: self.queries_from(rows, features)}

        def candidate(rows: Mapping[str, tf.Tensor], features: Features) -> dict[str, tf.Tensor]:
            return {EMBEDDING: self.candidates_from(rows, features)}

        return (
            Served(EMBED_QUERIES, of_query, query, True, {EMBEDDING: QUERY}),
            Served(EMBED_QUERY, of_query, query, False, {EMBEDDING: QUERY}),
            Served(EMBED_CANDIDATES, of_candidate, candidate, True, {EMBEDDING: CANDIDATE}),
        )

    def _look_up(self, features: Features) -> dict[str, tf.Tensor]:
        """All rows that the layer is made for, of drawn items too.

        Outside training nothing is drawn; the layer, which insists on all its columns, then gets the example's own.
        """
        columns = [name for name in self._retrieval.candidate_columns if name in features]
        own = {
            negative_name(name, number): features[name]
            for number in range(1, self._mixed_negatives + 1)
            for name in columns
        }
        return look_up(self.embedding, self._layer_spec, {**own, **features})

    def _own(self, looked_up: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Without the rows of drawn items."""
        own = {column.name for column in self._spec.categorical}
        return {name: rows for name, rows in looked_up.items() if name in own}

    def _drawn(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of drawn item `number`, by the names of the columns that they are copies of."""
        named = {name: negative_name(name, number) for name in self._retrieval.candidate_columns}
        return {name: values[copy] for name, copy in named.items() if copy in values}

    def _inputs_of(
        self, candidate: bool, looked_up: Mapping[str, tf.Tensor], features: Features
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Embeddings and numbers of one tower."""

        def belongs(name: str) -> bool:
            return (name in self._retrieval.candidate_columns) == candidate

        sequences = {column.name for column in self._spec.categorical if column.max_sequence_length}
        rows = [
            looked_up[name] if name in sequences else tf.reshape(looked_up[name], [-1, looked_up[name].shape[-1]])
            for name in sorted(looked_up)
            if belongs(name)
        ]
        return rows, [features[c.name] for c in self._spec.numeric if belongs(c.name)]  # pyright: ignore[reportReturnType] (numbers are dense)


def build_two_tower(
    config: TwoTowerConfig,
    spec: FeatureSpec,
    configs: FeatureConfigs,
    embedding: tf.keras.layers.Layer,
    retrieval: Retrieval,
    dense: DenseOptions = FLOAT32,
) -> TwoTowerModel:
    """Puts a two-tower model together.

    Args:
        config: Sizes, temperature, regularization.
        spec: Gives the columns.
        configs: Features and tables.
        embedding: The layer made from them.
        retrieval: Which columns describe the item, and how frequent items are.
        dense: How the dense part computes.
    """
    widths = {feature.table.name: feature.table.dim for feature in configs.values()}
    dim = next(iter(widths.values()))
    towers = {}
    for name, mlp, is_candidate in (("query", config.query_mlp, False), ("candidate", config.candidate_mlp, True)):
        columns = [c for c in spec.inputs if (c.name in retrieval.candidate_columns) == is_candidate]
        deep = MLP(mlp, dim, config.dropout, dtype=dense.dtype) if mlp else None
        tower = Tower(tf.keras.layers.Dense(dim, dtype=dense.dtype), deep, config.dropout, dense.dtype)
        # Variables are made here, before anything is compiled or restored.
        rows = [tf.zeros([1, dim])] * sum(isinstance(column, Categorical) for column in columns)
        tower(rows, [tf.zeros([1, 1])] * sum(column.kind == "numeric" for column in columns), None)
        towers[name] = tower
    # The layer of a model that will not be trained has no columns for drawn items.
    mixed = config.mixed_negatives if negative_name(retrieval.item_key, 1) in configs else 0
    return TwoTowerModel(embedding, spec, retrieval, towers["query"], towers["candidate"], config, mixed)  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)
