"""TPU strategies for described TPUs, on a machine without a TPU.

`tf.distribute.TPUStrategy` asks its resolver only for the devices and the kind of embedding engine. With a resolver
that returns a description of both, layers lay out their tables, training loops are traced, and TensorFlow's compiler
passes run. Nothing is executed on a TPU.

Only this module, `tpu_lowering` and `trainer_module.private_members` use private members of TensorFlow. Tests fail if a
release moves them.
"""

import types
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.tpu import topology_pb2, tpu_embedding_configuration_pb2
from tensorflow.python.tpu import tpu_embedding_v3_checkpoint_adapter
from tensorflow.python.tpu.device_assignment import DeviceAssignment

# Embedding engine: none, the engine of TPU v2 to v4, SparseCore.
EmbeddingFeature = Literal["UNSUPPORTED", "V1", "V2"]

_HardwareFeature = topology_pb2.TPUHardwareFeature
_LOCAL_TASK = "/job:localhost/replica:0/task:0"


def described_tpu_strategy(
    num_hosts: int, cores_per_host: int, feature: EmbeddingFeature, sparse_cores_per_chip: int = 0
) -> tf.distribute.TPUStrategy:
    """Returns a strategy for a described TPU. Under it, graphs can be traced, but variables cannot be created.

    Args:
        num_hosts: Number of machines.
        cores_per_host: Number of replicas per machine.
        feature: Embedding engine.
        sparse_cores_per_chip: Number of SparseCores per chip for V2: 4 on v5p, 2 on v6e.
    """
    names = [
        f"/job:worker/replica:0/task:{host}/device:TPU:{core}"
        for host in range(num_hosts)
        for core in range(cores_per_host)
    ]
    return tf.distribute.TPUStrategy(_resolver(names, num_hosts, None, feature, sparse_cores_per_chip))


def cpu_backed_tpu_strategy(
    num_cores: int, feature: EmbeddingFeature, sparse_cores_per_chip: int = 0
) -> tf.distribute.TPUStrategy:
    """Returns a strategy for a described TPU with one host. Its cores are logical CPU devices, which hold variables.

    Args:
        num_cores: Number of replicas. The same number of logical CPU devices must be configured before TensorFlow
            starts.
        feature: Embedding engine.
        sparse_cores_per_chip: Number of SparseCores per chip for V2.
    """
    names = [f"{_LOCAL_TASK}/device:TPU:{core}" for core in range(num_cores)]
    coordinates = np.array([[[core, 0, 0, 0] for core in range(num_cores)]], np.int32)
    topology = tf.tpu.experimental.Topology(mesh_shape=[num_cores, 1, 1, 1], device_coordinates=coordinates)
    return tf.distribute.TPUStrategy(
        _resolver(names, 1, topology, feature, sparse_cores_per_chip),
        experimental_device_assignment=_OnCpus(topology, coordinates.reshape(num_cores, 1, 4)),
    )


@contextmanager
def uninitialized_embedding_engine() -> Iterator[None]:
    """Replaces the calls of the V1 engine, so that a V1 layer can be built without an engine."""
    with ExitStack() as stack:
        python = "tensorflow.python.tpu"
        stack.enter_context(mock.patch(f"{python}.ops.tpu_ops.is_tpu_embedding_initialized", return_value=False))
        for function in (
            "tpu.initialize_system_for_tpu_embedding",
            "tpu_embedding_v2._load_variables_impl",
            "tpu_embedding_v2._retrieve_variables_impl",
        ):
            stack.enter_context(mock.patch(f"{python}.{function}"))
        yield


def embedding_configuration(
    layer: tf.keras.layers.Layer, replica_batch_size: int
) -> tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration:
    """Returns the configuration that a TFRS embedding layer would send to a V1 engine.

    Args:
        layer: Layer that was created under a V1 strategy of `described_tpu_strategy` and is not built yet.
        replica_batch_size: Number of examples per replica.
    """
    engine = layer._tpu_embedding
    engine._get_and_update_output_shapes_from_input(per_replica_batch_size=replica_batch_size)
    return engine._create_config_proto()


@dataclass(frozen=True)
class SparseCoreLayout:
    """Layout of one table in the SparseCores.

    Attributes:
        stacked_in: Name of the stack. Tables of the same width and optimizer share a stack.
        rows_per_sparse_core: Number of rows of the whole stack in one SparseCore, with padding.
        padded_rows: Number of rows of this table, with padding.
        padded_width: Number of floats per row of the stack, with padding.
        rotation: Number of SparseCores by which the table's first row is shifted. The shift keeps the frequent low ids
            of stacked tables on different SparseCores.
        slots: Number of optimizer slots per row; each has the width of the row.
    """

    stacked_in: str
    rows_per_sparse_core: int
    padded_rows: int
    padded_width: int
    rotation: int
    slots: int

    @property
    def stack_bytes_per_sparse_core(self) -> int:
        """Memory of the whole stack in one SparseCore in bytes, as float32."""
        return self.rows_per_sparse_core * self.padded_width * 4 * (1 + self.slots)


