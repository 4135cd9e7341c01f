"""Private members of TensorFlow, Keras and TensorFlow Recommenders that the trainer needs, behind public names.

Only this module and `tpu_worker` touch such members, so that a new version of these libraries is checked here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import ResourceVariable
from tensorflow_recommenders.layers.embedding import TPUEmbedding

KerasOptimizer = tf.keras.optimizers.legacy.Optimizer


class OpenTPUEmbedding(TPUEmbedding):
    """TensorFlow Recommenders' embedding layer, with a hook before its tables are laid out."""

    @property
    def mid_level(self) -> tf.Module:
        """TensorFlow's object that holds the tables."""
        return self._tpu_embedding

    @property
    def embedding_feature(self) -> Any | None:
        """The embedding engine of the TPUs; None off TPUs."""
        return self._embedding_feature

    def before_layout(self, tables: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Changes the tables before they are laid out.

        Args:
            tables: Pairs of the caller's `TableConfig` and the one that is laid out.

        Returns:
            Such pairs.
        """
        return tables

    def _create_tpu_embedding_mid_level_api(self, *args, **kwargs):
        self._table_config_map = self.before_layout(self._table_config_map)
        return super()._create_tpu_embedding_mid_level_api(*args, **kwargs)


def mid_level(layer: tf.keras.layers.Layer) -> tf.Module:
    """TensorFlow's object that holds the tables of an embedding layer, the product's or TensorFlow Recommenders'."""
    return layer._tpu_embedding


def track(owner: tf.Module, child: tf.Variable, name: str) -> None:
    """Lets checkpoints of `owner` hold `child` under `name`."""
    owner._track_trackable(child, name)


def untracked(owner: tf.Module, value: Any) -> Any:
    """Wraps a value for an attribute of `owner` (or of a container in one) that checkpoints of it must not hold."""
    return owner._no_dependency(value)


def strings_stay_on_host(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
    """A variable creator that makes string variables on this host alone, and all others as usual.

    TensorFlow's embedding tables for CPUs and GPUs carry a string variable for checkpoints that come from SparseCores.
    `MultiWorkerMirroredStrategy` sends initial values from worker to worker, and cannot send strings. The class is the
    one that `tf.Variable` becomes outside any strategy.
    """
    if kwargs.get("dtype") != tf.string:
        return next_creator(**kwargs)
    return ResourceVariable(  # pyright: ignore[reportReturnType] (a tf.Variable by registration)
        initial_value=kwargs["initial_value"], trainable=False, dtype=tf.string, name=kwargs.get("name")
    )


def make_slots(optimizer: KerasOptimizer, variables: Sequence[tf.Variable]) -> None:
    """Makes the slots of `variables` now rather than in the first step."""
    optimizer._create_all_weights(variables)


def given_learning_rate(optimizer: KerasOptimizer) -> Any:
    """The learning rate as the optimizer got it: a number, a variable, a schedule or a function."""
    return optimizer._hyper["learning_rate"]


def current_learning_rate(optimizer: KerasOptimizer) -> tf.Tensor:
    """The learning rate of the next step, float32 scalar."""
    return tf.cast(optimizer._get_hyper("learning_rate"), tf.float32)
