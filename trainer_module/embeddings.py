"""Embedding tables: from the feature spec to TensorFlow Recommenders' `TPUEmbedding` layer.

The only module that imports TensorFlow Recommenders.
"""

from collections.abc import Mapping

import tensorflow as tf
from tensorflow_recommenders.layers.embedding import TPUEmbedding

from trainer_module.experiment import RatingModelConfig
from trainer_module.features import FeatureSpec

FeatureConfigs = dict[str, tf.tpu.experimental.embedding.FeatureConfig]


def feature_configs(spec: FeatureSpec, rows: Mapping[str, int], config: RatingModelConfig) -> FeatureConfigs:
    """One `FeatureConfig` per categorical column; columns of one table hold the very same `TableConfig`.

    Args:
        spec: Columns and tables.
        rows: Number of rows per table.
        config: Gives the default width and the initial spread.

    Returns:
        Keyed by column name.
    """
    tables = {
        table.name: tf.tpu.experimental.embedding.TableConfig(
            vocabulary_size=rows[table.name],
            dim=table.dim or config.embedding_dim,
            initializer=tf.initializers.TruncatedNormal(stddev=config.init_stddev),
            combiner=table.combiner,
            name=table.name,
        )
        for table in spec.tables
    }
    return {
        column.name: tf.tpu.experimental.embedding.FeatureConfig(table=tables[column.table], name=column.name)
        for column in spec.categorical
    }


def embedding_layer(configs: FeatureConfigs, optimizer: tf.keras.optimizers.legacy.Optimizer | None) -> TPUEmbedding:
    """The layer that looks up all columns at once; it must be called once per step.

    Args:
        configs: Keyed by column name, as the ids will be.
        optimizer: Of the tables; None, for serving, creates no optimizer slots.
    """
    return TPUEmbedding(feature_config=configs, optimizer=optimizer)
