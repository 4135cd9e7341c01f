"""From a model's configuration to the model."""

from collections.abc import Collection

import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.embeddings.layer import FeatureConfigs
from trainer_module.errors import ConfigError
from trainer_module.models.config import (
    DcnConfig,
    DlrmConfig,
    RankingConfig,
    RatingModelConfig,
    TwoTowerConfig,
)
from trainer_module.models.dcn import dcn_head
from trainer_module.models.dlrm import dlrm_head
from trainer_module.models.layers import FLOAT32, DenseOptions
from trainer_module.models.objectives import Objective
from trainer_module.models.ranking import RankingModel
from trainer_module.models.rating import rating_head
from trainer_module.models.two_tower import Retrieval, TwoTowerModel, build_two_tower
from trainer_module.models.wide_deep import wide_deep_head


def build_model(
    config: RankingConfig | TwoTowerConfig,
    spec: FeatureSpec,
    configs: FeatureConfigs,
    embedding: tf.keras.layers.Layer,
    objective: Objective | Retrieval,
    mean_label: float | None = None,
    dense: DenseOptions = FLOAT32,
    fixed_biases: Collection[str] = (),
) -> RankingModel | TwoTowerModel:
    """Puts the configured model together; see `build_ranking_model` and `build_two_tower`.

    Raises:
        ConfigError: The model does not fit the dataset's task, or its columns.
    """
    if isinstance(config, TwoTowerConfig) and isinstance(objective, Retrieval):
        return build_two_tower(config, spec, configs, embedding, objective, dense)
    if isinstance(config, TwoTowerConfig) or isinstance(objective, Retrieval):
        raise ConfigError(
            f"model.type {config.type} does not fit the dataset: two_tower is for interactions (data.dataset: "
            "movielens-100k-retrieval), all other models are for ratings or clicks"
        )
    return build_ranking_model(config, spec, configs, embedding, objective, mean_label, dense, fixed_biases)


def build_ranking_model(
    config: RankingConfig,
    spec: FeatureSpec,
    configs: FeatureConfigs,
    embedding: tf.keras.layers.Layer,
    objective: Objective,
    mean_label: float | None = None,
    dense: DenseOptions = FLOAT32,
    fixed_biases: Collection[str] = (),
) -> RankingModel:
    """Puts a ranking model together.

    Args:
        config: Which model, its sizes and regularization.
        spec: Gives the columns.
        configs: Features and tables.
        embedding: The layer made from them.
        objective: What the label means.
        mean_label: What is predicted before training; None for a model whose weights come from elsewhere.
        dense: How the dense part computes.
        fixed_biases: Tables whose rows' biases come from the naive baseline; only a rating model has such.

    Raises:
        ConfigError: The model needs tables of one width or numeric columns and the spec has none, or a feature is a
            sequence.
    """
    _check(config, spec, configs)
    score = 0.0 if mean_label is None else objective.initial_score(mean_label)
    widths = [feature.table.dim for feature in configs.values()]
    fixed = [place for place, (_, feature) in enumerate(sorted(configs.items())) if feature.table.name in fixed_biases]
    head = _head(config, widths[0], score, fixed, dense.dtype)
    # Variables are made here, before anything is compiled.
    rows = [tf.zeros([1, feature.table.dim]) for _, feature in sorted(configs.items())]
    head(rows, [tf.zeros([1, 1])] * len(spec.numeric), None)
    table_l2, num_biases = (config.table_l2, config.num_biases) if isinstance(config, RatingModelConfig) else (0.0, 0)
    return RankingModel(embedding, spec, head, objective, config.embedding_l2, table_l2, num_biases, dense.jit_compile)  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)


def _head(config: RankingConfig, dim: int, score: float, fixed: Collection[int], dtype: str) -> tf.keras.layers.Layer:
    if isinstance(config, RatingModelConfig):
        return rating_head(config.mlp, config.dropout, score, config.num_biases, fixed, dtype)
    if isinstance(config, DlrmConfig):
        return dlrm_head(dim, config.bottom, config.top, config.dropout, score, dtype)
    if isinstance(config, DcnConfig):
        return dcn_head(config.crosses, config.rank, config.structure, config.mlp, config.dropout, score, dtype)
    return wide_deep_head(config.mlp, config.dropout, score, dtype)


def _check(config: RankingConfig, spec: FeatureSpec, configs: FeatureConfigs) -> None:
    widths = {feature.table.name: feature.table.dim for feature in configs.values()}
    if config.type in ("rating", "dlrm") and len(set(widths.values())) > 1:
        raise ConfigError(
            f"model.type {config.type} takes dot products of all pairs of rows, so its tables need one width; got "
            f"{widths}. Set embeddings.dim and leave the tables' own dim out."
        )
    if isinstance(config, RatingModelConfig) and config.num_biases and min(widths.values()) < 2:
        raise ConfigError(
            f"model.biases fitted takes the last number of a row as its bias and the others as embedding, so tables "
            f"must be at least 2 wide; got {widths}. Set embeddings.dim to 2 or more, or model.biases to learned"
        )
    if config.type == "wide_deep" and min(widths.values()) < 2:
        raise ConfigError(
            f"model.type wide_deep takes the last number of a row as its linear weight and the others as its "
            f"embedding, so tables must be at least 2 wide; got {widths}"
        )
    if sequences := [column.name for column in spec.categorical if column.max_sequence_length]:
        raise ConfigError(f"model.type {config.type} takes no sequences; set max_sequence_length of {sequences} to 0")
    if config.type == "dlrm" and not spec.numeric:
        raise ConfigError("model.type dlrm reads numeric columns and the feature spec has none; declare one")
