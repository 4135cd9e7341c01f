"""Variables that no strategy spreads over its workers."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Not public; the class is what `tf.Variable` becomes outside any strategy.
from tensorflow.python.ops.resource_variable_ops import ResourceVariable


def strings_stay_on_host(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
    """A variable creator: string variables are made on this host alone, all others as ever.

    TensorFlow's embedding tables for CPUs and GPUs carry a string variable for checkpoints that come from SparseCores.
    `MultiWorkerMirroredStrategy` sends initial values from worker to worker, and cannot send strings.
    """
    if kwargs.get("dtype") != tf.string:
        return next_creator(**kwargs)
    return ResourceVariable(  # pyright: ignore[reportReturnType] (a tf.Variable by registration)
        initial_value=kwargs["initial_value"], trainable=False, dtype=tf.string, name=kwargs.get("name")
    )
