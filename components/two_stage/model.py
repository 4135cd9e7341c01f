"""One SavedModel that finds candidates, leaves out excluded items and ranks the rest, in plain TensorFlow operations.

It contains a search for candidates, the ranking model as it was pushed, and the columns of all items, which it joins to
the candidates. A request therefore holds what is known of the user, and nothing of the items.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.retrieval_index.config import EXCLUDE, K
from components.retrieval_index.exact import BY_COLUMN as RECOMMEND
from components.retrieval_index.exact import IDS, SCORES, TITLES, UNKNOWN, table_of_positions, write_ids
from components.two_stage.candidates import CandidateSearch, inputs
from trainer_module.errors import ConfigError
from trainer_module.models.signatures import BY_COLUMN as PREDICT
from trainer_module.models.signatures import ranked_by

RETRIEVAL_SCORES, RANKING_SCORES = "retrieval_scores", "ranking_scores"
"""Outputs with the scores of each stage; `scores` order the list."""


class TwoStage(tf.Module):
    """A search for candidates that a ranking model orders.

    An item's score is `ranking score + retrieval_weight * retrieval score`.
    """

    def __init__(
        self,
        candidates: CandidateSearch,
        ranking: Any,
        item_columns: Mapping[str, tf.Tensor],
        ids_file: str,
        num_candidates: int,
        retrieval_weight: float = 0.0,
    ):
        """Takes the models.

        Args:
            candidates: The first stage.
            ranking: A loaded ranking model with the signature `predict`.
            item_columns: The ranking model's columns that describe the item, `[items]` or `[items, values]` each.
            ids_file: Identifiers of these items, one per line; becomes an asset of the SavedModel.
            num_candidates: Number of items that the first stage finds for each query.
            retrieval_weight: Weight of the first stage's score in the final one.

        Raises:
            ConfigError: The models take different things under one name.
        """
        super().__init__()
        self._candidates, self._ranking = candidates, ranking
        self._items = {
            name: tf.Variable(values, trainable=False, name=f"item_{name}") for name, values in item_columns.items()
        }
        self._positions = table_of_positions(ids_file)
        self._num_candidates, self._retrieval_weight = num_candidates, retrieval_weight
        self._rank = ranking.signatures[PREDICT]
        of_query = candidates.columns
        of_pair = {name: spec for name, spec in inputs(self._rank).items() if name not in item_columns}
        for name in sorted(of_query.keys() & of_pair.keys()):
            one, other = of_query[name], of_pair[name]
            if (one.dtype, one.shape.rank) != (other.dtype, other.shape.rank):
                raise ConfigError(
                    f"column {name!r}: the retrieval model takes {_described(one)}, the ranking model "
                    f"{_described(other)}; train both on the same declaration of the column"
                )
        self._of_pair = of_pair
        self.columns = {**of_query, **of_pair}

    def recommend(self, columns: Mapping[str, tf.Tensor], exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best items of each query, best first.

        Args:
            columns: What is known of the users, by name: those of `columns`.
            exclude: Identifiers to leave out, string `[batch, n]`, filled up with empty texts.
            k: Items per query, a scalar; at most all candidates are returned.

        Returns:
            `ids`, `titles`, the final `scores`, and `ranking_scores` and `retrieval_scores` of the stages, `[batch,
            min(k, candidates)]` each. Where fewer items remain, identifiers are empty and scores -inf.
        """
        found = self._candidates.find(columns, exclude, self._num_candidates)
        shape = tf.shape(found[IDS])
        places = self._positions.lookup(tf.reshape(found[IDS], [-1]))
        pairs = {name: tf.gather(values, tf.maximum(places, 0)) for name, values in self._items.items()}
        pairs |= {name: tf.repeat(columns[name], shape[1], axis=0) for name in self._of_pair}
        # What fills up the candidates is no item, and neither is one that the columns of items do not know.
        is_item = tf.reshape(places != UNKNOWN, shape)
        ranking = tf.where(is_item, tf.reshape(ranked_by(self._rank(**pairs)), shape), -np.inf)
        final = tf.where(is_item, ranking + self._retrieval_weight * found[SCORES], -np.inf)
        best = tf.math.top_k(final, tf.minimum(k, shape[1]))
        remains = best.values > -np.inf

        def chosen(values: tf.Tensor) -> tf.Tensor:
            return tf.gather(values, best.indices, batch_dims=1)

        return {
            IDS: tf.where(remains, chosen(found[IDS]), ""),
            TITLES: tf.where(remains, chosen(found[TITLES]), ""),
            SCORES: best.values,
            RANKING_SCORES: chosen(ranking),
            RETRIEVAL_SCORES: chosen(found[SCORES]),
        }


def save_two_stage(
    candidates: CandidateSearch,
    ranking: Any,
    items: Mapping[str, tf.Tensor],
    ids: list[str],
    num_candidates: int,
    directory: str,
    retrieval_weight: float = 0.0,
) -> None:
    """Writes the SavedModel, whose signature `recommend` is also its default one.

    Args:
        candidates: As for `TwoStage`.
        ranking: As for `TwoStage`.
        items: As for `TwoStage`.
        ids: Identifiers of the items, in their order.
        num_candidates: As for `TwoStage`.
        directory: Where it is written; the file of identifiers is written beside it.
        retrieval_weight: As for `TwoStage`.
    """
    ids_file = os.path.join(os.path.dirname(directory), "item_ids.txt")
    write_ids(ids, ids_file)
    module = TwoStage(candidates, ranking, items, ids_file, num_candidates, retrieval_weight)
    names = list(module.columns)

    @tf.function(
        input_signature=[
            *(tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in module.columns.items()),
            tf.TensorSpec([None, None], tf.string, name=EXCLUDE),
            tf.TensorSpec([], tf.int32, name=K),
        ],
        autograph=False,
    )
    def recommend(*values):
        *columns, exclude, k = values
        return module.recommend(dict(zip(names, columns, strict=True)), exclude, k)

    tf.saved_model.save(module, directory, signatures={RECOMMEND: recommend})


def _described(spec: tf.TensorSpec) -> str:
    return f"{spec.dtype.name} of rank {spec.shape.rank}"
