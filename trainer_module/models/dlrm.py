"""DLRM (Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019).

Predicts clicks from numbers, which a bottom MLP brings to the width of the embeddings, and from the dot products of
all pairs of these vectors.
"""

from collections.abc import Sequence

import tensorflow as tf

from trainer_module.embeddings import FeatureConfigs, Features, look_up
from trainer_module.errors import ConfigError
from trainer_module.features import FeatureSpec
from trainer_module.layers import FLOAT32, MLP, DenseOptions, DotInteraction, fold_in


class DlrmHead(tf.keras.layers.Layer):
    """The dense part: bottom MLP, interaction, top MLP."""

    def __init__(
        self,
        bottom: tf.keras.layers.Layer,
        interaction: tf.keras.layers.Layer,
        top: tf.keras.layers.Layer,
        dtype: str = "float32",
    ):
        """Takes the parts.

        Args:
            bottom: From numbers `[batch, num_numbers]` to `[batch, dim]`; ReLU follows.
            interaction: From a list of `[batch, dim]` to `[batch, num_interactions]`.
            top: From `[batch, dim + num_interactions]` to `[batch, 1]`.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._bottom = bottom
        self._interaction = interaction
        self._top = top

    def call(self, rows: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor], seed: tf.Tensor | None) -> tf.Tensor:
        """From embeddings `[batch, dim]` and numbers `[batch, 1]` to logits, float32 `[batch]`."""
        of_bottom, of_top = (None, None) if seed is None else (fold_in(seed, part) for part in range(2))
        dense = tf.nn.relu(self._bottom(tf.concat(numbers, axis=1), seed=of_bottom))
        interactions = self._interaction([dense, *(tf.cast(row, dense.dtype) for row in rows)])
        logits = self._top(tf.concat([dense, interactions], axis=1), seed=of_top)
        return tf.cast(tf.squeeze(logits, axis=1), tf.float32)


class Dlrm(tf.keras.Model):
    """Embedded features and numbers under a `DlrmHead`."""

    def __init__(
        self,
        embedding: tf.keras.layers.Layer,
        spec: FeatureSpec,
        head: tf.keras.layers.Layer,
        jit_compile: bool = False,
    ):
        """Takes the parts.

        Args:
            embedding: From `{column: ids}` and `{column: weights}` to `{column: [batch, dim] or [batch, 1, dim]}`;
                called once per step.
            spec: Says which inputs are ids, weights and numbers.
            head: The dense part: embeddings, numbers and seed to logits.
            jit_compile: Compile the head with XLA.
        """
        super().__init__()
        self.embedding = embedding
        self._spec = spec
        self._head = head
        self._apply_head = tf.function(head, jit_compile=True, autograph=False) if jit_compile else head

    def call(self, features: Features) -> tf.Tensor:
        """Predicts click probabilities `[batch]` from ids and float32 `[batch, 1]` numbers, by column."""
        return tf.sigmoid(self.logits(features))

    def per_example_loss(self, features: Features, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Log loss `[batch]` of clicks (1) and their absence (0), with dropout by `seed` (int32 `[2]`)."""
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=self.logits(features, seed))

    def logits(self, features: Features, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Log odds of a click, `[batch]`; with a seed, with dropout."""
        looked_up = look_up(self.embedding, self._spec, features)
        # A dense column of `[batch, 1]` ids may come back as `[batch, 1, dim]`, a bag is `[batch, dim]`.
        rows = [tf.reshape(looked_up[name], [-1, looked_up[name].shape[-1]]) for name in sorted(looked_up)]
        numbers = [features[column.name] for column in self._spec.numeric]
        return self._apply_head(rows, numbers, seed)


def build_dlrm(
    spec: FeatureSpec,
    configs: FeatureConfigs,
    embedding: tf.keras.layers.Layer,
    bottom: Sequence[int] = (256, 64),
    top: Sequence[int] = (256, 128),
    dropout: float = 0.0,
    dense: DenseOptions = FLOAT32,
) -> Dlrm:
    """Puts a DLRM together.

    Args:
        spec: Gives the columns.
        configs: Features and tables.
        embedding: The layer made from them.
        bottom: Widths of the bottom MLP's hidden layers; its output has the width of the tables.
        top: Widths of the top MLP's hidden layers.
        dropout: Fraction of hidden units dropped in training.
        dense: How the dense part computes.

    Raises:
        ConfigError: The tables differ in width, so that their rows cannot be multiplied pairwise, a feature is a
            sequence, or there is no numeric column for the bottom MLP.
    """
    widths = {feature.table.name: feature.table.dim for feature in configs.values()}
    if len(set(widths.values())) > 1:
        raise ConfigError(
            f"DLRM takes dot products of all pairs of rows, so its tables need one width; got {widths}. "
            "Set embeddings.dim and leave the tables' own dim out."
        )
    if sequences := [column.name for column in spec.categorical if column.max_sequence_length]:
        raise ConfigError(f"DLRM takes no sequences; set max_sequence_length of {sequences} to 0")
    if not spec.numeric:
        raise ConfigError("DLRM's bottom MLP reads numeric columns and the feature spec has none; declare one")
    dim = next(iter(widths.values()))
    head = DlrmHead(
        bottom=MLP(bottom, dim, dropout, dtype=dense.dtype),
        interaction=DotInteraction(dtype=dense.dtype),
        top=MLP(top, 1, dropout, dtype=dense.dtype),
        dtype=dense.dtype,
    )
    # Variables are made here, before anything is compiled.
    head([tf.zeros([1, dim])] * len(configs), [tf.zeros([1, 1])] * len(spec.numeric), None)
    return Dlrm(embedding, spec, head, dense.jit_compile)  # pyright: ignore[reportReturnType] (Keras's __new__)
