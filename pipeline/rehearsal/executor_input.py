"""Builds the input of a task's container and reads its output, as Vertex AI Pipelines does."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.rehearsal.spec import Task

Artifacts: TypeAlias = dict[str, list[pb.RuntimeArtifact]]
"""Artifacts by input or output key."""

# Invented. The service puts the project's number into paths and artifact names.
PROJECT_NUMBER = "123456789012"


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        id: Id of the pipeline job.
        pipeline_root: Directory of the artifacts.
        parameters: Values of the runtime parameters.
    """

    id: str
    pipeline_root: str
    parameters: Mapping[str, pb.Value]

    def task_root(self, task: Task) -> str:
        """Returns the directory of the task's outputs, in the layout that TFX's entry point documents."""
        number = _number(self.id, task.name) - 2**62
        return f"{self.pipeline_root}/{PROJECT_NUMBER}/{self.id}/{task.name}_{number}"


def executor_input(task: Task, run: Run, done: Mapping[str, Artifacts]) -> pb.ExecutorInput:
    """Builds the `ExecutorInput` of a container task.

    Args:
        task: Task whose upstream tasks are done.
        run: Run that the task belongs to.
        done: Output artifacts of the tasks that are done, by task.
    """
    result = pb.ExecutorInput()
    for key, artifacts in input_artifacts(task, done).items():
        result.inputs.artifacts[key].artifacts.extend(artifacts)
    for name, source in task.spec.inputs.parameters.items():
        is_runtime_parameter = bool(source.component_input_parameter)
        value = run.parameters[source.component_input_parameter] if is_runtime_parameter else constant(task, name)
        result.inputs.parameters[name].CopyFrom(value)
    root = run.task_root(task)
    for key, definition in task.component.output_definitions.artifacts.items():
        result.outputs.artifacts[key].artifacts.add(
            name=_artifact_name(run.id, task.name, key), uri=f"{root}/{key}", type=definition.artifact_type
        )
    result.outputs.output_file = f"{root}/executor_output.json"
    return result


def input_artifacts(task: Task, done: Mapping[str, Artifacts]) -> Artifacts:
    """Returns the input artifacts of a task; an input is empty if its resolver found nothing."""
    sources = {key: source.task_output_artifact for key, source in task.spec.inputs.artifacts.items()}
    return {key: done[source.producer_task].get(source.output_artifact_key, []) for key, source in sources.items()}


def constant(task: Task, parameter: str) -> pb.Value:
    """Returns the value of a parameter that is fixed in the compiled pipeline; empty if it is not."""
    return task.spec.inputs.parameters[parameter].runtime_value.constant_value


def with_driver_output(container_input: pb.ExecutorInput, output: pb.ExecutorOutput) -> pb.ExecutorInput:
    """Returns the executor's input after its driver has run.

    Args:
        container_input: Input of the driver.
        output: Output of the driver. TFX's driver of file-based ExampleGens writes `parameter_values` in every schema
            version.
    """
    result = pb.ExecutorInput()
    result.CopyFrom(container_input)
    for name, value in output.parameter_values.items():
        result.inputs.parameter_values[name].CopyFrom(value)
    for key, artifacts in output_artifacts(container_input, output).items():
        del result.outputs.artifacts[key].artifacts[:]
        result.outputs.artifacts[key].artifacts.extend(artifacts)
    return result


def output_artifacts(container_input: pb.ExecutorInput, output: pb.ExecutorOutput) -> Artifacts:
    """Returns the output artifacts of a container.

    Args:
        container_input: Input of the container. It describes the artifacts as planned.
        output: Output of the container. An artifact that it does not mention stays as planned.
    """
    return {
        key: [_merged(*pair) for pair in _pairs(planned.artifacts, output.artifacts[key].artifacts)]
        for key, planned in container_input.outputs.artifacts.items()
    }


def _pairs(
    planned: Sequence[pb.RuntimeArtifact], made: Sequence[pb.RuntimeArtifact]
) -> list[tuple[pb.RuntimeArtifact, pb.RuntimeArtifact]]:
    return list(zip(planned, made or [pb.RuntimeArtifact()] * len(planned), strict=True))


def _merged(planned: pb.RuntimeArtifact, made: pb.RuntimeArtifact) -> pb.RuntimeArtifact:
    """Returns the planned artifact with the URI and the metadata that the container reported."""
    result = pb.RuntimeArtifact()
    result.CopyFrom(planned)
    result.uri = made.uri or planned.uri
    for key, value in made.metadata.fields.items():
        result.metadata.fields[key].CopyFrom(value)
    return result


def _artifact_name(run_id: str, task_name: str, key: str) -> str:
    """Returns an artifact's resource name in the form of Vertex ML Metadata."""
    number = _number(run_id, task_name, key)
    return f"projects/{PROJECT_NUMBER}/locations/local/metadataStores/default/artifacts/{number}"


def _number(*identity: str) -> int:
    """Returns a 63-bit hash of the identity."""
    return int.from_bytes(hashlib.sha256("\0".join(identity).encode()).digest()[:8]) >> 1
