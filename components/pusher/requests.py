"""Requests of a pushed model's signatures, made of examples."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from components.pusher.verify import request_columns
from components.retrieval_index.config import EXCLUDE, K
from components.retrieval_index.exact import BY_COLUMN as RECOMMEND
from components.retrieval_index.exact import EVALUATE

_NUM_RESULTS = 10


def is_for_clients(signature: str) -> bool:
    """Whether clients call the signature; the Evaluator alone calls `evaluate`, TensorFlow those with underscores."""
    return signature != EVALUATE and not signature.startswith("__")


def request(signature: str, specs: Mapping[str, tf.TensorSpec], examples: Sequence[bytes]) -> dict[str, tf.Tensor]:
    """The inputs of one call.

    Args:
        signature: Its name. `recommend` asks for ten items and excludes none.
        specs: Of its inputs, by name: `examples`, or a tensor per column.
        examples: Serialized `tf.Example`s that hold the columns, one for each row of the batch.
    """
    if set(specs) == {"examples"}:
        return {"examples": tf.constant(list(examples), tf.string)}
    settings = {}
    if signature == RECOMMEND:
        settings = {EXCLUDE: tf.fill([len(examples), 1], ""), K: tf.constant(_NUM_RESULTS)}
    columns = {name: spec for name, spec in specs.items() if name not in settings}
    return settings | request_columns(list(examples), columns)
