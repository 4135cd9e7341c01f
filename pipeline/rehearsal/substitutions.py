"""What a task's command would start on Google's machines, replaced by what this machine has."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.beam import in_process_args
from pipeline.rehearsal.spec import CUSTOM_JOB_EXECUTORS, EXECUTOR_CLASS, Task
from trainer_module.errors import ConfigError

_IN_PROCESS = in_process_args()

# Options of TFX's entry points, each with a value; the rest of a command is Beam's.
_OWN_OPTIONS = (EXECUTOR_CLASS, "--json_serialized_invocation_args", "--json_serialized_inputs_spec_args")

_CUSTOM_CONFIG = "custom_config"
_STAND_IN = "pipeline.rehearsal.custom_job"


@dataclass(frozen=True)
class Commands:
    """What a container task runs here.

    Attributes:
        driver: Before everything else; empty if there is none.
        executor: The task itself.
        replaced: What was replaced, a line each.
    """

    driver: tuple[str, ...]
    executor: tuple[str, ...]
    replaced: tuple[str, ...]


def commands(task: Task) -> Commands:
    """The commands of a task with an executor of kind `container`.

    Raises:
        ConfigError: It starts a job on Google's machines that has no command of its own.
    """
    container, replaced = task.executor.container, []
    before = container.lifecycle.pre_cache_check
    driver, options = _on_this_machine([*before.command, *before.args])
    executor, more = _on_this_machine([*container.command, *container.args])
    if options or more:
        replaced.append(f"{task.name}: {(options or more)[0]} and its options, by {_IN_PROCESS[0]}")
    if task.executor_class.startswith(CUSTOM_JOB_EXECUTORS):
        python, flag, *rest = executor
        executor = [python, flag, _STAND_IN, *rest]
        replaced.append(f"{task.name}: {_custom_job(task)}, by the job's own command on this machine's CPU")
    if container.HasField("resources"):
        replaced.append(f"{task.name}: a machine with {_resources(container.resources)}, by this one")
    return Commands(tuple(driver), tuple(executor), tuple(replaced))


def images(tasks: Iterable[Task]) -> list[str]:
    """The images that the tasks' containers would have."""
    return sorted({task.executor.container.image for task in tasks if task.executor.HasField("container")})


def _on_this_machine(command: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command with Beam's in-process runner, and the options that this replaces."""
    kept, beam = [], []
    words = iter(command)
    for word in words:
        if word in _OWN_OPTIONS:
            kept += [word, next(words)]
        else:
            (beam if word.startswith("--") else kept).append(word)
    if not any(option.startswith("--runner=") and option != _IN_PROCESS[0] for option in beam):
        return list(command), []
    runner = [option for option in beam if option.startswith("--runner=")]
    return [*kept, *_IN_PROCESS], [*runner, *(option for option in beam if option not in runner)]


def _custom_job(task: Task) -> str:
    """The job in words.

    Raises:
        ConfigError: It is not one of Vertex AI Training.
    """
    value = task.spec.inputs.parameters[_CUSTOM_CONFIG].runtime_value
    config: dict[str, Any] = json.loads(value.constant_value.string_value or value.constant.string_value or "{}")
    if not config.get("ai_platform_enable_vertex"):
        raise ConfigError(
            f"task {task.name}: {task.executor_class} would start a job of AI Platform, Vertex AI's predecessor; set "
            "ai_platform_enable_vertex in its custom_config"
        )
    job = config.get("ai_platform_training_args", {}).get("job_spec", {})
    pools = [
        f"{pool.get('replica_count', 1)} x {pool.get('machine_spec', {}).get('machine_type', 'machine')} "
        f"({pool.get('container_spec', {}).get('image_uri', 'of TFX')})"
        for pool in job.get("worker_pool_specs", [])
    ]
    return f"the custom job on {' and '.join(pools) or 'one machine (of TFX)'}"


def _resources(resources: pb.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec) -> str:
    named = {
        "CPUs": resources.resource_cpu_limit or resources.cpu_limit,
        "memory": resources.resource_memory_limit or resources.memory_limit,
        resources.accelerator.resource_type or resources.accelerator.type: resources.accelerator.resource_count
        or resources.accelerator.count,
    }
    return ", ".join(f"{amount} {name}" for name, amount in named.items() if name and amount) or "other resources"