def sparse_core_layouts(layer: tf.keras.layers.Layer) -> dict[str, SparseCoreLayout]:
    """Returns the layout of each table of a TFRS embedding layer, by table name.

    Args:
        layer: Layer that was created under a V2 strategy, with an `output_shape` for every feature.
    """
    engine = layer._tpu_embedding
    optimizers = {table.name: table.optimizer for tables in _stacks(engine).values() for table in tables}
    return {
        name: SparseCoreLayout(
            stacked_in=layout.stacked_table_name,
            rows_per_sparse_core=layout.total_rows_per_sparse_core_shard,
            padded_rows=layout.unsharded_padded_shape[0],
            padded_width=layout.unsharded_padded_shape[1],
            rotation=layout.sparse_core_shard_rotation,
            slots=len(optimizers[name]._slot_names()) if optimizers[name] else 0,
        )
        for name, layout in engine.embedding_layouts.items()
    }


def table_values(layer: tf.keras.layers.Layer) -> dict[str, np.ndarray]:
    """Returns the tables `[rows, dim]` by name from the shards or stacks of a built layer, for any engine."""
    engine = layer._tpu_embedding
    if isinstance(engine, tf.tpu.experimental.embedding.TPUEmbeddingV2):
        return _unstacked(engine)
    if isinstance(engine, tf.tpu.experimental.embedding.TPUEmbedding):
        return {name: _joined(slots["parameters"].variables) for name, slots in engine._variables.items()}
    return {table.name: _replica_value(variable) for table, variable in engine.embedding_tables.items()}


class _OnCpus(DeviceAssignment):
    """Assigns core n to the n-th logical CPU device."""

    def tpu_device(self, replica: int = 0, logical_core: int = 0, job: str | None = None) -> str:
        return f"{_LOCAL_TASK}/device:CPU:{replica}"

    def host_device(self, replica: int = 0, logical_core: int = 0, job: str | None = None) -> str:
        return f"{_LOCAL_TASK}/device:CPU:0"


def _resolver(
    device_names: list[str],
    num_hosts: int,
    topology: tf.tpu.experimental.Topology | None,
    feature: EmbeddingFeature,
    sparse_cores_per_chip: int,
) -> types.SimpleNamespace:
    """Returns an object with the members of `TPUClusterResolver` that a strategy uses."""
    metadata = tf.tpu.experimental.TPUSystemMetadata(
        num_cores=len(device_names),
        num_hosts=num_hosts,
        num_of_cores_per_host=len(device_names) // num_hosts,
        topology=topology,
        devices=[types.SimpleNamespace(name=name, device_type="TPU") for name in device_names],
    )
    hardware = _HardwareFeature(
        embedding_feature=_HardwareFeature.EmbeddingFeature.Value(feature),
        num_embedding_devices_per_chip=sparse_cores_per_chip,
    )
    return types.SimpleNamespace(get_tpu_system_metadata=lambda: metadata, tpu_hardware_feature=hardware)


def _stacks(engine: tf.tpu.experimental.embedding.TPUEmbeddingV2) -> Mapping[str, list]:
    return engine._stacked_table_to_tables


def _unstacked(engine: tf.tpu.experimental.embedding.TPUEmbeddingV2) -> dict[str, np.ndarray]:
    tables = {}
    for stack, variable in engine.embedding_tables.items():
        whole = tf.constant(_joined(variable.values))
        layouts = sorted(
            (engine.embedding_layouts[table.name] for table in _stacks(engine)[stack]),
            key=lambda layout: layout.sparse_core_shard_row_offset,
        )
        parts = tpu_embedding_v3_checkpoint_adapter._unshard_from_sc_to_cpu(whole, layouts)
        tables |= {layout.table_name: part for layout, part in zip(layouts, map(_as_array, parts), strict=True)}
    return tables


def _joined(shards) -> np.ndarray:
    return np.concatenate([_as_array(shard) for shard in shards])


def _replica_value(variable: tf.Variable) -> np.ndarray:
    """Returns the first replica's value of a variable."""
    return _as_array(variable.values[0] if hasattr(variable, "values") else variable)


def _as_array(value: tf.Tensor | tf.Variable) -> np.ndarray:
    return np.asarray(value.numpy())  # pyright: ignore[reportOptionalCall] (set when TensorFlow is imported)
