"""Starts a training from the weights of an earlier one whose vocabularies were other ones.

Rows and optimizer slots follow their token; new tokens keep their fresh initial values; removed ones are dropped. The
dense part is taken over as it is. The step, and with it schedules and the dense optimizer, starts anew.
"""

import logging
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft

from trainer_module.data.vocabularies import (
    Vocabularies,
    check_fingerprints,
    read_fingerprints,
    read_tokens,
    table_fingerprint,
)
from trainer_module.errors import ConfigError, ModelError
from trainer_module.training.config import WarmStartConfig
from trainer_module.training.split_optimizer import SplitOptimizer

_log = logging.getLogger(__name__)
_TABLE_KEY = "model/embedding/_tpu_embedding/{table}/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT_KEY = r"model/embedding/_tpu_embedding/{table}/\.OPTIMIZER_SLOT/.*/{slot}/\.ATTRIBUTES/VARIABLE_VALUE"


@dataclass(frozen=True)
class TableReport:
    """What became of a table.

    Attributes:
        table: Its name.
        kept: Tokens that took their rows along.
        new: Tokens that start from initial values.
        dropped: Tokens whose rows were left behind.
        oov_rows: Out-of-vocabulary rows taken over: all if both vocabularies have as many, else none.
        slots: Optimizer slots taken over, by Keras' names.
    """

    table: str
    kept: int
    new: int
    dropped: int
    oov_rows: int
    slots: tuple[str, ...]

    def __str__(self) -> str:
        slots = f"slots {', '.join(self.slots)}" if self.slots else "no slots"
        return (
            f"table {self.table}: {self.kept} tokens kept, {self.new} new, {self.dropped} dropped, "
            f"{self.oov_rows} out-of-vocabulary rows and {slots} taken over"
        )


def table_key(table: str) -> str:
    """Where a checkpoint keeps the rows of a table, unless SparseCores have stacked it."""
    return _TABLE_KEY.format(table=table)


