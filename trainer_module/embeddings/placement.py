"""Where embedding tables live: sharded over the cores of a TPU, or copied to every replica.

The layers that hold them are TensorFlow Recommenders'; this module decides which table goes where, and makes what runs
on the replicas fit a TPU program.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from trainer_module.embeddings.config import REPLICATED_ROWS, Placement, is_replicated
from trainer_module.errors import ModelError
from trainer_module.optimizers.tpu import tpu_optimizer
from trainer_module.private_members import KerasOptimizer, OpenTPUEmbedding, strings_stay_on_host, track, untracked

FeatureConfig: TypeAlias = tf.tpu.experimental.embedding.FeatureConfig
TableConfig: TypeAlias = tf.tpu.experimental.embedding.TableConfig
SparseCoreEmbeddingConfig: TypeAlias = tf.tpu.experimental.embedding.SparseCoreEmbeddingConfig
Ids = tf.Tensor | tf.SparseTensor | tf.RaggedTensor

_NO_ENGINE = tf.tpu.experimental.HardwareFeature.EmbeddingFeature.UNSUPPORTED
_SPARSE_CORES = tf.tpu.experimental.HardwareFeature.EmbeddingFeature.V2


class PlacedEmbedding(tf.keras.layers.Layer):
    """Looks up all features of a model at once, wherever their tables live; to be called once per step.

    Off TPUs every table is an ordinary variable and placement changes nothing. Under a `TPUStrategy` the sharded tables
    live in the TPU's embedding engine, which updates them while the gradient is computed, and the replicated ones are
    variables of every replica, which the caller's optimizer updates like dense weights (`trainable_tables`). Their
    gradients are dense there: what an optimizer does to rows without a gradient, such as letting momentum run on, it
    does to all. TPUs without an engine hold no shards: every table is replicated.

    Checkpoints: a table is saved as `_tpu_embedding/<table name>` below this layer, whatever the placement, which is
    also where TensorFlow Recommenders' own `TPUEmbedding` keeps it, and slots belong to the Keras optimizer. Off TPUs
    checkpoints of all placements restore into each other; a copy for serving, without an optimizer, restores from all
    of them. On a TPU with an embedding engine, restore what the same placement wrote there.
    """

    def __init__(
        self,
        feature_config: Mapping[str, FeatureConfig],
        placement: Placement = "tpu_embedding",
        size_threshold: int = REPLICATED_ROWS,
        pipelining: bool = False,
        bag_widths: Mapping[str, int] | None = None,
        sparse_core: SparseCoreEmbeddingConfig | None = None,
    ):
        """Sorts the tables by placement; variables are made in the first call.

        Args:
            feature_config: By feature. Features of one table hold the very same `TableConfig`, whose `optimizer` is
                a Keras 2 optimizer that `tpu_optimizer` knows, or None where nothing is trained.
            placement: See `is_replicated`.
            size_threshold: See `is_replicated`.
            pipelining: On TPUs, look the sharded tables up for step n + 1 while the dense part of step n runs.
            bag_widths: Largest number of ids per example, by feature. Only bags that are looked up in a replicated
                table on a TPU need it, since a TPU program has fixed shapes, and only if the ids come without a static
                width. An example with more ids stops the program.
            sparse_core: Buffers of SparseCores; None takes TensorFlow's.
        """
        super().__init__()
        self._features = tuple(feature_config)
        if _engine_of_strategy() == _NO_ENGINE:
            placement = "replicated"
        replicated = {
            name: feature
            for name, feature in feature_config.items()
            if is_replicated(feature.table.vocabulary_size, placement, size_threshold)
        }
        sharded = {name: feature for name, feature in feature_config.items() if name not in replicated}
        # Checkpoints see one object that holds the tables, as they would without placement. It is a half's own, since
        # the engine hangs its callbacks there.
        self._sharded = untracked(self, _Tables(sharded, pipelining, sparse_core) if sharded else None)
        self._replicated = untracked(
            self, _ReplicatedTables(replicated, dict(bag_widths or {})) if replicated else None
        )
        self._tpu_embedding = self._halves[0].mid_level

    @property
    def embedding_tables(self) -> dict[TableConfig | str, tf.Variable]:
        """All tables, by the `TableConfig` that the caller gave.

        On SparseCores the sharded ones are stacked, and keyed by the names of the stacks.

        Raises:
            RuntimeError: Some are in the engine of older TPUs, beside which the variables are stale.
        """
        return {table: variable for half in self._halves for table, variable in half.embedding_tables.items()}

    @property
    def trainable_tables(self) -> dict[str, tf.Variable]:
        """By name, the tables that are ordinary trainable variables on this strategy."""
        return {
            table.name: variable
            for half in self._halves
            if not half.in_engine
            for table, variable in half.embedding_tables.items()
        }

    def build(self, input_shape: Mapping[str, tf.TensorShape]) -> None:
        """Makes the variables.

        Args:
            input_shape: Of the ids, by feature.
        """
        super().build(input_shape)
        for half in self._halves:
            # A call for serving may bring some of the features; only a TPU's engine looks at the shapes.
            half.build({name: input_shape[name] for name in half.features if name in input_shape})
        for half in self._halves[1:]:
            for table, variable in half.embedding_tables.items():
                track(self._tpu_embedding, variable, table.name)

    def call(
        self,
        features: Mapping[str, Ids],
        weights: Mapping[str, Ids | None] | None = None,
        serving_config: Mapping[str, FeatureConfig] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Looks up and combines rows.

        Args:
            features: Ids by feature: dense, or sparse or ragged `[batch, values]`.
            weights: Like `features` where ids are sparse or ragged; None means 1, for one feature or all.
            serving_config: Look up on the CPU, by these features, in this layer's tables; any subset will do.

        Returns:
            By feature, `[batch, dim]` for bags, `[batch, max_sequence_length, dim]` for sequences, and for dense ids
            their shape and `dim`; on TPUs, where a feature names an `output_shape`, that and `dim`.

        Raises:
            ModelError: The features or tables are not those of the layer, or a bag of unknown width meets a replicated
                table on a TPU.
        """
        if serving_config is not None:
            self._check_tables(serving_config)
            # TensorFlow 2.20, which TPU workers run, takes no configuration but of the features given.
            of_features = {name: serving_config[name] for name in features}
            return tf.tpu.experimental.embedding.serving_embedding_lookup(
                features, weights, self.embedding_tables, of_features
            )
        self._check_names("features", features)
        if weights is not None:
            self._check_names("weights", weights)
        all_weights = dict.fromkeys(features) if weights is None else weights
        activations = {}
        for half in self._halves:
            ids, of_ids = ({name: given[name] for name in half.features} for given in (features, all_weights))
            activations |= half.look_up(ids, of_ids)
        return {name: activations[name] for name in features}

    @property
    def _halves(self) -> list["_Tables"]:
        return [half for half in (self._sharded, self._replicated) if half is not None]

    def _check_tables(self, serving_config: Mapping[str, FeatureConfig]) -> None:
        tables = self.embedding_tables
        if strange := sorted({str(f.table.name) for f in serving_config.values() if f.table not in tables}):
            raise ModelError(f"serving_config must name TableConfig objects of this layer; {strange} are others")

    def _check_names(self, what: str, given: Iterable[str]) -> None:
        if set(given) != set(self._features):
            raise ModelError(
                f"the embedding layer looks all its features up in one call: its {what} must be "
                f"{sorted(self._features)}, got {sorted(given)}"
            )


