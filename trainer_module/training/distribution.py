"""Where training runs: strategies, TPU initialization, and how datasets reach the replicas."""

import logging
import os
from collections.abc import Callable

import tensorflow as tf

from trainer_module.errors import ConfigError, SetupError
from trainer_module.models.layers import DenseOptions
from trainer_module.training.config import TrainingConfig

_log = logging.getLogger(__name__)

# Where any size will do: large, since evaluation keeps nothing for a backward pass.
_EVAL_BATCH_SIZE = 8192


def make_strategy(config: TrainingConfig) -> tf.distribute.Strategy:
    """Returns the strategy that `config.strategy` asks for.

    Raises:
        SetupError: The accelerator asked for is not there; says what was looked for and what was found.
    """
    kind = _detect(config) if config.strategy == "auto" else config.strategy
    if kind == "tpu":
        strategy = _tpu_strategy(config.tpu or os.environ.get("TPU_NAME", "local"))
    elif kind == "multi_worker":
        strategy = _multi_worker_strategy()
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


def evaluation_batch_size(config: TrainingConfig, strategy: tf.distribute.Strategy) -> int:
    """Examples per evaluation step over all replicas.

    Raises:
        ConfigError: It cannot be divided among the replicas, or on a TPU it differs from the training batch; the
            embedding engine is configured for one size.
    """
    if not isinstance(strategy, tf.distribute.TPUStrategy):
        size = config.eval_batch_size or _EVAL_BATCH_SIZE
        _check_divisible("eval_batch_size", size, strategy)
        return size
    if config.eval_batch_size not in (None, config.batch_size):
        raise ConfigError(
            f"training.eval_batch_size={config.eval_batch_size}, but a TPU's embedding engine takes one batch size; "
            f"leave it out, or set it to training.batch_size={config.batch_size}"
        )
    return config.batch_size


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Place of this process among those that train together; 0 where there is but one, or for the chief."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0
    return strategy.cluster_resolver.task_id


def dense_options(config: TrainingConfig, strategy: tf.distribute.Strategy) -> DenseOptions:
    """How the dense part computes under a strategy; a TPU compiles the whole step anyway."""
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    precision = config.precision if config.precision != "auto" else "bfloat16" if on_tpu else "float32"
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    return DenseOptions(dtype=dtype, jit_compile=config.jit_compile and not on_tpu)


def replica_batch_size(config: TrainingConfig, strategy: tf.distribute.Strategy) -> int | None:
    """Examples per replica that a TPU's embedding engine is laid out for; None off TPUs.

    Raises:
        ConfigError: The batch cannot be divided among the replicas.
    """
    _check_divisible("batch_size", config.batch_size, strategy)
    if not isinstance(strategy, tf.distribute.TPUStrategy):
        return None
    return config.batch_size // strategy.num_replicas_in_sync


def _check_divisible(key: str, size: int, strategy: tf.distribute.Strategy) -> None:
    if size % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"training.{key}={size} must be divisible by the {strategy.num_replicas_in_sync} replicas that share it"
        )


def _detect(config: TrainingConfig) -> str:
    if config.tpu or "TPU_NAME" in os.environ or tf.config.list_physical_devices("TPU"):
        return "tpu"
    if "TF_CONFIG" in os.environ:
        return "multi_worker"
    return "mirrored" if tf.config.list_physical_devices("GPU") else "cpu"


def _gpus() -> list[str]:
    gpus = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices("GPU")]
    if not gpus:
        raise SetupError(
            "training.strategy=mirrored needs a GPU and TensorFlow sees none "
            f"(devices: {_device_names()}). Use training.strategy=cpu or auto."
        )
    return gpus


def _multi_worker_strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    if "TF_CONFIG" not in os.environ:
        raise SetupError(
            "training.strategy=multi_worker needs the environment variable TF_CONFIG (JSON: cluster.worker lists "
            "host:port of all workers, task.index is this one's place in it), and it is not set. Use "
            "training.strategy=auto on a single machine."
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        raise SetupError(
            f"training.strategy=multi_worker: TF_CONFIG={os.environ['TF_CONFIG']} describes no cluster that works "
            f"({str(error).splitlines()[0]})"
        ) from error


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