def row_mapping(
    old_tokens: pa.Array, new_tokens: pa.Array, old_oov: int, new_oov: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which new row comes from which old one.

    Args:
        old_tokens: In the order of their ids.
        new_tokens: The same, later.
        old_oov: Number of out-of-vocabulary rows, which lie behind those of the tokens.
        new_oov: The same, later. Other numbers of buckets hash other tokens together, so such rows are not mapped.

    Returns:
        New and old row numbers, int64 `[moved]` each.
    """
    places = pc.index_in(new_tokens, value_set=old_tokens)
    new_rows = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
    old_rows = places.drop_null().to_numpy().astype(np.int64)
    if old_oov != new_oov:
        return new_rows, old_rows
    buckets = np.arange(new_oov)
    return np.concatenate([new_rows, len(new_tokens) + buckets]), np.concatenate([old_rows, len(old_tokens) + buckets])


def warm_start(
    config: WarmStartConfig, model: tf.keras.Model, optimizer: SplitOptimizer, vocabularies: Vocabularies
) -> list[TableReport]:
    """Moves an earlier training's weights into a model whose variables and slots exist.

    Reads one table at a time, so that beside the model two tables are in memory.

    Args:
        config: Names the earlier checkpoint and transform graph.
        model: Its `embedding` holds the tables.
        optimizer: With its slots.
        vocabularies: Those that the model is trained with.

    Raises:
        ConfigError: The tables live in a TPU's embedding engine.
        ModelError: Checkpoint and transform graph do not belong together, a table's width or a dense layer's shape
            changed.
    """
    tables = model.embedding.trainable_tables
    if set(tables) != set(vocabularies.rows):
        raise ConfigError(
            "training.warm_start: tables inside a TPU's embedding engine cannot be written row by row. Start the "
            "training with training.strategy=cpu, stop it (SIGTERM) after the first steps, and go on from its "
            "checkpoint on the TPU"
        )
    earlier = tft.TFTransformOutput(config.transform_graph)
    reader = tf.train.load_checkpoint(config.checkpoint)
    found = read_fingerprints(config.checkpoint)
    reports = [
        _moved(_EarlierTable(name, reader, earlier, found[name]), table, optimizer, vocabularies)
        if name in found
        else _all_new(name, vocabularies)
        for name, table in tables.items()
    ]
    _restore_dense(model, config.checkpoint)
    for report in reports:
        _log.info("warm start, %s", report)
    return reports


class _EarlierTable:
    """A table of the earlier training: its tokens, rows and slots."""

    def __init__(self, name: str, reader, transform_output: tft.TFTransformOutput, fingerprint: str):
        key = table_key(name)
        if not reader.has_tensor(key):
            raise ModelError(
                f"training.warm_start.checkpoint holds no rows of table {name} as {key}; SparseCores stack tables in "
                "their checkpoints, take the checkpoint of a training elsewhere"
            )
        self.name = name
        self.tokens = read_tokens(transform_output, name)
        self.shape = tuple(reader.get_variable_to_shape_map()[key])
        self.oov_buckets = self.shape[0] - len(self.tokens)
        actual = table_fingerprint(transform_output, name, self.oov_buckets)
        check_fingerprints(
            {name: actual}, {name: fingerprint}, "training.warm_start.checkpoint, by its transform graph,"
        )
        self._reader, self._key = reader, key

    def rows(self) -> np.ndarray:
        return self._reader.get_tensor(self._key)

    def slot(self, slot: str) -> np.ndarray | None:
        """Values of an optimizer slot; None if the earlier optimizer had no such slot."""
        pattern = re.compile(_SLOT_KEY.format(table=re.escape(self.name), slot=re.escape(slot)))
        keys = [key for key in self._reader.get_variable_to_shape_map() if pattern.fullmatch(key)]
        return self._reader.get_tensor(keys[0]) if keys else None


def _moved(
    earlier: _EarlierTable, table: tf.Variable, optimizer: SplitOptimizer, vocabularies: Vocabularies
) -> TableReport:
    tokens = vocabularies.tokens(earlier.name)
    oov_buckets = vocabularies.rows[earlier.name] - len(tokens)
    if earlier.shape[1] != table.shape[1]:
        raise ModelError(
            f"table {earlier.name} is {table.shape[1]} wide, but {earlier.shape[1]} in training.warm_start.checkpoint; "
            f"set embeddings.tables.{earlier.name}.dim={earlier.shape[1]}, or start without it"
        )
    new_rows, old_rows = row_mapping(earlier.tokens, tokens, earlier.oov_buckets, oov_buckets)
    _overwrite(table, new_rows, earlier.rows()[old_rows])
    keras = optimizer.of_table[earlier.name]
    moved_slots = []
    for slot in sorted(keras.get_slot_names()):
        if (values := earlier.slot(slot)) is not None:
            _overwrite(keras.get_slot(table, slot), new_rows, values[old_rows])
            moved_slots.append(slot)
    kept = int(np.count_nonzero(new_rows < len(tokens)))
    return TableReport(
        table=earlier.name,
        kept=kept,
        new=len(tokens) - kept,
        dropped=len(earlier.tokens) - kept,
        oov_rows=len(new_rows) - kept,
        slots=tuple(moved_slots),
    )


def _overwrite(variable: tf.Variable, rows: np.ndarray, values: np.ndarray) -> None:
    content = variable.numpy()
    content[rows] = values
    variable.assign(content)


def _all_new(name: str, vocabularies: Vocabularies) -> TableReport:
    return TableReport(name, 0, len(vocabularies.tokens(name)), 0, 0, ())


def _restore_dense(model: tf.keras.Model, checkpoint: str) -> None:
    """Takes over everything but the tables."""
    parts = {
        name: part
        for name, part in vars(model).items()
        if isinstance(part, tf.keras.layers.Layer) and part is not model.embedding
    }
    try:
        status = tf.train.Checkpoint(model=tf.train.Checkpoint(**parts)).read(checkpoint)
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError) as error:
        raise ModelError(
            "training.warm_start.checkpoint does not fit the dense part of the model, which must have the layers and "
            f"inputs that it had ({str(error).splitlines()[0]})"
        ) from error