def _engine_of_strategy() -> Any | None:
    """Which embedding engine the TPUs of the current strategy have; None off TPUs."""
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.TPUStrategy):
        return None
    return strategy.extended.tpu_hardware_feature.embedding_feature


class _Tables(OpenTPUEmbedding):
    """TensorFlow Recommenders' layer with one more optimizer.

    The layer takes only the optimizers that it translates itself. This one gives it tables without any and sets
    the translated ones just before the tables are laid out. Tables of one Keras optimizer get one and the same
    translation: only then are they stacked on a SparseCore and do they share the input for the learning rate elsewhere.
    """

    def __init__(
        self,
        feature_config: Mapping[str, FeatureConfig],
        pipelining: bool = False,
        sparse_core: SparseCoreEmbeddingConfig | None = None,
        embedding_feature: tf.tpu.experimental.HardwareFeature.EmbeddingFeature | None = None,
    ):
        bare = {feature.table: _without_optimizer(feature.table) for feature in feature_config.values()}
        self._callers_tables = [(table, caller) for caller, table in bare.items()]
        super().__init__(
            {name: _with_table(feature, bare[feature.table]) for name, feature in feature_config.items()},
            optimizer=None,
            pipeline_execution_with_tensor_core=pipelining,
            embedding_feature=embedding_feature,
            sparse_core_embedding_config=sparse_core,
        )
        self.features = tuple(feature_config)
        self._sequences = {
            name: feature.max_sequence_length for name, feature in feature_config.items() if feature.max_sequence_length
        }

    @property
    def in_engine(self) -> bool:
        """Whether the tables live in a TPU's embedding engine."""
        return self.embedding_feature not in (None, _NO_ENGINE)

    def build(self, input_shape: Mapping[str, tf.TensorShape]) -> None:
        with tf.variable_creator_scope(strings_stay_on_host):
            super().build(input_shape)

    def look_up(self, ids: Mapping[str, Ids], weights: Mapping[str, Ids | None]) -> dict[str, tf.Tensor]:
        """Activations by feature; ids and weights as in `PlacedEmbedding.call`."""
        if self.embedding_feature == _SPARSE_CORES:
            ids = dict(ids) | {
                name: tf.compat.v1.tpu.outside_compilation(steps_as_samples, ids[name], length)
                for name, length in self._sequences.items()
            }
        return self(ids, weights)

    def before_layout(self, tables: list[tuple[TableConfig, TableConfig]]) -> list[tuple[TableConfig, TableConfig]]:
        """Puts the caller's tables in the place of the bare ones, and gives each its translated optimizer."""
        callers = dict(self._callers_tables)
        pairs = [(callers[bare], table) for bare, table in tables]
        translated: dict[KerasOptimizer, Any] = {}
        for caller, table in pairs:
            if caller.optimizer is not None:
                if caller.optimizer not in translated:
                    translated[caller.optimizer] = tpu_optimizer(caller.optimizer)
                table.optimizer = translated[caller.optimizer]
        return pairs


