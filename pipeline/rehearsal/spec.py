"""What a compiled pipeline asks for, or which of it cannot be rehearsed."""

import graphlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.rehearsal import conditions, queries
from pipeline.rehearsal.placeholders import unknown_placeholders
from trainer_module.errors import ConfigError

Job: TypeAlias = Mapping[str, Any]
"""A `ml_pipelines.PipelineJob` as JSON."""

Value: TypeAlias = pb.Value | struct_pb2.Value
"""Of a parameter: the first kind up to schema version 2.0, the second after."""

EXECUTOR_CLASS = "--executor_class_path"

_PARTS = ("pipelineSpec", "runtimeConfig")
_SCHEMA_VERSIONS = ("2.0.0", "2.1.0")

_SUCCEEDED = pb.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_SUCCEEDED

# What a rehearsal knows to do something about, by message.
_KNOWN_FIELDS: dict[str, set[str]] = {
    "PipelineSpec": {"pipeline_info", "deployment_spec", "sdk_version", "schema_version", "components", "root"},
    "DagSpec": {"tasks"},
    "PipelineTaskSpec": {
        "task_info",
        "inputs",
        "dependent_tasks",
        "caching_options",
        "component_ref",
        "trigger_policy",
    },
    "ComponentSpec": {"input_definitions", "output_definitions", "executor_label"},
    "InputArtifactSpec": {"task_output_artifact"},
    "InputParameterSpec": {"task_output_parameter", "runtime_value", "component_input_parameter"},
    "ExecutorSpec": {"container", "importer", "resolver"},
    "PipelineContainerSpec": {"image", "command", "args", "lifecycle", "resources", "env"},
    "ResolverSpec": {"output_artifact_queries"},
    "ImporterSpec": {"artifact_uri", "type_schema", "metadata", "reimport"},
}

# Executors that drive Google's services, but for the one whose job has a command of its own.
_REMOTE_EXECUTORS = "tfx.extensions.google_cloud"
CUSTOM_JOB_EXECUTORS = "tfx.extensions.google_cloud_ai_platform.trainer.executor."


@dataclass(frozen=True)
class Task:
    """A node of the pipeline.

    Attributes:
        name: Unique in the pipeline.
        spec: Where its inputs come from.
        component: What its inputs and outputs are.
        executor: What it does.
    """

    name: str
    spec: pb.PipelineTaskSpec
    component: pb.ComponentSpec
    executor: pb.PipelineDeploymentConfig.ExecutorSpec

    @property
    def executor_class(self) -> str:
        """Of a TFX component; empty for any other task."""
        args = list(self.executor.container.args)
        return args[args.index(EXECUTOR_CLASS) + 1] if EXECUTOR_CLASS in args[:-1] else ""


@dataclass(frozen=True)
class Plan:
    """A pipeline that can be rehearsed.

    Attributes:
        pipeline_name: Runs of one name find each other's artifacts.
        pipeline_root: Below it lie the artifacts.
        tasks: Each after those that it needs.
        parameters: Values of the runtime parameters.
    """

    pipeline_name: str
    pipeline_root: str
    tasks: tuple[Task, ...]
    parameters: Mapping[str, Value]


def read_job(file: Path) -> dict[str, Any]:
    """Reads what `pipeline compile` wrote.

    Raises:
        ConfigError: The file cannot be read or is not JSON of a job.
    """
    try:
        job = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"--spec {file}: cannot be read as JSON ({error})") from None
    if (
        not isinstance(job, dict)
        or not all(isinstance(job.get(part), dict) for part in _PARTS)
        or ("root" not in job["pipelineSpec"])
    ):
        raise ConfigError(
            f"--spec {file}: expected a pipeline job with {' and '.join(_PARTS)}, as "
            "`recspan pipeline compile -o pipeline.json` writes it"
        )
    return job


