"""Two optimizers, one for the embedding tables and one for the rest, and who updates what on which strategy."""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from trainer_module.experiment import OptimizerConfig

# The legacy classes are the only ones that TensorFlow Recommenders translates for TPUs.
_OPTIMIZERS = {
    "sgd": tf.keras.optimizers.legacy.SGD,
    "adagrad": tf.keras.optimizers.legacy.Adagrad,
    "adam": tf.keras.optimizers.legacy.Adam,
}


def make_optimizer(config: OptimizerConfig) -> tf.keras.optimizers.legacy.Optimizer:
    """The Keras 2 optimizer that `config` describes."""
    return _OPTIMIZERS[config.name](learning_rate=config.learning_rate)


class SplitOptimizer(tf.Module):
    """Applies the embedding optimizer to embedding variables and the dense one to all others.

    Off TPUs the tables are ordinary variables. On TPUs they are updated inside the embedding layer while the gradient
    is computed; what appears as its variable there is a dummy of one element, which takes either optimizer's zero.
    """

    def __init__(
        self,
        embedding: tf.keras.optimizers.legacy.Optimizer,
        dense: tf.keras.optimizers.legacy.Optimizer,
    ):
        super().__init__()
        self.embedding = embedding
        self.dense = dense

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[tf.Variable],
        embedding_variables: Iterable[tf.Variable],
    ) -> None:
        """Updates `variables` by `gradients`; both in the same order."""
        of_tables = {variable.ref() for variable in embedding_variables}
        pairs = list(zip(gradients, variables, strict=True))
        self.embedding.apply_gradients((g, v) for g, v in pairs if v.ref() in of_tables)
        self.dense.apply_gradients((g, v) for g, v in pairs if v.ref() not in of_tables)
