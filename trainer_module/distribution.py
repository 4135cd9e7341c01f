"""Where training runs: strategies, TPU initialization, and how datasets reach the replicas."""

import logging
import os
from collections.abc import Callable

import tensorflow as tf

from trainer_module.errors import SetupError
from trainer_module.experiment import TrainingConfig

_log = logging.getLogger(__name__)


def make_strategy(config: TrainingConfig) -> tf.distribute.Strategy:
    """Returns the strategy that `config.strategy` asks for.

    Raises:
        SetupError: The accelerator asked for is not there; says what was looked for and what was found.
    """
    kind = _detect(config) if config.strategy == "auto" else config.strategy
    if kind == "tpu":
        strategy = _tpu_strategy(config.tpu or os.environ.get("TPU_NAME", "local"))
    elif kind == "mirrored":
        strategy = tf.distribute.MirroredStrategy(_gpus())
    else:
        strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    _log.info("%s with %d replica(s)", type(strategy).__name__, strategy.num_replicas_in_sync)
    return strategy


def distribute(
    strategy: tf.distribute.Strategy,
    make_dataset: Callable[[tf.distribute.InputContext], tf.data.Dataset],
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Spreads per-host datasets over the replicas.

    Embedding ids are looked up by the host's half of the TPU program, so the batches must stay on the host. For a
    single device there is nothing to spread, and TensorFlow's distributed iterator would only cost time: when it is
    dropped, it waits for the next turn of a tuner that sleeps for ever longer periods, ten to twenty seconds after
    a training of half a minute.
    """
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return make_dataset(tf.distribute.InputContext())
    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    return strategy.distribute_datasets_from_function(make_dataset, options)


def _detect(config: TrainingConfig) -> str:
    if config.tpu or "TPU_NAME" in os.environ or tf.config.list_physical_devices("TPU"):
        return "tpu"
    return "mirrored" if tf.config.list_physical_devices("GPU") else "cpu"


def _gpus() -> list[str]:
    gpus = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices("GPU")]
    if not gpus:
        raise SetupError(
            "training.strategy=mirrored needs a GPU and TensorFlow sees none "
            f"(devices: {_device_names()}). Use training.strategy=cpu or auto."
        )
    return gpus


def _tpu_strategy(name: str) -> tf.distribute.TPUStrategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)
    except (tf.errors.OpError, ValueError, RuntimeError, OSError) as error:
        raise SetupError(
            f"training.strategy=tpu: no TPU answers as {name!r} ({str(error).splitlines()[0]}); "
            f"devices: {_device_names()}. "
            "Set training.tpu to its name, run on a TPU VM, or use training.strategy=auto."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _device_names() -> list[str]:
    return [device.name for device in tf.config.list_physical_devices()]