def with_parameters(job: Job, values: Mapping[str, int | float | str]) -> dict[str, Any]:
    """The job with other values of runtime parameters."""
    config = job["runtimeConfig"]
    if job["pipelineSpec"].get("schemaVersion") == "2.0.0":
        given = {key: json_format.MessageToDict(_legacy_value(value)) for key, value in values.items()}
        config = config | {"parameters": config.get("parameters", {}) | given}
    else:
        config = config | {"parameterValues": config.get("parameterValues", {}) | values}
    return dict(job) | {"runtimeConfig": config}


def parse_plan(job: Job) -> Plan:
    """Reads a job; nothing has been run when this refuses it.

    Raises:
        ConfigError: It is no job, or holds what cannot be rehearsed; names all of it.
    """
    try:
        config = json_format.ParseDict(job["runtimeConfig"], pb.PipelineJob.RuntimeConfig())
        spec = json_format.ParseDict(job["pipelineSpec"], pb.PipelineSpec())
        deployment = json_format.ParseDict(
            json_format.MessageToDict(spec.deployment_spec), pb.PipelineDeploymentConfig()
        )
    except json_format.ParseError as error:
        raise ConfigError(f"the compiled pipeline is no ml_pipelines.PipelineJob: {error}") from None
    if spec.schema_version not in _SCHEMA_VERSIONS:
        raise ConfigError(
            f"the compiled pipeline has schema version {spec.schema_version!r}; rehearsed are "
            f"{' and '.join(_SCHEMA_VERSIONS)}, those that TFX writes"
        )
    parameters: dict[str, Value] = {
        name: definition.default_value
        for name, definition in spec.root.input_definitions.parameters.items()
        if definition.HasField("default_value")
    }
    parameters |= dict(config.parameters) | dict(config.parameter_values)
    problems = list(_problems(spec, deployment, parameters))
    if problems:
        raise ConfigError(
            "the compiled pipeline holds what cannot be rehearsed; nothing was run:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    tasks = {name: _task(name, spec, deployment) for name in spec.root.dag.tasks}
    return Plan(
        pipeline_name=spec.pipeline_info.name,
        pipeline_root=config.gcs_output_directory,
        tasks=tuple(tasks[name] for name in _order(tasks)),
        parameters=parameters,
    )


def producers(spec: pb.PipelineTaskSpec) -> set[str]:
    """Names of the tasks that must have succeeded before."""
    artifacts = {given.task_output_artifact.producer_task for given in spec.inputs.artifacts.values()}
    parameters = {given.task_output_parameter.producer_task for given in spec.inputs.parameters.values()}
    return (artifacts | parameters | set(spec.dependent_tasks)) - {""}


def _task(name: str, spec: pb.PipelineSpec, deployment: pb.PipelineDeploymentConfig) -> Task:
    task = spec.root.dag.tasks[name]
    component = spec.components[task.component_ref.name]
    return Task(name, task, component, deployment.executors[component.executor_label])


def _order(tasks: Mapping[str, Task]) -> Sequence[str]:
    """A topological order, the same for the same pipeline."""
    graph = graphlib.TopologicalSorter({name: producers(task.spec) for name, task in tasks.items()})
    graph.prepare()
    ordered: list[str] = []
    while graph.is_active():
        ready = sorted(graph.get_ready())
        ordered += ready
        graph.done(*ready)
    return ordered


def _problems(
    spec: pb.PipelineSpec, deployment: pb.PipelineDeploymentConfig, parameters: Mapping[str, Value]
) -> Iterator[str]:
    """One line for each thing that a rehearsal would not know what to do with."""
    tasks = spec.root.dag.tasks
    yield from _unknown_fields("the pipeline", spec)
    yield from _unknown_fields("the pipeline", spec.root.dag)
    for name, definition in spec.root.input_definitions.parameters.items():
        if name not in parameters and not definition.is_optional:
            yield f"runtime parameter {name} has no value: give one, as in --parameter {name}=..."
    graph: dict[str, set[str]] = {}
    for name in sorted(tasks):
        task = tasks[name]
        yield from _unknown_fields(f"task {name}", task)
        yield from _input_problems(name, task, spec)
        policy = task.trigger_policy
        if policy.strategy not in (0, _SUCCEEDED):
            yield f"task {name}: exit handler (trigger_policy.strategy {policy.TriggerStrategy.Name(policy.strategy)})"
        if policy.condition and (message := conditions.problem(policy.condition)):
            yield f"task {name}: condition {policy.condition!r}: {message}"
        graph[name] = producers(task) & set(tasks)
        if task.component_ref.name not in spec.components:
            yield f"task {name}: no component {task.component_ref.name!r} is defined"
            continue
        component = spec.components[task.component_ref.name]
        if component.WhichOneof("implementation") == "dag":
            yield f"task {name}: sub-DAG (component {task.component_ref.name})"
            continue
        yield from _unknown_fields(f"component {task.component_ref.name}", component)
        if component.executor_label not in deployment.executors:
            yield f"task {name}: no executor {component.executor_label!r} is defined"
            continue
        yield from _executor_problems(_task(name, spec, deployment))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"tasks wait for each other: {' -> '.join(error.args[1])}"


def _input_problems(name: str, task: pb.PipelineTaskSpec, spec: pb.PipelineSpec) -> Iterator[str]:
    for key, artifact in sorted(task.inputs.artifacts.items()):
        yield from _unknown_fields(f"task {name}, input {key}", artifact)
    for key, parameter in sorted(task.inputs.parameters.items()):
        yield from _unknown_fields(f"task {name}, parameter {key}", parameter)
        if parameter.HasField("runtime_value"):
            asked = parameter.runtime_value.runtime_parameter
        else:
            asked = parameter.component_input_parameter
        if asked and asked not in spec.root.input_definitions.parameters:
            yield f"task {name}, parameter {key}: the pipeline has no runtime parameter {asked}"
    for producer in sorted(producers(task) - set(spec.root.dag.tasks)):
        yield f"task {name}: needs task {producer}, which the pipeline does not have"


def _executor_problems(task: Task) -> Iterator[str]:
    executor, kind = task.executor, task.executor.WhichOneof("spec")
    if kind not in _KNOWN_FIELDS["ExecutorSpec"]:
        yield f"task {task.name}: executor of kind {kind}"
        return
    yield from _unknown_fields(f"task {task.name}", getattr(executor, kind))
    if kind == "container":
        yield from _container_problems(task)
    elif kind == "importer" and len(task.component.output_definitions.artifacts) != 1:
        yield f"task {task.name}: an importer with {len(task.component.output_definitions.artifacts)} outputs"
    elif kind == "resolver":
        for key, query in sorted(executor.resolver.output_artifact_queries.items()):
            if message := queries.problem(query.filter):
                yield f"task {task.name}, output {key}: {message}"


def _container_problems(task: Task) -> Iterator[str]:
    container = task.executor.container
    executions = [[*container.command, *container.args]]
    if container.HasField("lifecycle"):
        before = container.lifecycle.pre_cache_check
        executions.append([*before.command, *before.args])
    for command in executions:
        if command[:2] != ["python", "-m"]:
            program = " ".join(command[:2]) or "its entry point"
            yield (
                f"task {task.name}: its image {container.image} would run {program}; expected python -m MODULE, as of "
                "TFX's components: no other image's programs are on this machine"
            )
        for placeholder in unknown_placeholders(command):
            yield f"task {task.name}: placeholder {placeholder}"
    name = task.executor_class
    if name.startswith(_REMOTE_EXECUTORS) and not name.startswith(CUSTOM_JOB_EXECUTORS):
        yield f"task {task.name}: {name} drives a service of Google's"


def _unknown_fields(where: str, message: Message) -> Iterator[str]:
    known = _KNOWN_FIELDS[message.DESCRIPTOR.name]
    for field, _ in message.ListFields():
        if field.name not in known:
            yield f"{where}: {field.name}"


def _legacy_value(value: int | float | str) -> pb.Value:
    if isinstance(value, int):
        return pb.Value(int_value=value)
    return pb.Value(double_value=value) if isinstance(value, float) else pb.Value(string_value=value)
