"""Replaces the parts of a task's command that would start jobs on Google Cloud."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.beam import in_process_args
from pipeline.rehearsal.executor_input import constant
from pipeline.rehearsal.spec import CUSTOM_JOB_EXECUTORS, EXECUTOR_CLASS, Task
from trainer_module.errors import ConfigError

_IN_PROCESS = in_process_args()

# Options of TFX's entry points, each followed by a value. All other options are Beam's.
_TFX_OPTIONS = (EXECUTOR_CLASS, "--json_serialized_invocation_args", "--json_serialized_inputs_spec_args")

_CUSTOM_CONFIG = "custom_config"
_CUSTOM_JOB_MODULE = "pipeline.rehearsal.custom_job"


@dataclass(frozen=True)
class Commands:
    """Local commands of a container task.

    Attributes:
        driver: Command that runs first; empty if the task has no driver.
        executor: Command of the task itself.
        replaced: One line for each replacement.
    """

    driver: tuple[str, ...]
    executor: tuple[str, ...]
    replaced: tuple[str, ...]


def commands(task: Task) -> Commands:
    """Returns the local commands of a container task.

    Raises:
        ConfigError: The task starts a job of AI Platform, or a custom job without worker pools.
    """
    container, replaced = task.executor.container, []
    lifecycle = container.lifecycle.pre_cache_check
    driver, driver_options = _in_process([*lifecycle.command, *lifecycle.args])
    executor, executor_options = _in_process([*container.command, *container.args])
    if options := driver_options or executor_options:
        replaced.append(f"{task.name}: {options[0]} and its options, by {_IN_PROCESS[0]}")
    if task.executor_class.startswith(CUSTOM_JOB_EXECUTORS):
        python, flag, *rest = executor
        executor = [python, flag, _CUSTOM_JOB_MODULE, *rest]
        replaced.append(f"{task.name}: {_custom_job(task)}, by the job's own command on this machine's CPU")
    return Commands(tuple(driver), tuple(executor), tuple(replaced))


def images(tasks: Iterable[Task]) -> list[str]:
    """Returns the images of the tasks' containers, sorted."""
    return sorted({task.executor.container.image for task in tasks if task.executor.HasField("container")})


def _in_process(command: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the command with Beam's in-process runner, and the Beam options that this replaces."""
    kept, beam = [], []
    words = iter(command)
    for word in words:
        if word in _TFX_OPTIONS:
            kept += [word, next(words)]
        else:
            (beam if word.startswith("--") else kept).append(word)
    if not any(option.startswith("--runner=") and option != _IN_PROCESS[0] for option in beam):
        return list(command), []
    runner = [option for option in beam if option.startswith("--runner=")]
    return [*kept, *_IN_PROCESS], [*runner, *(option for option in beam if option not in runner)]


def _custom_job(task: Task) -> str:
    """Describes the custom job by its worker pools.

    Raises:
        ConfigError: It is a job of AI Platform, or it has no worker pools.
    """
    config: dict[str, Any] = json.loads(constant(task, _CUSTOM_CONFIG).string_value or "{}")
    if not config.get("ai_platform_enable_vertex"):
        raise ConfigError(
            f"task {task.name}: {task.executor_class} would start a job of AI Platform, Vertex AI's predecessor; set "
            "ai_platform_enable_vertex in its custom_config"
        )
    try:
        pools = [
            f"{pool['replica_count']} x {pool['machine_spec']['machine_type']} ({pool['container_spec']['image_uri']})"
            for pool in config["ai_platform_training_args"]["job_spec"]["worker_pool_specs"]
        ]
    except KeyError as error:
        raise ConfigError(
            f"task {task.name}: its custom_config has no {error}; expected "
            "ai_platform_training_args.job_spec.worker_pool_specs with replica_count, machine_spec.machine_type and "
            "container_spec.image_uri"
        ) from None
    return f"the custom job on {' and '.join(pools)}"
