"""The search space of experiments that bring none: around the values of the experiment itself."""

from collections.abc import Mapping
from typing import Any

from pipeline.tuning.space import Parameter, Range, SearchSpace, Start
from trainer_module.optimizers.config import RateFunction, WarmupDecay

# Rates and weights of penalties are searched over this factor, down and up.
_FACTOR = 10.0
_MOST_DROPOUT = 0.7

# What only some models have, beside what follows from the experiment's values.
_OF_MODEL: Mapping[str, Mapping[str, Parameter]] = {
    "dcn": {"model.crosses": Range(low=1, high=4, whole=True)},
}
_OF_ENCODER: Mapping[str, Mapping[str, Parameter]] = {
    "transformer": {
        "model.query_encoder.layers": Range(low=1, high=3, whole=True),
        "model.query_encoder.dropout": Range(low=0.0, high=_MOST_DROPOUT),
    },
}
_PENALTIES = ("embedding_l2", "table_l2")


def default_space(start: Start) -> SearchSpace:
    """Learning rates, width of the tables, dropout, penalties, widths of hidden layers, and what the model adds.

    Penalties that the experiment leaves at 0, and rates that a function computes, are not tuned.
    """
    config = start.config
    model: Mapping[str, Any] = config.model.model_dump()
    parameters: dict[str, Parameter] = {}
    for name in ("embedding_optimizer", "dense_optimizer"):
        parameters |= _rates(f"training.{name}.learning_rate", getattr(config.training, name).learning_rate)
    if not any(table.dim for table in config.embeddings.tables.values()):
        dim = config.embeddings.dim
        # `model.biases: fitted` and wide & deep need two numbers at least.
        parameters["embeddings.dim"] = tuple(sorted({max(2, dim // 2), dim, 2 * dim}))
    parameters["model.dropout"] = Range(low=0.0, high=_MOST_DROPOUT)
    for name in _PENALTIES:
        if weight := model.get(name):
            parameters[f"model.{name}"] = Range(low=weight / _FACTOR, high=weight * _FACTOR, log=True)
    for name, widths in model.items():
        if isinstance(widths, tuple) and widths and all(isinstance(width, int) for width in widths):
            narrow, wide = [max(1, width // 2) for width in widths], [2 * width for width in widths]
            parameters[f"model.{name}"] = (narrow, wide) if narrow == list(widths) else (narrow, list(widths), wide)
    parameters |= _OF_MODEL.get(config.model.type, {})
    parameters |= _OF_ENCODER.get(model.get("query_encoder", {}).get("type"), {})
    return SearchSpace(parameters=parameters)


def _rates(key: str, rate: float | WarmupDecay | RateFunction) -> dict[str, Parameter]:
    if isinstance(rate, RateFunction):
        return {}
    if isinstance(rate, WarmupDecay):
        return {f"{key}.peak": Range(low=max(rate.peak / _FACTOR, rate.floor), high=rate.peak * _FACTOR, log=True)}
    return {key: Range(low=rate / _FACTOR, high=rate * _FACTOR, log=True)}
