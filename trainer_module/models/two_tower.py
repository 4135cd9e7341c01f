"""Two-tower retrieval: a query vector and a candidate vector per interaction, trained to find each other in the batch.

Sampled softmax with in-batch negatives and the correction for their frequencies (Yi et al., "Sampling-Bias-Corrected
Neural Modeling for Large Corpus Item Recommendations", RecSys 2019). With an encoder of the history that trains all its
positions, a row is as many queries as its history has steps; where examples are users, a query has several targets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer_module.data.dataset import HISTORY, HISTORY_TARGETS
from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.data.inputs import length_name
from trainer_module.embeddings.layer import FeatureConfigs, Features, look_up
from trainer_module.models.config import ContrastiveLoss, GbceLoss, TwoTowerConfig
from trainer_module.models.encoders import make_encoder
from trainer_module.models.example_weights import weighted
from trainer_module.models.layers import FLOAT32, MLP, DenseOptions, dropout, fold_in, on_tpu
from trainer_module.models.negatives import negative_name
from trainer_module.models.retrieval import Retrieval
from trainer_module.models.retrieval_losses import (
    MASKED,
    PairLoss,
    binary,
    calibrating_power,
    contrastive,
    multinomial,
    softmax,
)
from trainer_module.models.sequences import NO_ID, count_name, ids_name, step_name, weights_name
from trainer_module.models.signatures import EMBED_CANDIDATES, EMBED_QUERIES, EMBED_QUERY, EMBEDDING, Served
from trainer_module.models.user_examples import NUM_POSITIVES, POSITIVE_WEIGHTS, positive_name

# What the model predicts, by name.
QUERY, CANDIDATE = "query", "candidate"

# Folded into a step's seed for the encoder; far from the numbers of rows and drawn items.
_ENCODER_SEED = 1 << 20
# Likewise for the second and further items of an example.
_POSITIVES_SEED = 1 << 21


class Tower(tf.keras.layers.Layer):
    """The sum of what the features of one side say, plus an MLP over them."""

    def __init__(
        self,
        numbers: tf.keras.layers.Layer,
        mlp: MLP | None,
        dropout: float,
        dtype: str = "float32",
        normalize: bool = True,
    ):
        """Takes the parts.

        Args:
            numbers: From numbers `[batch, num_numbers]` to `[batch, dim]`.
            mlp: From embeddings and numbers, side by side, to `[batch, dim]`; None for the sum alone.
            dropout: Fraction of embedding units dropped in training.
            dtype: Keras dtype policy.
            normalize: Whether vectors get unit length.
        """
        super().__init__(dtype=dtype)
        self._numbers = numbers
        self._mlp = mlp
        self._dropout = dropout
        self._normalize = normalize

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]` or sequences of them `[batch, length, dim]` and numbers `[batch, 1]` to
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
        vector = tf.cast(vector, tf.float32)
        return tf.math.l2_normalize(vector, axis=1) if self._normalize else vector


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
    loss: PairLoss = softmax,
) -> tf.Tensor:
    """The loss of finding each query's own candidate among all, `[batch]`.

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
        loss: Of the logits.
    """
    logits = tf.matmul(queries, candidates, transpose_b=True) / temperature - log_frequencies
    positive = tf.linalg.diag_part(logits)
    own_ids = candidate_ids[: tf.shape(queries)[0], tf.newaxis]
    # The own candidate enters once, from the diagonal.
    negatives = tf.where(tf.equal(own_ids, candidate_ids), MASKED, logits)
    return loss(positive, _hardest(negatives, hard_negatives))


def shared_negatives_softmax(
    queries: tf.Tensor,
    targets: tf.Tensor,
    target_ids: tf.Tensor,
    negatives: tf.Tensor,
    negative_ids: tf.Tensor,
    log_shares: tf.Tensor | np.ndarray,
    temperature: float,
    hard_negatives: int | None = None,
    loss: PairLoss = softmax,
) -> tf.Tensor:
    """The loss of finding each query's target among it and negatives that all queries share, `[queries]`.

    Args:
        queries: `[queries, dim]`.
        targets: `[queries, dim]`.
        target_ids: `[queries]`.
        negatives: `[negatives, dim]`.
        negative_ids: `[negatives]`; a negative that is the query's target is left out, and so is one without an id
            (`NO_ID`).
        log_shares: Log of each id's share of the negatives, subtracted from its logit, `[ids]`.
        temperature: Divides the dot products.
        hard_negatives: As in `sampled_softmax`.
        loss: Of the logits.
    """
    positive = tf.reduce_sum(queries * targets, axis=1) / temperature - tf.gather(log_shares, target_ids)
    shares = tf.gather(log_shares, tf.maximum(negative_ids, 0))
    logits = tf.matmul(queries, negatives, transpose_b=True) / temperature - shares
    left_out = tf.logical_or(tf.equal(target_ids[:, tf.newaxis], negative_ids), tf.equal(negative_ids, NO_ID))
    return loss(positive, _hardest(tf.where(left_out, MASKED, logits), hard_negatives))


def _hardest(negatives: tf.Tensor, number: int | None) -> tf.Tensor:
    """The largest scores of each query, `[queries, number]`; all for None."""
    return tf.math.top_k(negatives, number, sorted=False).values if number else negatives


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
        layer_spec: FeatureSpec | None = None,
        mixed_negatives: int = 0,
        encoder: tf.keras.layers.Layer | None = None,
    ):
        """Takes the parts.

        Args:
            embedding: From `{column: ids}` to `{column: [batch, dim], [batch, 1, dim] or [batch, length, dim]}`; called
                once per step.
            spec: Says which inputs are ids, weights and numbers.
            retrieval: Says which of them describe the item.
            query_tower: From embeddings, numbers and seed to vectors `[batch, dim]`.
            candidate_tower: The same for items.
            config: Gives the loss and regularization.
            layer_spec: Columns of the embedding layer, if they are more than those of `spec`.
            mixed_negatives: For so many drawn items per example the embedding layer has columns.
            encoder: Of the history, one of `trainer_module.models.encoders`; None takes its mean.
        """
        super().__init__()
        self.embedding = embedding
        self._spec = spec
        self._retrieval = retrieval
        self._query_tower = query_tower
        self._candidate_tower = candidate_tower
        self._config = config
        self._mixed_negatives = mixed_negatives
        self._encoder = encoder
        self._reads_history = any(column.name == HISTORY for column in spec.categorical)
        self._layer_spec = layer_spec or spec

    @property
    def selection_metric(self) -> str:
        """Which of `metrics_from` chooses the best weights; the lower the better."""
        return "softmax_loss"

    def call(self, features: Features) -> dict[str, tf.Tensor]:
        """Vectors `[batch, dim]` of each example's query and candidate; their dot product is the score."""
        looked_up = self._own(self._look_up(features))
        return {
            QUERY: self.queries_from(looked_up, features),
            CANDIDATE: self.candidates_from(looked_up, features),
        }

    def queries_from(
        self, looked_up: Mapping[str, tf.Tensor], features: Features, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Vectors `[batch, dim]` of queries, from looked-up rows and numbers of the query's columns."""
        if self._encoder is not None:
            lengths = tf.squeeze(features[length_name(HISTORY)], axis=1)
            encoded = self._encoder(looked_up[HISTORY], lengths, _encoder_seed(seed))
            looked_up = {**looked_up, HISTORY: encoded}
        return self._query_tower(*self._inputs_of(False, looked_up, features), seed)

    def candidates_from(
        self, looked_up: Mapping[str, tf.Tensor], features: Features, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Vectors `[batch, dim]` of items, likewise."""
        return self._candidate_tower(*self._inputs_of(True, looked_up, features), seed)

    def per_example_loss(self, features: Features, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The config's loss against the other items of this replica's batch, those drawn, or both, plus regularization,
        `[batch]`.

        Every interaction counts as a choice, by its weight if the spec has a column of weights; the labels' values do
        not matter.
        """
        all_rows = self._look_up(features)
        if self._config.trains_users:
            return self._loss_of_users(all_rows, features, seed)
        looked_up = self._own(all_rows)
        own = self.candidates_from(looked_up, features, fold_in(seed, 1))
        own_ids = tf.reshape(features[self._retrieval.item_key], [-1])
        candidates, ids = self._drawn_items(all_rows, features, seed)
        if self._config.has_in_batch_negatives:
            candidates, ids = [own, *candidates], [own_ids, *ids]
        negatives = tf.concat(candidates, axis=0), self._with_ids(tf.concat(ids, axis=0))
        if self._config.trains_all_positions:
            loss = self._loss_of_all_positions(all_rows, features, negatives, seed)
        else:
            queries = self.queries_from(looked_up, features, fold_in(seed, 0))
            loss = weighted(self._pair_loss(queries, own, own_ids, negatives), self._spec, features)
        if not self._config.embedding_l2:
            return loss
        # Of the example's own rows alone: the weight means the same however many items are drawn.
        return loss + self._config.embedding_l2 * _squared_norm(looked_up)

    def _drawn_items(
        self, all_rows: Mapping[str, tf.Tensor], features: Features, seed: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Vectors `[batch, dim]` and ids `[batch]` of the items that come from the catalog, one of each per copy."""
        candidates, ids = [], []
        for number in range(1, self._mixed_negatives + 1):
            drawn = self._drawn(number, all_rows), self._drawn(number, features)
            candidates.append(self.candidates_from(*drawn, fold_in(seed, 1 + number)))
            ids.append(tf.reshape(drawn[1][self._retrieval.item_key], [-1]))
        return candidates, ids

    def _loss_of_users(self, all_rows: Mapping[str, tf.Tensor], features: Features, seed: tf.Tensor) -> tf.Tensor:
        """Loss of finding the items of each example, plus regularization, `[batch]`.

        The loss of an example is the sum over its items, scaled so that the mean over the training split is the mean
        over all items.
        """
        looked_up, num_positives = self._own(all_rows), features[NUM_POSITIVES]
        exists = tf.range(self._config.positives, dtype=tf.int64) < num_positives
        weights = tf.cast(exists, tf.float32)
        items = [
            (self._named(positive_name, number, all_rows), self._named(positive_name, number, features))
            for number in range(1, self._config.positives + 1)
        ]
        vectors = [
            self.candidates_from(*item, fold_in(seed, 1 if number == 0 else _POSITIVES_SEED + number))
            for number, item in enumerate(items)
        ]
        ids = tf.concat([of_item[self._retrieval.item_key] for _, of_item in items], axis=1)
        queries = self.queries_from(looked_up, features, fold_in(seed, 0))
        drawn, drawn_ids = self._drawn_items(all_rows, features, seed)
        if self._config.has_in_batch_negatives:
            in_batch = tf.transpose(tf.where(exists, ids, NO_ID))
            drawn, drawn_ids = [*vectors, *drawn], [tf.reshape(in_batch, [-1]), *drawn_ids]
        negatives = tf.concat(drawn, axis=0), tf.concat(drawn_ids, axis=0)
        known = tf.convert_to_tensor(features[ids_name(HISTORY)]) if self._reads_history else ids[:, :0]
        losses = self._loss_of_positives(queries, tf.stack(vectors, axis=1), ids, known, negatives) * weights
        if self._spec.example_weight is not None:
            losses *= features[POSITIVE_WEIGHTS]
        if self._config.embedding_l2:
            of_query = {name: rows for name, rows in looked_up.items() if name not in self._retrieval.candidate_columns}
            norms = tf.stack([_squared_norm({**of_query, **rows}) for rows, _ in items], axis=1)
            losses += self._config.embedding_l2 * norms * weights
        return tf.reduce_sum(losses, axis=1) / self._retrieval.positives_per_example

    def _loss_of_positives(
        self,
        queries: tf.Tensor,
        positives: tf.Tensor,
        ids: tf.Tensor,
        known: tf.Tensor,
        negatives: tuple[tf.Tensor, tf.Tensor],
    ) -> tf.Tensor:
        """Loss of each item of each query, `[batch, positives]`.

        Args:
            queries: `[batch, dim]`.
            positives: `[batch, positives, dim]`.
            ids: `[batch, positives]`.
            known: Ids of the items that the query reads, `[batch, length]`. As negatives, they would push a query away
                from what it is made of, and no list recommends them.
            negatives: Vectors `[negatives, dim]` and ids `[negatives]`, `NO_ID` for those that do not count.
        """
        vectors, negative_ids = negatives
        queries /= self._temperature
        scores = tf.squeeze(tf.matmul(positives, queries[:, :, tf.newaxis]), axis=2)
        if self._config.full_softmax:
            # The last examples bring some items once more.
            of_catalog = tf.matmul(queries, vectors[: self._retrieval.num_items], transpose_b=True)
            left_out = _contains(known, negative_ids[: self._retrieval.num_items])
            return multinomial(scores, tf.where(left_out, MASKED, of_catalog))
        shares = tf.gather(self._log_shares, tf.maximum(negative_ids, 0))
        others = tf.matmul(queries, vectors, transpose_b=True) - shares
        own = _contains(tf.concat([ids, known], axis=1), negative_ids)
        left_out = tf.logical_or(own, tf.equal(negative_ids, NO_ID))
        others = _hardest(tf.where(left_out, MASKED, others), self._config.hard_negatives)
        return self._loss(negative_ids)(scores - tf.gather(self._log_shares, ids), others)

    def _with_ids(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids of negatives, without those that only fill up the last examples where the whole catalog is drawn."""
        if not self._config.full_softmax:
            return ids
        return tf.where(tf.range(tf.shape(ids)[0]) < self._retrieval.num_items, ids, NO_ID)

    def _pair_loss(
        self, queries: tf.Tensor, targets: tf.Tensor, target_ids: tf.Tensor, negatives: tuple[tf.Tensor, tf.Tensor]
    ) -> tf.Tensor:
        """Loss of `targets` among `negatives`, which are vectors and ids and begin with the targets themselves if the
        items of a batch are each other's negatives, `[queries]`."""
        vectors, ids = negatives
        hard, temperature = self._config.hard_negatives, self._temperature
        if self._config.has_in_batch_negatives:
            shares = tf.gather(self._log_shares, ids)
            return sampled_softmax(queries, vectors, ids, shares, temperature, hard, self._loss(ids))
        return shared_negatives_softmax(
            queries, targets, target_ids, vectors, ids, self._log_shares, temperature, hard, self._loss(ids)
        )

    @property
    def _temperature(self) -> float:
        # A margin between cosines is one between the cosines themselves.
        return 1.0 if self._config.loss.type == "contrastive" else self._config.temperature

    def _loss(self, negative_ids: tf.Tensor) -> PairLoss:
        config = self._config.loss
        if isinstance(config, ContrastiveLoss):
            return contrastive(config.margin, config.negative_weight)
        if isinstance(config, GbceLoss):
            sampled = int(negative_ids.shape[0]) / max(self._retrieval.num_items - 1, 1)
            return binary(calibrating_power(sampled, config.calibration))
        return softmax

    def _loss_of_all_positions(
        self,
        all_rows: Mapping[str, tf.Tensor],
        features: Features,
        negatives: tuple[tf.Tensor, tf.Tensor],
        seed: tf.Tensor,
    ) -> tf.Tensor:
        """Loss of the steps of each history that the row is to train, `[batch]`.

        The loss of a row is the sum over its steps, each times the weight of the row whose item it predicts, scaled so
        that the mean over the batch is the mean over all steps.
        """
        steps = self._steps(all_rows, features)
        queries = self._queries_of_steps(self._own(all_rows), features, fold_in(seed, 0))
        # Off TPUs, whose programs need fixed shapes, steps that are not trained are left out.
        chosen = tf.range(queries.shape[0]) if on_tpu() else tf.where(steps.is_trained)[:, 0]
        rows, numbers = ([tf.gather(each, chosen) for each in of_tower] for of_tower in (steps.rows, steps.numbers))
        losses = shared_negatives_softmax(
            tf.gather(queries, chosen),
            self._candidate_tower(rows, numbers, fold_in(seed, 1)),
            tf.gather(steps.target_ids, chosen),
            *negatives,
            self._log_shares,
            self._temperature,
            self._config.hard_negatives,
            self._loss(negatives[1]),
        )
        trained = tf.cast(tf.gather(steps.is_trained, chosen), tf.float32)
        num_rows = all_rows[HISTORY].shape[0] or tf.shape(all_rows[HISTORY])[0]
        weights = trained if steps.weights is None else trained * tf.gather(steps.weights, chosen)
        of_rows = tf.math.unsorted_segment_sum(losses * weights, tf.gather(steps.row, chosen), num_rows)
        return of_rows * tf.cast(num_rows, tf.float32) / tf.reduce_sum(trained)

    def _steps(self, all_rows: Mapping[str, tf.Tensor], features: Features) -> "_Steps":
        """Targets of the steps: step k has seen the first k items of the history and predicts the next one, or, behind
        the last one, the row's own item."""
        own_rows, own_numbers = self._inputs_by_name(True, self._own(all_rows), features)
        own_rows = {name: _mean(rows) if rows.shape.rank == 3 else rows for name, rows in own_rows.items()}
        lengths, ids, num_targets = (
            tf.convert_to_tensor(features[name]) for name in (length_name(HISTORY), ids_name(HISTORY), HISTORY_TARGETS)
        )
        step = tf.range(self._encoder.num_steps, dtype=tf.int64)
        is_own = tf.equal(step, lengths)
        target_ids = tf.where(is_own, features[self._retrieval.item_key], tf.pad(ids, [[0, 0], [0, 1]]))

        def targets(own: tf.Tensor, of_history: tf.Tensor) -> tf.Tensor:
            """From `[batch, dim]` and `[batch, length, dim]`."""
            behind = tf.pad(of_history, [[0, 0], [0, 1], [0, 0]])
            return _flat(tf.where(is_own[:, :, tf.newaxis], own[:, tf.newaxis], behind))

        weights = None
        if self._spec.example_weight is not None:
            own_weights, of_history = features[self._spec.example_weight.name], features[weights_name(HISTORY)]
            weights = tf.reshape(tf.where(is_own, own_weights, tf.pad(of_history, [[0, 0], [0, 1]])), [-1])
        is_trained = tf.logical_and(step > lengths - num_targets, step <= lengths)
        row = tf.broadcast_to(tf.range(tf.shape(ids)[0])[:, tf.newaxis], tf.shape(target_ids))
        return _Steps(
            rows=[targets(own, self._rows_of_history(name, all_rows, features)) for name, own in own_rows.items()],
            numbers=[targets(own_numbers[name], features[step_name(name)][:, :, tf.newaxis]) for name in own_numbers],
            # What fills up has no id, and is not trained.
            target_ids=tf.reshape(tf.maximum(target_ids, 0), [-1]),
            is_trained=tf.reshape(is_trained, [-1]),
            row=tf.reshape(row, [-1]),
            weights=weights,
        )

    def _rows_of_history(self, column: str, all_rows: Mapping[str, tf.Tensor], features: Features) -> tf.Tensor:
        """Rows of a column of the history's items, `[batch, length, dim]`; several of an item combined as a bag's."""
        if column == self._retrieval.item_key:
            return all_rows[HISTORY]
        rows = all_rows[step_name(column)]
        width = self._retrieval.tokens_per_item.get(column)
        if width is None:
            return rows
        length = self._encoder.num_steps - 1
        (declared,) = [each for each in self._spec.categorical if each.name == column]
        if declared.max_sequence_length:
            of_items = _mean(tf.reshape(rows, [-1, width, rows.shape[-1]]))
            return tf.reshape(of_items, [-1, length, rows.shape[-1]])
        (table,) = [each for each in self._spec.tables if each.name == declared.table]
        summed = tf.reduce_sum(tf.reshape(rows, [-1, length, width, rows.shape[-1]]), axis=2)
        if table.combiner == "sum":
            return summed
        counts = tf.cast(features[count_name(column)], summed.dtype)[:, :, tf.newaxis]
        return tf.math.divide_no_nan(summed, counts if table.combiner == "mean" else tf.sqrt(counts))

    def _queries_of_steps(self, looked_up: Mapping[str, tf.Tensor], features: Features, seed: tf.Tensor) -> tf.Tensor:
        """Vectors of each query after each step of its history, `[batch * steps, dim]`."""
        lengths = tf.squeeze(features[length_name(HISTORY)], axis=1)
        encoded = self._encoder.steps(looked_up[HISTORY], lengths, _encoder_seed(seed))
        rows, numbers = self._inputs_of(False, {**looked_up, HISTORY: encoded}, features)

        def of_steps(values: tf.Tensor) -> tf.Tensor:
            if values is encoded:
                return _flat(values)
            return tf.repeat(_mean(values) if values.shape.rank == 3 else values, encoded.shape[1], axis=0)

        return self._query_tower([of_steps(row) for row in rows], [of_steps(number) for number in numbers], seed)

    @property
    def _log_sampling_shares(self) -> np.ndarray:
        """Log of each id's share of the negatives of a step, float32 `[rows]`."""
        return self._retrieval.log_sampling_shares(self._mixed_negatives, self._config.has_in_batch_negatives)

    @property
    def _log_shares(self) -> np.ndarray:
        """What is subtracted from a candidate's logit in training, by id, float32 `[rows]`."""
        return self._config.correction * self._log_sampling_shares

    def evaluation_sums(self, features: Features, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Loss and weights, `[2]`; labels and weights are `[batch]`, and a row of weight 0 is no candidate."""
        looked_up = self._own(self._look_up(features))
        queries, candidates = self.queries_from(looked_up, features), self.candidates_from(looked_up, features)
        ids = tf.reshape(features[self._retrieval.item_key], [-1])
        # Padding rows get infinite log-frequency, so they are never candidates.
        frequencies = tf.where(weights > 0, tf.gather(self._log_shares_in_evaluation, ids), -MASKED)
        loss = sampled_softmax(queries, candidates, ids, frequencies, self._config.temperature)
        return tf.stack([tf.reduce_sum(weights * loss), tf.reduce_sum(weights)])

    def metrics_from(self, sums: np.ndarray) -> dict[str, float]:
        """Metrics by name, from the total of `evaluation_sums`."""
        loss, count = (float(x) for x in sums)
        return {"softmax_loss": loss / count}

    @property
    def _log_shares_in_evaluation(self) -> np.ndarray:
        """The same for candidates of evaluation, which come by their frequency alone, whatever those of training.

        As far as training leaves the correction out, scores have learned it.
        """
        return self._retrieval.log_frequencies - (1 - self._config.correction) * self._log_sampling_shares

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
        """All rows that the layer is made for, of drawn items and attributes of the history's items too.

        Outside training there are none of them; the layer, which insists on all its columns, then gets the example's
        own, or zeros.
        """
        columns = [name for name in self._retrieval.candidate_columns if name in features]
        own = {
            name_of(name, number): features[name]
            for name_of, copies in ((negative_name, self._mixed_negatives), (positive_name, self._config.positives))
            for number in range(1, copies + 1)
            for name in columns
        }
        known = {**own, **features}
        for column in self._layer_spec.categorical:
            if column.name not in known:
                history = features[HISTORY]
                known[column.name] = history.with_values(tf.zeros_like(history.values))
        return look_up(self.embedding, self._layer_spec, known)

    def _own(self, looked_up: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Without the rows of drawn items."""
        own = {column.name for column in self._spec.categorical}
        return {name: rows for name, rows in looked_up.items() if name in own}

    def _drawn(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of drawn item `number`, by the names of the columns that they are copies of."""
        return self._named(negative_name, number, values)

    def _named(self, name_of: Callable[[str, int], str], number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of an item of the example, by the names of the columns that they are copies of.

        Args:
            name_of: Name of the copy of a column.
            number: Of the item.
            values: By name of the copy.
        """
        named = {name: name_of(name, number) for name in self._retrieval.candidate_columns}
        return {name: values[copy] for name, copy in named.items() if copy in values}

    def _inputs_of(
        self, candidate: bool, looked_up: Mapping[str, tf.Tensor], features: Features
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Embeddings and numbers of one tower."""
        rows, numbers = self._inputs_by_name(candidate, looked_up, features)
        return list(rows.values()), list(numbers.values())

    def _inputs_by_name(
        self, candidate: bool, looked_up: Mapping[str, tf.Tensor], features: Features
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """The same by column, in the order in which the tower takes them."""

        def belongs(name: str) -> bool:
            return (name in self._retrieval.candidate_columns) == candidate

        sequences = {column.name for column in self._spec.categorical if column.max_sequence_length}
        rows = {
            name: looked_up[name] if name in sequences else _flat(looked_up[name])
            for name in sorted(looked_up)
            if belongs(name)
        }
        return rows, {c.name: features[c.name] for c in self._spec.numeric if belongs(c.name)}  # pyright: ignore[reportReturnType] (numbers are dense)


@dataclass(frozen=True)
class _Steps:
    """The steps of a batch of histories, one after the other, `[batch * steps]`.

    Attributes:
        rows: Embeddings of the items that they predict, `[batch * steps, dim]` each, as the candidate tower takes them.
        numbers: Numbers of these items, `[batch * steps, 1]` each.
        target_ids: Ids of these items.
        is_trained: Whether a step has a target and the row is to train it.
        row: Number of its row in the batch.
        weights: Of the rows whose items they predict; None if rows have no weights.
    """

    rows: list[tf.Tensor]
    numbers: list[tf.Tensor]
    target_ids: tf.Tensor
    is_trained: tf.Tensor
    row: tf.Tensor
    weights: tf.Tensor | None


def _contains(ids: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Whether the ids of a query, `[queries, ids]`, contain each candidate, `[candidates]`: bool
    `[queries, candidates]`."""
    num_queries, num_ids = tf.shape(ids)[0], tf.shape(ids)[1]
    num_candidates = tf.shape(candidates)[0]
    in_order = tf.sort(candidates)
    # Ids are searched for among the candidates and marked in a table, rather than candidates among the ids of every
    # query: there are fewer of them. Marks of ids that are no candidate go to a row of their own.
    sought = tf.reshape(ids, [-1])
    place = tf.searchsorted(in_order, sought)
    is_candidate = tf.equal(tf.gather(in_order, tf.minimum(place, num_candidates - 1)), sought)
    marked = tf.stack(
        [tf.where(is_candidate, place, num_candidates), tf.repeat(tf.range(num_queries), num_ids)], axis=1
    )
    marks = tf.tensor_scatter_nd_update(
        tf.zeros([num_candidates + 1, num_queries]), marked, tf.ones_like(place, tf.float32)
    )
    # A row per candidate is copied as a whole; equal candidates share the first one's.
    return tf.cast(tf.transpose(tf.gather(marks, tf.searchsorted(in_order, candidates))), tf.bool)


def _squared_norm(looked_up: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Sum of the squares of all rows of an example, `[batch]`."""
    return tf.add_n(
        [tf.reduce_sum(tf.square(rows), axis=list(range(1, rows.shape.rank))) for rows in looked_up.values()]
    )


def _flat(values: tf.Tensor) -> tf.Tensor:
    """From `[..., dim]` to `[rows, dim]`, as from steps of a batch, one after the other."""
    return tf.reshape(values, [-1, values.shape[-1]])


def _encoder_seed(seed: tf.Tensor | None) -> tf.Tensor | None:
    return None if seed is None else fold_in(seed, _ENCODER_SEED)


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
        numbers = tf.keras.layers.Dense(dim, dtype=dense.dtype)
        tower = Tower(numbers, deep, config.dropout, dense.dtype, config.similarity == "cosine")
        # Variables are made here, before anything is compiled or restored.
        rows = [tf.zeros([1, dim])] * sum(isinstance(column, Categorical) for column in columns)
        tower(rows, [tf.zeros([1, 1])] * sum(column.kind == "numeric" for column in columns), None)
        towers[name] = tower
    # The layer of a model that will not be trained has no columns for drawn items and attributes of the history's.
    in_training = config.training_columns(spec, retrieval)
    will_train = all(column.name in configs for column in in_training.categorical)
    layer_spec, mixed = (in_training, config.num_drawn(retrieval)) if will_train else (spec, 0)
    lengths = [column.max_sequence_length for column in spec.categorical if column.name == HISTORY]
    encoder = make_encoder(config.query_encoder, dim, lengths[0], dense.dtype) if lengths else None
    return TwoTowerModel(  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)
        embedding, spec, retrieval, towers["query"], towers["candidate"], config, layer_spec, mixed, encoder
    )
