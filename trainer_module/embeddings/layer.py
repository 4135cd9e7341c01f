"""Embedding tables: from the feature spec to the layer that looks its columns up."""

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.initializers import Constant, Initializer, TruncatedNormal, Uniform
from trainer_module.embeddings.placement import PlacedEmbedding
from trainer_module.models.layers import fold_in
from trainer_module.private_members import KerasOptimizer

FeatureConfig = tf.tpu.experimental.embedding.FeatureConfig
FeatureConfigs = dict[str, FeatureConfig]
Features = Mapping[str, tf.Tensor | tf.SparseTensor | tf.RaggedTensor]


def feature_configs(
    spec: FeatureSpec,
    rows: Mapping[str, int],
    config: EmbeddingsConfig,
    optimizers: Mapping[str, KerasOptimizer] | None = None,
    replica_batch_size: int | None = None,
    seed: int = 0,
    initial_biases: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> FeatureConfigs:
    """One `FeatureConfig` per categorical column; columns of one table hold the very same `TableConfig`.

    Args:
        spec: Columns and tables, with the experiment's changes applied.
        rows: Number of rows per table.
        config: Gives the default width and initial values.
        optimizers: Per table; None for serving.
        replica_batch_size: Examples per replica and step on a TPU, whose embedding engine is laid out for one batch
            size; None elsewhere, where any batch is taken.
        seed: Of the initial values.
        initial_biases: By table, where the last number of a row starts, float32 `[tokens]`; rows of no token start at
            0 as a whole.

    Returns:
        Keyed by column name.
    """
    tables = {
        table.name: tf.tpu.experimental.embedding.TableConfig(
            vocabulary_size=rows[table.name],
            dim=table.dim or config.dim,
            initializer=make_initializer(
                table.initializer or config.initializer,
                rows[table.name],
                (seed, zlib.crc32(table.name.encode()) & 0x7FFFFFFF),
                initial_biases.get(table.name),
            ),
            optimizer=optimizers[table.name] if optimizers else None,
            combiner=table.combiner,
            name=table.name,
        )
        for table in spec.tables
    }
    return {
        column.name: FeatureConfig(
            table=tables[column.table],
            max_sequence_length=column.max_sequence_length,
            validate_weights_and_indices=column.validate_weights_and_indices,
            output_shape=replica_batch_size and [replica_batch_size, *_inner_shape(column)],
            name=column.name,
        )
        for column in spec.categorical
    }


def await_values(configs: FeatureConfigs) -> FeatureConfigs:
    """Lets all tables of `configs` start as NaN; returns `configs`.

    A table that is made from a checkpoint's value never asks for an initial one. Only the stacked tables of SparseCore
    are made first and filled later.
    """
    for feature in configs.values():
        feature.table.initializer = _not_a_number
    return configs


def embedding_layer(configs: FeatureConfigs, spec: FeatureSpec, config: EmbeddingsConfig) -> PlacedEmbedding:
    """The layer that looks up all columns at once; it must be called once per step.

    Args:
        configs: Keyed by column name, as the ids will be; their tables name their optimizers.
        spec: Gives the widths of bags.
        config: Gives placement, pipelining and the buffers of SparseCores.
    """
    return PlacedEmbedding(
        configs,
        config.placement,
        config.size_threshold,
        config.pipelining,
        {column.name: column.bag_width for column in spec.categorical if column.bag_width},
        tf.tpu.experimental.embedding.SparseCoreEmbeddingConfig(**config.sparse_core.model_dump()),
    )


def look_up(layer: tf.keras.layers.Layer, spec: FeatureSpec, features: Features) -> dict[str, tf.Tensor]:
    """Calls an embedding layer with the ids and weights among `features`.

    Returns:
        Per categorical column `[batch, dim]`, `[batch, 1, dim]` for dense ids, or `[batch, length, dim]` for sequences.
    """
    ids = {column.name: features[column.name] for column in spec.categorical}
    if not spec.weights:
        return layer(ids)
    return layer(ids, {column.name: column.weights and features[column.weights] for column in spec.categorical})


def make_initializer(
    initializer: Initializer, rows: int, seed: tuple[int, int], biases: np.ndarray | None = None
) -> Callable[..., tf.Tensor]:
    """The TensorFlow initializer for a table of `rows` rows.

    Where `biases` (`[tokens]`) are given, the last number of a row is not drawn: it is the token's bias. The rows
    behind the tokens are 0 as a whole: if every token of the training split has a row of its own, they are never
    trained, and what was drawn for them would add noise to the scores of unknown users and items.

    Its values follow from the seed alone, not from what else was drawn before, so that a table starts the same on every
    strategy that does not shard it. It knows of shards: each draws its own values, rather than all the same.
    """
    limit = initializer.limit if isinstance(initializer, Uniform) else rows**-0.5

    def draw(shape, dtype: tf.DType, shard_seed: tf.Tensor) -> tf.Tensor:
        if isinstance(initializer, TruncatedNormal):
            return tf.random.stateless_truncated_normal(shape, shard_seed, stddev=initializer.stddev, dtype=dtype)
        if isinstance(initializer, Constant):
            return tf.fill(shape, tf.constant(initializer.value, dtype))
        return tf.random.stateless_uniform(shape, shard_seed, -limit, limit, dtype)

    def with_biases(values: tf.Tensor, first_row: int) -> tf.Tensor:
        if biases is None:
            return values
        num_rows = int(values.shape[0])
        of_shard = biases[first_row : first_row + num_rows]
        of_tokens = tf.concat(
            [values[: len(of_shard), :-1], tf.constant(of_shard, values.dtype)[:, tf.newaxis]], axis=1
        )
        return tf.pad(of_tokens, [[0, num_rows - len(of_shard)], [0, 0]])

    def initial_values(shape, dtype: tf.DType = tf.float32, shard_info=None) -> tf.Tensor:
        if shard_info is None:
            return with_biases(draw(shape, dtype, tf.constant(seed)), 0)
        first_row = shard_info.offset[0]
        return with_biases(draw(shard_info.shape, dtype, fold_in(tf.constant(seed), first_row)), first_row)

    return initial_values


def _inner_shape(column: Categorical) -> tuple[int, ...]:
    """Shape of an activation between batch and width."""
    if column.output_shape is not None:
        return column.output_shape
    return (column.max_sequence_length,) if column.max_sequence_length else ()


def _not_a_number(shape, dtype: tf.DType = tf.float32) -> tf.Tensor:
    return tf.fill(shape, tf.constant(np.nan, dtype))
