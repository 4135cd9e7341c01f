"""What the heads of a model of several goals share: a bottom, or experts that gates mix for each head.

Every layer maps inputs `[batch, width]` to one `[batch, any width]` per head. All shapes are static, as XLA and TPUs
need them: every expert sees every example, and gates only weigh their outputs.
"""

from collections.abc import Sequence

import tensorflow as tf

from trainer_module.models.layers import MLP, dropout, fold_in

Seed = tf.Tensor | None


def _seed(seed: Seed, part: int) -> Seed:
    return None if seed is None else fold_in(seed, part)


class Expert(tf.keras.layers.Layer):
    """An MLP whose last layer has ReLU and dropout like the others."""

    def __init__(self, widths: Sequence[int], dropout: float = 0.0, dtype: str = "float32"):
        """Makes the layers.

        Args:
            widths: Of the layers, at least one.
            dropout: Fraction of units dropped in training.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        *hidden, last = widths
        self._mlp = MLP(hidden, last, dropout, dtype=dtype)
        self._dropout = dropout

    def call(self, inputs: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """From `[batch, input_dim]` to `[batch, widths[-1]]`; in training, `seed` (int32 `[2]`) chooses what drops."""
        outputs = tf.nn.relu(self._mlp(inputs, seed=_seed(seed, 0)))
        return dropout(outputs, self._dropout, _seed(seed, 1))


class Gate(tf.keras.layers.Layer):
    """Weighs experts by a softmax over a linear layer (Ma et al., KDD 2018, equation 7)."""

    def __init__(self, num_experts: int, dtype: str = "float32"):
        """Takes the number of experts."""
        super().__init__(dtype=dtype)
        self._logits = tf.keras.layers.Dense(num_experts, use_bias=False, dtype=dtype)

    def call(self, inputs: tf.Tensor, experts: Sequence[tf.Tensor]) -> tf.Tensor:
        """From inputs `[batch, input_dim]` and outputs of experts `[batch, width]` to their mean `[batch, width]`."""
        weights = tf.nn.softmax(self._logits(inputs), axis=1)
        return tf.add_n([weights[:, place : place + 1] * expert for place, expert in enumerate(experts)])


class SharedBottom(tf.keras.layers.Layer):
    """One MLP for all heads (Caruana, "Multitask Learning", Machine Learning 1997)."""

    def __init__(self, num_heads: int, widths: Sequence[int], dropout: float = 0.0, dtype: str = "float32"):
        """Takes the number of heads, the MLP's widths, the fraction of dropped units and the Keras dtype policy."""
        super().__init__(dtype=dtype)
        self._num_heads = num_heads
        self._bottom = Expert(widths, dropout, dtype)

    def call(self, inputs: tf.Tensor, seed: Seed = None) -> list[tf.Tensor]:
        """From `[batch, input_dim]` to the same `[batch, widths[-1]]` for every head."""
        return [self._bottom(inputs, seed=seed)] * self._num_heads


class MixtureOfExperts(tf.keras.layers.Layer):
    """MMoE: experts that a gate of each head mixes (Ma et al., "Modeling Task Relationships in Multi-task Learning with
    Multi-gate Mixture-of-Experts", KDD 2018, equations 6 and 7)."""

    def __init__(
        self, num_heads: int, num_experts: int, widths: Sequence[int], dropout: float = 0.0, dtype: str = "float32"
    ):
        """Makes experts and gates.

        Args:
            num_heads: Number of heads.
            num_experts: Number of experts.
            widths: Of each expert's layers.
            dropout: Fraction of the experts' units dropped in training.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        self._experts = [Expert(widths, dropout, dtype) for _ in range(num_experts)]
        self._gates = [Gate(num_experts, dtype) for _ in range(num_heads)]

    def call(self, inputs: tf.Tensor, seed: Seed = None) -> list[tf.Tensor]:
        """From `[batch, input_dim]` to `[batch, widths[-1]]` per head."""
        experts = [expert(inputs, seed=_seed(seed, place)) for place, expert in enumerate(self._experts)]
        return [gate(inputs, experts) for gate in self._gates]


class ExtractionLevel(tf.keras.layers.Layer):
    """A level of PLE: experts of each head and shared ones, mixed by gates (Tang et al., RecSys 2020, equation 5).

    A head's gate sees its own experts and the shared ones. The shared gate, which leads to the next level, sees all.
    """

    def __init__(
        self,
        num_heads: int,
        own_experts: int,
        shared_experts: int,
        widths: Sequence[int],
        is_last: bool,
        dropout: float = 0.0,
        dtype: str = "float32",
    ):
        """Makes experts and gates.

        Args:
            num_heads: Number of heads.
            own_experts: Number of experts of each head.
            shared_experts: Number of experts of all heads.
            widths: Of each expert's layers.
            is_last: Whether no level follows, so that nothing reads what the shared gate would give.
            dropout: Fraction of the experts' units dropped in training.
            dtype: Keras dtype policy.
        """
        super().__init__(dtype=dtype)
        sizes = [own_experts] * num_heads + [shared_experts]
        self._groups = [[Expert(widths, dropout, dtype) for _ in range(size)] for size in sizes]
        self._gates = [Gate(own_experts + shared_experts, dtype) for _ in range(num_heads)]
        if not is_last:
            self._gates.append(Gate(sum(sizes), dtype))

    def call(self, inputs: Sequence[tf.Tensor], seed: Seed = None) -> list[tf.Tensor]:
        """Maps the inputs of each head's experts and, last, of the shared ones, `[batch, input_dim]` each.

        Returns:
            `[batch, widths[-1]]` per head; unless the level is the last one, also of the shared experts.
        """
        groups = [
            [expert(of_group, seed=_seed(_seed(seed, number), place)) for place, expert in enumerate(group)]
            for number, (group, of_group) in enumerate(zip(self._groups, inputs, strict=True))
        ]
        *own, shared = groups
        seen = [[*of_head, *shared] for of_head in own] + [[expert for group in groups for expert in group]]
        # The last level has no shared gate.
        return [gate(of_gate, experts) for gate, of_gate, experts in zip(self._gates, inputs, seen, strict=False)]


class ProgressiveExtraction(tf.keras.layers.Layer):
    """PLE: levels of shared and own experts (Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task
    Learning Model for Personalized Recommendations", RecSys 2020). One level is the paper's CGC."""

    def __init__(
        self,
        num_heads: int,
        levels: int,
        own_experts: int,
        shared_experts: int,
        widths: Sequence[int],
        dropout: float = 0.0,
        dtype: str = "float32",
    ):
        """Takes the number of heads and of levels; for the other arguments see `ExtractionLevel`."""
        super().__init__(dtype=dtype)
        self._num_heads = num_heads
        self._levels = [
            ExtractionLevel(num_heads, own_experts, shared_experts, widths, number == levels, dropout, dtype)
            for number in range(1, levels + 1)
        ]

    def call(self, inputs: tf.Tensor, seed: Seed = None) -> list[tf.Tensor]:
        """From `[batch, input_dim]` to `[batch, widths[-1]]` per head."""
        extracted = [inputs] * (self._num_heads + 1)
        for number, level in enumerate(self._levels):
            extracted = level(extracted, seed=_seed(seed, number))
        return extracted
