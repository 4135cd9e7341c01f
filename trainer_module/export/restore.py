"""Filling a serving copy from the training checkpoint, and the proof that nothing was left out.

Restoring by object graph is lenient: a variable that the checkpoint does not reach keeps its initial value, silently.
Three precautions make that impossible here. Tables start as NaN, so that one without a value shows. The checkpoint is
read before the tables exist, so that they are made from its values, one by one, rather than made and overwritten. All
other variables are compared with the checkpoint.
"""

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from trainer_module.embeddings.layer import Features
from trainer_module.errors import ModelError

_ROWS_AT_ONCE = 1 << 16
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def restore_copy(copy: tf.keras.Model, checkpoint: str, features: Features) -> None:
    """Restores the weights of a freshly built `copy` from a training checkpoint.

    Peak memory is that of the copy: no table is there twice, and optimizer slots are never read.

    Args:
        copy: Made in the default scope from configs of `embeddings.layer.await_values`; not yet called. Its `embedding`
            is the layer with the tables.
        checkpoint: Path prefix of a checkpoint with the training model as `model`.
        features: One batch of inputs, for the first call makes the variables.

    Raises:
        ModelError: A variable did not get its value from the checkpoint; names it.
    """
    root = tf.train.Checkpoint(model=copy)
    status = root.read(checkpoint)
    copy(features)
    # The slots of the tables' optimizers stay behind; which is why a full match cannot be asked for.
    status.expect_partial()
    prove_tables(copy.embedding, checkpoint)
    prove_others(copy, root, checkpoint)


def restore_tables(layer: tf.keras.layers.Layer, checkpoint: str) -> None:
    """Restores the tables of an embedding layer that may hold fewer of them than the checkpoint.

    Args:
        layer: As the `embedding` of `restore_copy`'s model.
        checkpoint: Path prefix of a checkpoint with the training model as `model`.

    Raises:
        ModelError: A table did not get its value from the checkpoint; names it.
    """
    status = tf.train.Checkpoint(model=tf.train.Checkpoint(embedding=layer)).read(checkpoint)
    prove_tables(layer, checkpoint)
    status.expect_partial()


def prove_tables(layer: tf.keras.layers.Layer, checkpoint: str) -> None:
    """Reads all tables, a slice at a time, and raises a `ModelError` if one holds a number that is not finite."""
    for config, table in layer.embedding_tables.items():
        for start in range(0, table.shape[0], _ROWS_AT_ONCE):
            # A sparse read: once a variable has been looked up in, TensorFlow copies the whole of it for a dense one.
            rows = table.sparse_read(tf.range(start, min(start + _ROWS_AT_ONCE, table.shape[0])))
            finite = tf.reduce_all(tf.math.is_finite(rows), axis=1)
            if not tf.reduce_all(finite):
                row = start + int(tf.where(~finite)[0, 0])
                raise ModelError(
                    f"row {row} of embedding table {config.name!r} has no finite value after restoring {checkpoint}: "
                    f"either the table was not restored from it (it holds {_table_keys(checkpoint)}) or it was trained "
                    "to NaN. The copy must be built from the training's own experiment and transform graph, and "
                    "restored before it is called"
                )


def prove_others(copy: tf.keras.Model, root: tf.train.Checkpoint, checkpoint: str) -> None:
    """Compares all variables of `copy` but its tables with the checkpoint, by value.

    Args:
        copy: The restored model.
        root: Holds it as `model`.
        checkpoint: Path prefix.

    Raises:
        ModelError: Names the first variable that the checkpoint lacks or of which it has another value.
    """
    reader = tf.train.load_checkpoint(checkpoint)
    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH)).nodes
    matched = tf.train.CheckpointView(checkpoint).match(root)
    keys = {
        id(trackable): nodes[number].attributes[0].checkpoint_key
        for number, trackable in matched.items()
        if nodes[number].attributes
    }
    tables = {id(table) for table in copy.embedding.embedding_tables.values()}
    for variable in copy.variables:
        if id(variable) in tables:
            continue
        if id(variable) not in keys:
            raise ModelError(
                f"variable {variable.name} {tuple(variable.shape)} is not in the checkpoint {checkpoint}, so the copy "
                "differs from the model that was trained; build both from one experiment with one version of the code"
            )
        if not np.array_equal(variable.numpy(), reader.get_tensor(keys[id(variable)])):
            raise ModelError(
                f"variable {variable.name} differs from its value {keys[id(variable)]} in the checkpoint {checkpoint}; "
                "the copy must be restored before it is called, and not be changed afterwards"
            )


def _table_keys(checkpoint: str) -> str:
    """What the checkpoint has below the embedding layer."""
    names = [name for name, _ in tf.train.list_variables(checkpoint) if name.startswith("model/embedding/")]
    return ", ".join(name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name in names) or "no embedding table"
