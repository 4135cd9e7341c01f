"""Run names and runtime parameters of compiled jobs."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from trainer_module.errors import ConfigError

Job: TypeAlias = dict[str, Any]
"""An `ml_pipelines.PipelineJob` as JSON."""

TRAIN_ARGS = "train_args"
"""Runtime parameter: the Trainer's `TrainArgs` as JSON. `num_steps` overrides `training.steps` unless it is 0."""

DEFAULT_TRAIN_ARGS = '{"splits": ["train"]}'

TRAIN_STEPS = "train_steps"
"""Short for `train_args`: the number of steps alone."""

# By name in the schema of compiled pipelines. The product's pipelines have no parameters of type DOUBLE.
_TYPES = {"INT": int, "STRING": str}


def parse_parameters(job: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, int | str]:
    """Parses values of a job's runtime parameters.

    Args:
        job: Compiled job, which declares the parameters and their types.
        assignments: Texts `key=value`. `train_steps=N` means the `train_args` with that number of steps.

    Raises:
        ConfigError: A text has no `=`, the job has no such parameter (the message lists the known ones), or the value
            has the wrong type.
    """
    known = job["pipelineSpec"]["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            raise ConfigError(f"--parameter {assignment}: expected key=value, as in --parameter {TRAIN_STEPS}=5000")
        if key == TRAIN_STEPS:
            key, text = TRAIN_ARGS, json.dumps({"splits": ["train"], "num_steps": _steps(assignment, text)})
        if key not in known:
            raise ConfigError(
                f"--parameter {assignment}: the pipeline has no parameter {key}. Known: "
                f"{', '.join([TRAIN_STEPS, *sorted(known)])}"
            )
        if key in values:
            raise ConfigError(f"--parameter {assignment}: {key} is given twice")
        values[key] = _typed(assignment, text, known[key].get("type", "of another schema version"))
    return values


def with_parameters(job: Job, values: Mapping[str, int | str]) -> Job:
    """Returns a copy of the job with other values of its runtime parameters."""
    given = {key: _value(value) for key, value in values.items()}
    config = job["runtimeConfig"]
    return job | {"runtimeConfig": config | {"parameters": config.get("parameters", {}) | given}}


def new_run_name(pipeline_name: str, now: datetime | None = None) -> str:
    """Returns the pipeline's name followed by the time in UTC, to the second."""
    return f"{pipeline_name}-{now or datetime.now(UTC):%Y%m%d%H%M%S}"


def _typed(assignment: str, text: str, kind: str) -> int | str:
    if kind not in _TYPES:
        raise ConfigError(f"--parameter {assignment}: its type is {kind}; expected {' or '.join(_TYPES)}")
    try:
        return _TYPES[kind](text)
    except ValueError:
        raise ConfigError(f"--parameter {assignment}: {text!r} is not an {kind}") from None


def _steps(assignment: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"--parameter {assignment}: expected a number of steps above 0, as in {TRAIN_STEPS}=5000")
    return int(text)


def _value(value: int | str) -> dict[str, str]:
    """Returns a pipeline's `Value` as JSON, in which 64-bit integers are strings."""
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
