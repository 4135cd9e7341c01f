"""Parses a compiled pipeline and lists the features that a rehearsal does not support.

A rehearsal supports what TFX's compiler writes for the product's own pipelines; a test compiles all kinds of them and
compares the fields. Every other field is refused, so that no part of a pipeline is silently ignored.
"""

import graphlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import json_format
from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.job_options import Job
from pipeline.rehearsal import queries
from pipeline.rehearsal.artifacts import VALUE_TYPES, schema_title
from pipeline.rehearsal.placeholders import unknown_placeholders
from trainer_module.errors import ConfigError

Messages: TypeAlias = tuple[pb.PipelineJob.RuntimeConfig, pb.PipelineSpec, pb.PipelineDeploymentConfig]
"""A parsed job. The deployment is a part of the spec that has a message of its own."""

EXECUTOR_CLASS = "--executor_class_path"

_PARTS = ("pipelineSpec", "runtimeConfig")
_SCHEMA_VERSION = "2.0.0"

# Supported fields by message. Messages that are not listed are supported as a whole.
SUPPORTED_FIELDS: Mapping[str, set[str]] = {
    "RuntimeConfig": {"gcs_output_directory", "parameters"},
    "PipelineSpec": {"pipeline_info", "deployment_spec", "sdk_version", "schema_version", "components", "root"},
    "DagSpec": {"tasks"},
    "PipelineTaskSpec": {"task_info", "inputs", "dependent_tasks", "caching_options", "component_ref"},
    "TaskInputsSpec": {"artifacts", "parameters"},
    "InputArtifactSpec": {"task_output_artifact"},
    "InputParameterSpec": {"runtime_value", "component_input_parameter"},
    "ValueOrRuntimeParameter": {"constant_value"},
    "ComponentSpec": {"input_definitions", "output_definitions", "executor_label"},
    "ComponentInputsSpec": {"artifacts", "parameters"},
    "ComponentOutputsSpec": {"artifacts"},
    "ParameterSpec": {"type"},
    "ArtifactSpec": {"artifact_type"},
    "ArtifactTypeSchema": {"instance_schema"},
    "PipelineDeploymentConfig": {"executors"},
    "ExecutorSpec": {"container", "resolver"},
    "PipelineContainerSpec": {"image", "command", "args", "lifecycle"},
    "ResolverSpec": {"output_artifact_queries"},
    "ArtifactQuerySpec": {"filter"},
}

# The root is the only component that is a DAG.
ROOT_FIELDS = {"input_definitions", "dag"}

# Executors of TFX that call Google's services. Only the Trainer's custom job has a local replacement.
_REMOTE_EXECUTORS = "tfx.extensions.google_cloud"
CUSTOM_JOB_EXECUTORS = "tfx.extensions.google_cloud_ai_platform.trainer.executor."


@dataclass(frozen=True)
class Task:
    """A node of the pipeline.

    Attributes:
        name: Name, unique in the pipeline.
        spec: Sources of the inputs.
        component: Types of the inputs and outputs.
        executor: Container or resolver that produces the outputs.
    """

    name: str
    spec: pb.PipelineTaskSpec
    component: pb.ComponentSpec
    executor: pb.PipelineDeploymentConfig.ExecutorSpec

    @property
    def executor_class(self) -> str:
        """Executor class of a TFX component; empty for any other task."""
        args = list(self.executor.container.args)
        return args[args.index(EXECUTOR_CLASS) + 1] if EXECUTOR_CLASS in args[:-1] else ""


@dataclass(frozen=True)
class Plan:
    """A pipeline that can be rehearsed.

    Attributes:
        pipeline_name: Name of the pipeline; resolvers find the artifacts of all runs of the same name.
        pipeline_root: Directory of the artifacts.
        tasks: Tasks in topological order.
        parameters: Values of the runtime parameters.
    """

    pipeline_name: str
    pipeline_root: str
    tasks: tuple[Task, ...]
    parameters: Mapping[str, pb.Value]


