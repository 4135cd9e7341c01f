"""The signatures of exported models: their names, and what a model answers under each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer_module.data.features import Categorical, Numeric, Weights
from trainer_module.embeddings.layer import Features

BY_EXAMPLE, BY_COLUMN, EMBED = "serving_default", "predict", "embed"
EMBED_QUERIES, EMBED_CANDIDATES, EMBED_QUERY = "embed_queries", "embed_candidates", "embed_query"
EMBEDDING = "embedding"
"""Name of the output that holds vectors."""

SCORE = "score"
"""Name of the output that combines the predictions of a model of several goals."""

RequestColumn = Categorical | Weights | Numeric
Answer = Callable[[Mapping[str, tf.Tensor], Features], Mapping[str, tf.Tensor]]


@dataclass(frozen=True)
class Served:
    """A signature that a model can answer.

    Attributes:
        name: Of the signature.
        columns: The input columns that `answer` needs.
        answer: From looked-up rows, by categorical column, and model inputs to named outputs, `[batch, ...]`.
        serialized: Whether requests are serialized `tf.Example`s rather than one tensor per column.
        predictions: Which of the training model's predictions each output equals, by output; None is the only one.
    """

    name: str
    columns: Sequence[RequestColumn]
    answer: Answer
    serialized: bool
    predictions: Mapping[str, str | None]

    def expected(self, predicted: Any) -> dict[str, np.ndarray]:
        """What the signature must answer, from the training model's predictions: one array or several by name."""
        return select(predicted, self.predictions)


def select(predicted: Any, outputs: Mapping[str, str | None]) -> dict[str, Any]:
    """Names predictions as outputs.

    Args:
        predicted: One prediction, or several by name.
        outputs: Which of the predictions each output is; None is the only one.
    """
    return {output: predicted if key is None else predicted[key] for output, key in outputs.items()}


def ranked_by(outputs: Mapping[str, Any]) -> Any:
    """What orders items among the predictions of a ranking model: the only one, or the final score of several."""
    if SCORE in outputs:
        return outputs[SCORE]
    (only,) = outputs.values()
    return only