class _ReplicatedTables(_Tables):
    """Tables that every replica holds whole.

    Off TPUs that is TensorFlow's ordinary lookup. On TPUs it is `TPUEmbeddingV0`, which needs help: of its own it
    makes programs of unknown shape from bags, fills ragged sequences up with row 0 instead of zeros, and combines a
    sequence whose `output_shape` is named. So ids reach it as sparse tensors of static shape, cut and cleaned on the
    host, and activations get their shape after it.
    """

    def __init__(self, feature_config: Mapping[str, FeatureConfig], bag_widths: Mapping[str, int]):
        self._bag_widths = bag_widths
        self._on_tpu = _engine_of_strategy() is not None
        self._given = tuple(feature_config.items())
        if self._on_tpu:
            feature_config = {name: _without_output_shape(feature) for name, feature in feature_config.items()}
        super().__init__(feature_config, embedding_feature=_NO_ENGINE)

    def look_up(self, ids: Mapping[str, Ids], weights: Mapping[str, Ids | None]) -> dict[str, tf.Tensor]:
        if not self._on_tpu:
            return super().look_up(ids, weights)
        fixed = {
            name: _with_static_shape(name, feature, ids[name], weights[name], self._bag_widths.get(name))
            for name, feature in self._given
        }
        fixed_ids, fixed_weights = ({name: pair[part] for name, pair in fixed.items()} for part in (0, 1))
        activations = super().look_up(fixed_ids, fixed_weights)
        return {name: _shaped(activations[name], feature) for name, feature in self._given}


