"""A model of several goals: one lookup, what the heads share, and a tower per head."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from trainer_module.models.config import MultiTaskConfig
from trainer_module.models.goals import Goals
from trainer_module.models.layers import MLP, fold_in
from trainer_module.models.parts import ModelParts
from trainer_module.models.ranking import RankingModel


class MultiTaskHead(tf.keras.layers.Layer):
    """Embeddings and numbers side by side, what the heads share, then each head's own tower."""

    def __init__(self, mixing: tf.keras.layers.Layer, towers: Sequence[tf.keras.layers.Layer], dtype: str = "float32"):
        """Takes the parts.

        Args:
            mixing: From `[batch, width]` to one `[batch, any width]` per head.
            towers: One per head, from `[batch, any width]` to `[batch, 1]`.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._mixing = mixing
        self._towers = list(towers)

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]`, whose widths may differ, and numbers `[batch, 1]` to `[batch, heads]`."""
        inputs = tf.concat([*rows, *(tf.cast(number, rows[0].dtype) for number in numbers)], axis=1)
        # Seed 0 is for what is shared, the others for the towers.
        seeds = [None if seed is None else fold_in(seed, part) for part in range(1 + len(self._towers))]
        mixed = self._mixing(inputs, seed=seeds[0])
        scores = [
            tower(of_head, seed=of_tower)
            for tower, of_head, of_tower in zip(self._towers, mixed, seeds[1:], strict=True)
        ]
        return tf.cast(tf.concat(scores, axis=1), tf.float32)


class MultiTaskModel(RankingModel):
    """A ranking model whose scores are `[batch, heads]` and whose predictions have names.

    It answers with the prediction of each head, named after its label, and with the final score; see `Goals`.
    """

    objective: Goals

    @property
    def named_predictions(self) -> Mapping[str, str | None]:
        return {name: name for name in self.objective.outputs}


def build_multi_task_model(config: MultiTaskConfig, parts: ModelParts) -> MultiTaskModel:
    """Builds a model of several goals.

    Args:
        config: Heads, what they share, and regularization; it has been checked against the columns.
        parts: What it is built of; the objective are `Goals`.
    """
    objective, dense = parts.objective, parts.dense
    mixing = config.mixing.layer(len(config.heads), config.dropout, dense.dtype)
    towers = [MLP(config.tower, 1, config.dropout, goal.initial_score, dense.dtype) for goal in objective.goals]
    head = MultiTaskHead(mixing, towers, dense.dtype)
    # Variables are made here, before anything is compiled.
    rows = [tf.zeros([1, feature.table.dim]) for _, feature in sorted(parts.configs.items())]
    head(rows, [tf.zeros([1, 1])] * len(parts.spec.numeric), None)
    return MultiTaskModel(
        parts.embedding, parts.spec, head, objective, config.embedding_l2, jit_compile=dense.jit_compile
    )  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)
