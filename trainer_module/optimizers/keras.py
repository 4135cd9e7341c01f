"""Optimizers: from their description to Keras 2."""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from trainer_module.errors import ConfigError
from trainer_module.optimizers import adagrad_momentum, adamw, lazy_adam
from trainer_module.optimizers.config import (
    Adagrad,
    AdagradMomentum,
    Adam,
    AdamW,
    DenseOptimizerConfig,
    Ftrl,
    LazyAdam,
    LearningRate,
    RateFunction,
    Sgd,
    SgdMomentum,
    WarmupDecay,
)
from trainer_module.private_members import KerasOptimizer

_keras, _tpu = tf.keras.optimizers.legacy, tf.tpu.experimental.embedding


@dataclass(frozen=True)
class Rule:
    """The implementations of an optimizer.

    Attributes:
        keras: Legacy Keras class; TPU embeddings can be derived from no other.
        tpu: Class of `tf.tpu.experimental.embedding`; None where the embedding engine has no such rule.
        slots: Names of the slots: TPU name to Keras name.
    """

    keras: type[KerasOptimizer]
    tpu: type[Any] | None = None
    slots: Mapping[str, str] = field(default_factory=dict)


RULES: Mapping[type[DenseOptimizerConfig], Rule] = {
    Sgd: Rule(_keras.SGD, _tpu.SGD),
    Adagrad: Rule(_keras.Adagrad, _tpu.Adagrad, {"accumulators": "accumulator"}),
    AdagradMomentum: Rule(
        adagrad_momentum.AdagradMomentum,
        _tpu.AdagradMomentum,
        {"accumulators": "accumulator", "momenta": "momentum"},
    ),
    Adam: Rule(_keras.Adam, _tpu.Adam, {"momenta": "m", "velocities": "v"}),
    LazyAdam: Rule(lazy_adam.LazyAdam, _tpu.Adam, {"momenta": "m", "velocities": "v"}),
    Ftrl: Rule(_keras.Ftrl, _tpu.FTRL, {"accumulators": "accumulator", "linears": "linear"}),
    SgdMomentum: Rule(_keras.SGD),
    AdamW: Rule(adamw.AdamW),
}
"""By the class of the description."""


def make_rate(rate: LearningRate, step: tf.Variable) -> float | Callable[[], tf.Tensor]:
    """A learning rate as optimizers take it: a number, or a function without arguments that reads `step`.

    The TPU's embedding engine takes such a function for its dynamic learning rate.

    Args:
        rate: Its description.
        step: int64 scalar, the number of steps taken.

    Raises:
        ConfigError: The function that `rate` names cannot be imported.
    """
    if isinstance(rate, WarmupDecay):
        return lambda: scheduled(rate, step.read_value())
    if isinstance(rate, RateFunction):
        function = _imported(rate.function)
        return lambda: tf.cast(function(step.read_value()), tf.float32)
    return rate


def scheduled(rate: WarmupDecay, step: tf.Tensor) -> tf.Tensor:
    """The learning rate at `step` (int64 scalar), float32 scalar; formulas are in `WarmupDecay`."""
    past = tf.cast(step - rate.warmup_steps, tf.float32)
    fraction = tf.minimum(1.0, past / rate.decay_steps)
    after = {
        "constant": lambda: tf.constant(rate.peak),
        "linear": lambda: rate.floor + (rate.peak - rate.floor) * (1 - fraction),
        "cosine": lambda: rate.floor + (rate.peak - rate.floor) * (1 + tf.cos(math.pi * fraction)) / 2,
        # Before the warm-up's end `past` is negative; that branch is not taken, but it is computed.
        "inverse_sqrt": lambda: tf.maximum(
            rate.floor, rate.peak * tf.math.rsqrt(1 + tf.maximum(past, 0.0) / rate.decay_steps)
        ),
    }[rate.shape]()
    rising = rate.peak * tf.cast(step + 1, tf.float32) / max(1, rate.warmup_steps)
    return tf.where(step < rate.warmup_steps, rising, after)


def make_optimizer(config: DenseOptimizerConfig, step: tf.Variable) -> KerasOptimizer:
    """The Keras 2 optimizer that `config` describes; its schedule reads `step` (int64 scalar)."""
    rule = RULES[type(config)]
    return rule.keras(learning_rate=make_rate(config.learning_rate, step), **config.arguments)


def _imported(dotted_name: str) -> Callable[..., Any]:
    module, _, name = dotted_name.rpartition(".")
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"learning_rate.function: {dotted_name} cannot be imported ({error}); give the dotted name of a function "
            "from the step to the rate"
        ) from error
    # A module may hold functions that it has imported, which its author did not write for experiments.
    if not callable(function) or getattr(function, "__module__", None) != module:
        raise ConfigError(
            f"learning_rate.function: {dotted_name} is no function that is defined in {module}; give the dotted name "
            "of a function from the step to the rate"
        )
    return function