def steps_as_samples(ids: tf.SparseTensor | tf.RaggedTensor, length: int) -> tf.SparseTensor:
    """Each step of sequences as a bag of its own, for SparseCores.

    TensorFlow's layer for them gives a sequence as many outputs as it has steps, but takes only the first index of an
    id, so that it would add the rows of all steps up.

    Args:
        ids: `[batch, steps]`; longer sequences are cut.
        length: Steps of a sequence in the output.

    Returns:
        `[batch * length, 1]`.
    """
    sequences = ids.to_sparse() if isinstance(ids, tf.RaggedTensor) else ids
    batch_size = sequences.dense_shape[0]
    cut = tf.sparse.slice(sequences, [0, 0], tf.stack([batch_size, np.int64(length)]))
    row, step = tf.unstack(cut.indices, axis=1)
    indices = tf.stack([row * length + step, tf.zeros_like(row)], axis=1)
    return tf.SparseTensor(indices, cut.values, tf.stack([batch_size * length, np.int64(1)]))


def _with_static_shape(
    name: str, feature: FeatureConfig, ids: Ids, weights: Ids | None, bag_width: int | None
) -> tuple[Ids, Ids | None]:
    """Dense ids as they are; others, and their weights, as sparse tensors of static shape `[batch, width]`."""
    if isinstance(ids, tf.Tensor):
        return ids, weights
    batch_size = feature.output_shape[0] if feature.output_shape.rank else ids.shape[0]
    width = feature.max_sequence_length or bag_width or (ids.shape[1] if isinstance(ids, tf.SparseTensor) else None)
    if batch_size is None or width is None:
        raise ModelError(
            f"feature {name} is looked up in table {feature.table.name}, a copy of which is on every replica; a TPU's "
            f"program needs fixed shapes, but the shape of the ids is {[batch_size, width]}. Drop the remainder of "
            "batches; for the width give bag_widths or max_sequence_length, or lower size_threshold to shard the table"
        )

    def on_host() -> tuple[tf.SparseTensor, tf.SparseTensor | None]:
        return _cut_and_clean(feature, ids, weights, tf.constant([batch_size, width], tf.int64))

    return tf.compat.v1.tpu.outside_compilation(on_host)


def _cut_and_clean(
    feature: FeatureConfig,
    ids: tf.SparseTensor | tf.RaggedTensor,
    weights: tf.SparseTensor | tf.RaggedTensor | None,
    shape: tf.Tensor,
) -> tuple[tf.SparseTensor, tf.SparseTensor | None]:
    """What TensorFlow's lookup on CPUs does to ids and weights before it gathers rows.

    Args:
        feature: How they are combined.
        ids: `[batch, values]`.
        weights: The same.
        shape: int64 `[2]`, what both get; a sequence is cut to it.
    """
    if isinstance(ids, tf.RaggedTensor):
        ids, weights = ids.to_sparse(), None if weights is None else weights.to_sparse()
    elif feature.validate_weights_and_indices and not feature.max_sequence_length:
        valid = ids.values >= 0
        if weights is not None and feature.table.combiner != "sum":
            valid &= weights.values > 0
        ids, weights = tf.sparse.retain(ids, valid), None if weights is None else tf.sparse.retain(weights, valid)
    if feature.max_sequence_length:
        ids = tf.sparse.slice(ids, [0, 0], shape)
    reshaped = tf.SparseTensor(ids.indices, ids.values, shape)
    return reshaped, None if weights is None else tf.SparseTensor(weights.indices, weights.values, shape)


def _shaped(activation: tf.Tensor, feature: FeatureConfig) -> tf.Tensor:
    """In the `output_shape` of the feature, if it names one."""
    if not feature.output_shape.rank:
        return activation
    return tf.reshape(activation, [*feature.output_shape, feature.table.dim])


def _without_output_shape(feature: FeatureConfig) -> FeatureConfig:
    return FeatureConfig(
        table=feature.table,
        max_sequence_length=feature.max_sequence_length,
        validate_weights_and_indices=feature.validate_weights_and_indices,
        name=feature.name,
    )


def _with_table(feature: FeatureConfig, table: TableConfig) -> FeatureConfig:
    return FeatureConfig(
        table=table,
        max_sequence_length=feature.max_sequence_length,
        validate_weights_and_indices=feature.validate_weights_and_indices,
        output_shape=feature.output_shape,
        name=feature.name,
    )


def _without_optimizer(table: TableConfig) -> TableConfig:
    return TableConfig(
        vocabulary_size=table.vocabulary_size,
        dim=table.dim,
        initializer=table.initializer,
        combiner=table.combiner,
        name=table.name,
        quantization_config=table.quantization_config,
    )
