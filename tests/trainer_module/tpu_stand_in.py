"""TPU strategies without a TPU."""

import types

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.tpu import topology_pb2
from tensorflow.python.tpu.device_assignment import DeviceAssignment

TASK = "/job:localhost/replica:0/task:0"


class OnCpu(DeviceAssignment):
    """Puts the one core on the CPU."""

    def tpu_device(self, replica=0, logical_core=0, job=None):
        return f"{TASK}/device:CPU:0"

    def host_device(self, replica=0, logical_core=0, job=None):
        return f"{TASK}/device:CPU:0"


def described_tpu(
    feature: str, num_cores: int, assignment: DeviceAssignment | None = None
) -> tf.distribute.TPUStrategy:
    """A strategy for a TPU with the embedding engine `feature`; programs can be traced for it."""
    cores = [types.SimpleNamespace(name=f"{TASK}/device:TPU:{n}", device_type="TPU") for n in range(num_cores)]
    hardware = topology_pb2.TPUHardwareFeature
    resolver = types.SimpleNamespace(
        get_tpu_system_metadata=lambda: tf.tpu.experimental.TPUSystemMetadata(num_cores, 1, num_cores, None, cores),
        tpu_hardware_feature=hardware(embedding_feature=hardware.EmbeddingFeature.Value(feature)),
    )
    return tf.distribute.TPUStrategy(resolver, experimental_device_assignment=assignment)


def one_core_tpu(feature: str) -> tf.distribute.TPUStrategy:
    """The same for one core, with variables that really exist, on the CPU."""
    core = np.zeros([1, 1, 4], np.int32)
    topology = tf.tpu.experimental.Topology(mesh_shape=[1, 1, 1, 1], device_coordinates=core)
    return described_tpu(feature, 1, OnCpu(topology, core))