def read_job(file: Path) -> dict[str, Any]:
    """Reads a file that `pipeline compile` wrote.

    Raises:
        ConfigError: The file cannot be read or does not hold the JSON of a job.
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


def parse_plan(job: Job) -> Plan:
    """Parses a job without running anything.

    Raises:
        ConfigError: The JSON is not a job, or the job uses unsupported features; the message lists all of them.
    """
    config, spec, deployment = messages = parse_messages(job)
    if spec.schema_version != _SCHEMA_VERSION:
        raise ConfigError(
            f"the compiled pipeline has schema version {spec.schema_version!r}, and a rehearsal supports only "
            f"{_SCHEMA_VERSION}; compile it with `recspan pipeline compile`"
        )
    problems = [*_unsupported_fields(messages), *_problems(config, spec, deployment)]
    if problems:
        raise ConfigError(
            "the compiled pipeline cannot be rehearsed; nothing was run:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    tasks = {name: _task(name, spec, deployment) for name in spec.root.dag.tasks}
    return Plan(
        pipeline_name=spec.pipeline_info.name,
        pipeline_root=config.gcs_output_directory,
        tasks=tuple(tasks[name] for name in _order(tasks)),
        parameters=dict(config.parameters),
    )


def parse_messages(job: Job) -> Messages:
    """Parses the JSON of a job.

    Raises:
        ConfigError: The JSON is not a job.
    """
    try:
        config = json_format.ParseDict(job["runtimeConfig"], pb.PipelineJob.RuntimeConfig())
        spec = json_format.ParseDict(job["pipelineSpec"], pb.PipelineSpec())
        deployment = json_format.ParseDict(
            json_format.MessageToDict(spec.deployment_spec), pb.PipelineDeploymentConfig()
        )
    except json_format.ParseError as error:
        raise ConfigError(f"the compiled pipeline is not an ml_pipelines.PipelineJob: {error}") from None
    return config, spec, deployment


def set_fields(messages: Messages) -> Iterator[tuple[str, str, str]]:
    """Yields every field that is set in a job: its path in the JSON, the name of its message and its own name."""
    for place, message in zip(("runtimeConfig", "pipelineSpec", "pipelineSpec.deploymentSpec"), messages, strict=True):
        yield from _fields_below(place, message)


def _task(name: str, spec: pb.PipelineSpec, deployment: pb.PipelineDeploymentConfig) -> Task:
    task = spec.root.dag.tasks[name]
    component = spec.components[task.component_ref.name]
    return Task(name, task, component, deployment.executors[component.executor_label])


def _producers(spec: pb.PipelineTaskSpec) -> set[str]:
    """Returns the names of the tasks that must run before this one."""
    artifacts = {source.task_output_artifact.producer_task for source in spec.inputs.artifacts.values()}
    return artifacts | set(spec.dependent_tasks)


def _order(tasks: Mapping[str, Task]) -> Sequence[str]:
    """Returns a topological order that is the same for the same pipeline."""
    graph = graphlib.TopologicalSorter({name: _producers(task.spec) for name, task in tasks.items()})
    graph.prepare()
    ordered: list[str] = []
    while graph.is_active():
        ready = sorted(graph.get_ready())
        ordered += ready
        graph.done(*ready)
    return ordered


def _fields_below(place: str, message: Message) -> Iterator[tuple[str, str, str]]:
    for field, value in message.ListFields():
        inner = f"{place}.{field.json_name}"
        yield inner, message.DESCRIPTOR.name, field.name
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            for key, each in sorted(value.items()):
                if isinstance(each, Message):
                    yield from _fields_below(f"{inner}.{key}", each)
        elif isinstance(value, Message):
            yield from _fields_below(inner, value)


def _unsupported_fields(messages: Messages) -> Iterator[str]:
    """Yields a sentence for each field that a rehearsal would ignore."""
    for place, message, field in set_fields(messages):
        is_root = message == "ComponentSpec" and place.startswith("pipelineSpec.root.")
        supported = ROOT_FIELDS if is_root else SUPPORTED_FIELDS.get(message)
        if supported is not None and field not in supported:
            yield f"{place} is not supported"


def _problems(
    config: pb.PipelineJob.RuntimeConfig, spec: pb.PipelineSpec, deployment: pb.PipelineDeploymentConfig
) -> Iterator[str]:
    """Yields a sentence for each reference or command that a rehearsal cannot follow."""
    tasks = spec.root.dag.tasks
    known_parameters = spec.root.input_definitions.parameters
    for name in known_parameters:
        if name not in config.parameters:
            yield f"runtime parameter {name} has no value; add --parameter {name}=..."
    graph: dict[str, set[str]] = {}
    for name in sorted(tasks):
        task = tasks[name]
        for key, parameter in sorted(task.inputs.parameters.items()):
            wanted = parameter.component_input_parameter
            if wanted and wanted not in known_parameters:
                yield f"task {name}, parameter {key}: the pipeline has no runtime parameter {wanted}"
        for producer in sorted(_producers(task) - set(tasks)):
            yield f"task {name} needs task {producer}, which the pipeline does not have"
        graph[name] = _producers(task) & set(tasks)
        if task.component_ref.name not in spec.components:
            yield f"task {name}: component {task.component_ref.name!r} is not defined"
            continue
        component = spec.components[task.component_ref.name]
        if component.executor_label in deployment.executors:
            yield from _task_problems(_task(name, spec, deployment))
        elif not component.HasField("dag"):
            yield f"task {name}: executor {component.executor_label!r} is not defined"
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"the tasks form a cycle: {' -> '.join(error.args[1])}"


def _task_problems(task: Task) -> Iterator[str]:
    for key, output in sorted(task.component.output_definitions.artifacts.items()):
        if (title := schema_title(output.artifact_type)) in VALUE_TYPES:
            yield f"task {task.name}, output {key}: artifacts of type {title} are not supported"
    match task.executor.WhichOneof("spec"):
        case "container":
            yield from _container_problems(task)
        case "resolver":
            for key, query in sorted(task.executor.resolver.output_artifact_queries.items()):
                if message := queries.problem(query.filter):
                    yield f"task {task.name}, output {key}: {message}"
        case None:
            yield f"task {task.name}: the executor is neither a container nor a resolver"


def _container_problems(task: Task) -> Iterator[str]:
    container = task.executor.container
    commands = [[*container.command, *container.args]]
    if container.HasField("lifecycle"):
        driver = container.lifecycle.pre_cache_check
        commands.append([*driver.command, *driver.args])
    for command in commands:
        if command[:2] != ["python", "-m"]:
            program = " ".join(command[:2]) or "its entry point"
            yield (
                f"task {task.name}: image {container.image} would run {program}; expected python -m MODULE, because "
                "this machine has no programs of other images"
            )
        for placeholder in unknown_placeholders(command):
            yield f"task {task.name}: placeholder {placeholder} is not supported"
    name = task.executor_class
    if name.startswith(_REMOTE_EXECUTORS) and not name.startswith(CUSTOM_JOB_EXECUTORS):
        yield f"task {task.name}: {name} calls a Google service"
