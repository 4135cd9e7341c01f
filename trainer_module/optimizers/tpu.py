"""From Keras 2 optimizers to those of the TPU's embedding engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer_module.errors import ConfigError
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS
from trainer_module.optimizers.keras import RULES, KerasOptimizer, Rule
from trainer_module.private_members import given_learning_rate, untracked

_IN_ENGINE = {rule.keras: (facts, rule, rule.tpu) for facts, rule in RULES.items() if rule.tpu is not None}
_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


def tpu_optimizer(optimizer: KerasOptimizer) -> Any:
    """The optimizer of `tf.tpu.experimental.embedding` that does what a Keras 2 optimizer does.

    Its slots are made by the Keras optimizer and belong to it, so that a table trains on from one checkpoint with or
    without an embedding engine. A learning rate that is a schedule or a function stays dynamic: it is computed in
    every step. A number is read once, here.

    Args:
        optimizer: `SGD`, `Adagrad`, `Adam` or `Ftrl` of `tf.keras.optimizers.legacy`, or `AdagradMomentum`.

    Raises:
        ConfigError: The class has no counterpart, or an argument is set that the counterpart lacks.
    """
    if type(optimizer) not in _IN_ENGINE:
        raise ConfigError(
            f"TPUs have no embedding optimizer like {type(optimizer).__module__}.{type(optimizer).__name__}; "
            f"choose one of {', '.join(EMBEDDING_OPTIMIZERS)}"
        )
    facts, rule, in_engine = _IN_ENGINE[type(optimizer)]
    names = [name for name in facts.model_fields if name not in ("name", "learning_rate")]
    config = optimizer.get_config()
    _refuse_what_tpus_lack(optimizer, names, config)
    arguments = {name: config[name] for name in names}
    if facts.slots:
        arguments["slot_variable_creation_fn"] = _slot_creator(optimizer, rule)
    return in_engine(learning_rate=_learning_rate(optimizer), **arguments)


def _refuse_what_tpus_lack(optimizer: KerasOptimizer, names: Sequence[str], config: Mapping[str, Any]) -> None:
    """Raises if an argument differs from its default that the TPU's optimizer does not take."""
    defaults = type(optimizer)().get_config()
    changed = [
        name for name in config if name not in ("name", "learning_rate", *names) and config[name] != defaults.get(name)
    ]
    clipping = [name for name in _CLIPPING if getattr(optimizer, name) is not None]
    if refused := sorted({*changed, *clipping}):
        raise ConfigError(
            f"the TPU's counterpart of {type(optimizer).__name__} has no {', '.join(refused)}; leave it at its default "
            "(clipping and decay can be had for the dense part, or as a schedule of the learning rate)"
        )


def _learning_rate(optimizer: KerasOptimizer) -> float | Callable[[], Any]:
    rate = given_learning_rate(optimizer)
    if isinstance(rate, tf.keras.optimizers.schedules.LearningRateSchedule):
        return lambda: rate(optimizer.iterations)
    return rate if callable(rate) and not isinstance(rate, tf.Variable) else float(rate)


def _slot_creator(optimizer: KerasOptimizer, rule: Rule) -> Callable[..., dict[str, tf.Variable]]:
    """Makes a table's slots in `optimizer`; keyed by their TPU names."""

    def create(table: tf.Variable, slots: Sequence[str], initializers: Sequence[Any]) -> dict[str, tf.Variable]:
        # The optimizer's checkpoint holds them; the table's must not hold them a second time.
        module = tf.Module()
        return {
            slot: untracked(module, optimizer.add_slot(table, rule.slots[slot], initializer))
            for slot, initializer in zip(slots, initializers, strict=True)
        }

    return create
