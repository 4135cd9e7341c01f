"""What the service tells a task's container, and what it reads from the container's answer."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.rehearsal.spec import Task, Value

Artifacts: TypeAlias = dict[str, list[pb.RuntimeArtifact]]

# Of a project; the service has it in every path and name.
PROJECT_NUMBER = "123456789012"


@dataclass(frozen=True)
class Outputs:
    """What a task has made.

    Attributes:
        artifacts: By output.
        parameters: By output.
    """

    artifacts: Artifacts = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        id: Of the pipeline job.
        pipeline_root: Below it lie the artifacts.
        parameters: Values of the runtime parameters.
    """

    id: str
    pipeline_root: str
    parameters: Mapping[str, Value]

    def task_root(self, task: Task) -> str:
        """Where the task's outputs lie; the layout is the service's, as TFX documents it in its entry point."""
        number = _number(self.id, task.name) - 2**62
        return f"{self.pipeline_root}/{PROJECT_NUMBER}/{self.id}/{task.name}_{number}"


def artifact_name(run_id: str, task_name: str, key: str) -> str:
    """The name under which Vertex ML Metadata would keep an artifact."""
    number = _number(run_id, task_name, key)
    return f"projects/{PROJECT_NUMBER}/locations/local/metadataStores/default/artifacts/{number}"


def executor_input(task: Task, run: Run, done: Mapping[str, Outputs]) -> pb.ExecutorInput:
    """The `ExecutorInput` of a task.

    Args:
        task: Whose inputs come from tasks that are done.
        run: The run that it belongs to.
        done: Outputs by task.
    """
    result = pb.ExecutorInput()
    for key, artifacts in input_artifacts(task, done).items():
        result.inputs.artifacts[key].artifacts.extend(artifacts)
    for name, definition in task.component.input_definitions.parameters.items():
        if definition.HasField("default_value"):
            result.inputs.parameter_values[name].CopyFrom(definition.default_value)
    for name, value in input_parameters(task, run, done).items():
        put_parameter(result.inputs, name, value)
    root = run.task_root(task)
    for key, definition in task.component.output_definitions.artifacts.items():
        result.outputs.artifacts[key].artifacts.add(
            name=artifact_name(run.id, task.name, key),
            uri=f"{root}/{key}",
            type=definition.artifact_type,
            metadata=definition.metadata,
        )
    for key in task.component.output_definitions.parameters:
        result.outputs.parameters[key].output_file = f"{root}/parameters/{key}"
    result.outputs.output_file = f"{root}/executor_output.json"
    return result


def input_artifacts(task: Task, done: Mapping[str, Outputs]) -> Artifacts:
    """The artifacts that a task gets; none where a resolver has found none."""
    return {
        key: done[given.task_output_artifact.producer_task].artifacts.get(
            given.task_output_artifact.output_artifact_key, []
        )
        for key, given in task.spec.inputs.artifacts.items()
    }


def input_parameters(task: Task, run: Run, done: Mapping[str, Outputs]) -> dict[str, Value]:
    """The values that a task gets; an optional runtime parameter without a value is left out."""
    found = {}
    for name, given in task.spec.inputs.parameters.items():
        match given.WhichOneof("kind"):
            case "task_output_parameter":
                source = given.task_output_parameter
                found[name] = done[source.producer_task].parameters[source.output_parameter_key]
            case "component_input_parameter":
                found[name] = run.parameters.get(given.component_input_parameter)
            case _:
                found[name] = runtime_value(given.runtime_value, run.parameters)
    return {name: value for name, value in found.items() if value is not None}


def runtime_value(value: pb.ValueOrRuntimeParameter, parameters: Mapping[str, Value]) -> Value | None:
    """A constant, or the value of a parameter."""
    match value.WhichOneof("value"):
        case "runtime_parameter":
            return parameters.get(value.runtime_parameter)
        case "constant":
            return value.constant
        case _:
            return value.constant_value


def put_parameter(inputs: pb.ExecutorInput.Inputs, name: str, value: Value) -> None:
    """Sets a parameter in the form that its schema version has for it."""
    if isinstance(value, struct_pb2.Value):
        inputs.parameter_values[name].CopyFrom(value)
    else:
        inputs.parameters[name].CopyFrom(value)


def updated(before: pb.ExecutorInput, output: pb.ExecutorOutput) -> pb.ExecutorInput:
    """What the executor is told after its driver has answered.

    Args:
        before: What the driver was told.
        output: Its answer: parameters that it has determined, and what it says of the artifacts to come.
    """
    result = pb.ExecutorInput()
    result.CopyFrom(before)
    for name, value in output.parameters.items():
        result.inputs.parameters[name].CopyFrom(value)
    for name, value in output.parameter_values.items():
        result.inputs.parameter_values[name].CopyFrom(value)
    for key, artifacts in finished(before, output).artifacts.items():
        del result.outputs.artifacts[key].artifacts[:]
        result.outputs.artifacts[key].artifacts.extend(artifacts)
    return result


def finished(told: pb.ExecutorInput, output: pb.ExecutorOutput) -> Outputs:
    """What a task has made.

    Args:
        told: What its container was told.
        output: The container's answer. What it does not mention is as it was told.
    """
    artifacts: Artifacts = {}
    for key, planned in told.outputs.artifacts.items():
        artifacts[key] = [_merged(*pair) for pair in _pairs(planned.artifacts, output.artifacts[key].artifacts)]
    parameters: dict[str, Value] = dict(output.parameters)
    return Outputs(artifacts, parameters | dict(output.parameter_values))


def _pairs(
    planned: Sequence[pb.RuntimeArtifact], made: Sequence[pb.RuntimeArtifact]
) -> list[tuple[pb.RuntimeArtifact, pb.RuntimeArtifact]]:
    return list(zip(planned, made or [pb.RuntimeArtifact()] * len(planned), strict=True))


def _merged(planned: pb.RuntimeArtifact, made: pb.RuntimeArtifact) -> pb.RuntimeArtifact:
    """The artifact with the URI, if there is one, and the metadata that the container gave it."""
    result = pb.RuntimeArtifact()
    result.CopyFrom(planned)
    result.uri = made.uri or planned.uri
    for key, value in made.metadata.fields.items():
        result.metadata.fields[key].CopyFrom(value)
    return result


def _number(*identity: str) -> int:
    """A number of 63 bits, always the same for the same thing."""
    return int.from_bytes(hashlib.sha256("\0".join(identity).encode()).digest()[:8]) >> 1
