"""One SavedModel that finds candidates, leaves out excluded items and ranks the rest, in plain TensorFlow operations.

It contains the retrieval model and the ranking model as they were pushed, and the columns of all items, which it joins
to the candidates. A request therefore holds what is known of the user, and nothing of the items.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.retrieval_index.config import EXCLUDE, K
from components.retrieval_index.exact import BY_COLUMN as RECOMMEND
from components.retrieval_index.exact import IDS, SCORES, TITLES, UNKNOWN, table_of_positions, write_ids
from trainer_module.errors import ConfigError
from trainer_module.models.signatures import BY_COLUMN as PREDICT
from trainer_module.models.signatures import ranked_by

RETRIEVAL_SCORES = "retrieval_scores"
"""Output with the scores of the first stage; `scores` are those of the second."""


class TwoStage(tf.Module):
    """A retrieval model whose candidates a ranking model orders."""

    def __init__(
        self,
        retrieval: Any,
        ranking: Any,
        item_columns: Mapping[str, tf.Tensor],
        ids_file: str,
        num_candidates: int,
    ):
        """Takes the models.

        Args:
            retrieval: A loaded retrieval model with the signature `recommend`.
            ranking: A loaded ranking model with the signature `predict`.
            item_columns: The ranking model's columns that describe the item, `[items]` or `[items, values]` each.
            ids_file: Identifiers of these items, one per line; becomes an asset of the SavedModel.
            num_candidates: Number of items that the first stage finds for each query.

        Raises:
            ConfigError: The models take different things under one name.
        """
        super().__init__()
        self._retrieval, self._ranking = retrieval, ranking
        self._items = {
            name: tf.Variable(values, trainable=False, name=f"item_{name}") for name, values in item_columns.items()
        }
        self._positions = table_of_positions(ids_file)
        self._num_candidates = num_candidates
        self._find, self._rank = retrieval.signatures[RECOMMEND], ranking.signatures[PREDICT]
        self._of_query = {n: spec for n, spec in _inputs(self._find).items() if n not in (EXCLUDE, K)}
        of_pair = {n: spec for n, spec in _inputs(self._rank).items() if n not in item_columns}
        for name in sorted(self._of_query.keys() & of_pair.keys()):
            one, other = self._of_query[name], of_pair[name]
            if (one.dtype, one.shape.rank) != (other.dtype, other.shape.rank):
                raise ConfigError(
                    f"column {name!r}: the retrieval model takes {_described(one)}, the ranking model "
                    f"{_described(other)}; train both on the same declaration of the column"
                )
        self._of_pair = of_pair
        self.columns = {**self._of_query, **of_pair}

    def recommend(self, columns: Mapping[str, tf.Tensor], exclude: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best items of each query, best first.

        Args:
            columns: What is known of the users, by name: those of `columns`.
            exclude: Identifiers to leave out, string `[batch, n]`, filled up with empty texts.
            k: Items per query, a scalar; at most all candidates are returned.

        Returns:
            `ids`, `titles`, `scores` of the ranking model and `retrieval_scores`, `[batch, min(k, candidates)]` each.
            Where fewer items remain, identifiers are empty and scores -inf.
        """
        found = self._find(
            **{name: columns[name] for name in self._of_query},
            **{EXCLUDE: exclude, K: tf.constant(self._num_candidates)},
        )
        shape = tf.shape(found[IDS])
        places = self._positions.lookup(tf.reshape(found[IDS], [-1]))
        pairs = {name: tf.gather(values, tf.maximum(places, 0)) for name, values in self._items.items()}
        pairs |= {name: tf.repeat(columns[name], shape[1], axis=0) for name in self._of_pair}
        predicted = ranked_by(self._rank(**pairs))
        # What fills up the candidates is no item, and neither is one that the columns of items do not know.
        scores = tf.reshape(tf.where(places == UNKNOWN, -np.inf, predicted), shape)
        best = tf.math.top_k(scores, tf.minimum(k, shape[1]))
        remains = best.values > -np.inf
        return {
            IDS: tf.where(remains, tf.gather(found[IDS], best.indices, batch_dims=1), ""),
            TITLES: tf.where(remains, tf.gather(found[TITLES], best.indices, batch_dims=1), ""),
            SCORES: best.values,
            RETRIEVAL_SCORES: tf.gather(found[SCORES], best.indices, batch_dims=1),
        }


def save_two_stage(
    retrieval: Any, ranking: Any, items: Mapping[str, tf.Tensor], ids: list[str], num_candidates: int, directory: str
) -> None:
    """Writes the SavedModel, whose signature `recommend` is also its default one.

    Args:
        retrieval: As for `TwoStage`.
        ranking: As for `TwoStage`.
        items: As for `TwoStage`.
        ids: Identifiers of the items, in their order.
        num_candidates: As for `TwoStage`.
        directory: Where it is written; the file of identifiers is written beside it.
    """
    ids_file = os.path.join(os.path.dirname(directory), "item_ids.txt")
    write_ids(ids, ids_file)
    module = TwoStage(retrieval, ranking, items, ids_file, num_candidates)
    names = list(module.columns)

    @tf.function(
        input_signature=[
            *(tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in module.columns.items()),
            tf.TensorSpec([None, None], tf.string, name=EXCLUDE),
            tf.TensorSpec([], tf.int32, name=K),
        ],
        autograph=False,
    )
    def recommend(*inputs):
        *columns, exclude, k = inputs
        return module.recommend(dict(zip(names, columns, strict=True)), exclude, k)

    tf.saved_model.save(module, directory, signatures={RECOMMEND: recommend})


def _inputs(signature: Any) -> dict[str, tf.TensorSpec]:
    return dict(signature.structured_input_signature[1])


def _described(spec: tf.TensorSpec) -> str:
    return f"{spec.dtype.name} of rank {spec.shape.rank}"
