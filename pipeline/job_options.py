"""What a run of a compiled job may be given: its name, and values of its runtime parameters."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from trainer_module.errors import ConfigError

TRAIN_ARGS = "train_args"
"""Runtime parameter: the Trainer's `TrainArgs` as JSON. `num_steps` overrides `training.steps`; 0 leaves it."""

DEFAULT_TRAIN_ARGS = '{"splits": ["train"]}'

TRAIN_STEPS = "train_steps"
"""Short for `train_args`: the number of steps alone."""

# As the two versions of the schema call them.
_TYPES = {
    "INT": int,
    "DOUBLE": float,
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
}


def parse_parameters(job: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Values of a job's runtime parameters from `key=value` texts.

    Args:
        job: Says which there are and of which type.
        assignments: `train_steps=N` is short for the `train_args` with that number of steps.

    Raises:
        ConfigError: A text has no `=`, there is no such parameter (lists those there are) or its value is of another
            type.
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
        values[key] = _typed(assignment, text, known[key].get("type") or known[key]["parameterType"])
    return values


def new_run_name(pipeline_name: str, now: datetime | None = None) -> str:
    """A run's name: the pipeline's, and the time in UTC to the second."""
    return f"{pipeline_name}-{now or datetime.now(UTC):%Y%m%d%H%M%S}"


def _typed(assignment: str, text: str, kind: str) -> int | float | str:
    if kind not in _TYPES:
        raise ConfigError(f"--parameter {assignment}: its type is {kind}, and only text and numbers can be given")
    try:
        return _TYPES[kind](text)
    except ValueError:
        raise ConfigError(f"--parameter {assignment}: {text!r} is no {kind}") from None


def _steps(assignment: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"--parameter {assignment}: expected a number of steps above 0, as in {TRAIN_STEPS}=5000")
    return int(text)
