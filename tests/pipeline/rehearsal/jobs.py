"""Builds small compiled pipelines in the form that TFX's compiler writes."""

from typing import Any

MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
BLESSING = {"instanceSchema": "title: tfx.ModelBlessing\ntype: object\n"}
EXAMPLES = {"instanceSchema": "title: tfx.Examples\ntype: object\n"}
PUSHED = {"instanceSchema": "title: tfx.PushedModel\ntype: object\n"}

RAW = "gs://my-bucket/raw"


class JobBuilder:
    """Builds a `PipelineJob` as JSON, task by task."""

    def __init__(self, name: str = "small"):
        self.spec: dict[str, Any] = {
            "pipelineInfo": {"name": name},
            "schemaVersion": "2.0.0",
            "components": {},
            "deploymentSpec": {"executors": {}},
            "root": {"dag": {"tasks": {}}},
        }
        self.job: dict[str, Any] = {
            "displayName": name,
            "runtimeConfig": {"gcsOutputDirectory": "gs://my-bucket/artifacts"},
            "pipelineSpec": self.spec,
        }

    def task(
        self,
        name: str,
        executor: dict[str, Any],
        inputs: dict[str, str] | None = None,
        parameters: dict[str, dict[str, Any]] | None = None,
        outputs: dict[str, dict[str, Any]] | None = None,
        **fields: Any,
    ) -> "JobBuilder":
        """Adds a task.

        Args:
            name: Name of the task and its component; the executor's name adds `_executor`.
            executor: `ExecutorSpec`.
            inputs: Producing task and output by input, as in `Trainer.model`.
            parameters: `InputParameterSpec` by parameter.
            outputs: Artifact type by output.
            fields: More fields of the task.
        """
        self.spec["deploymentSpec"]["executors"][f"{name}_executor"] = executor
        self.spec["components"][name] = {
            "executorLabel": f"{name}_executor",
            "outputDefinitions": {"artifacts": {key: {"artifactType": of} for key, of in (outputs or {}).items()}},
        }
        sources = {key: source.split(".") for key, source in (inputs or {}).items()}
        self.spec["root"]["dag"]["tasks"][name] = {
            "taskInfo": {"name": name},
            "componentRef": {"name": name},
            "inputs": {
                "artifacts": {
                    key: {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": output}}
                    for key, (task, output) in sources.items()
                },
                "parameters": parameters or {},
            },
        } | fields
        return self

    def reader(self, name: str = "ExampleGen") -> "JobBuilder":
        """Adds a task that reads raw files and has a driver."""
        container = container_of("make") | {
            "lifecycle": {"preCacheCheck": {"command": PYTHON, "args": ["drive", "{{$}}"]}}
        }
        return self.task(
            name, {"container": container}, parameters={"input_base": constant(RAW)}, outputs={"examples": EXAMPLES}
        )


PYTHON = ["python", "-m", "tests.pipeline.rehearsal.tasks"]


def container_of(program: str) -> dict[str, Any]:
    return {"image": "registry/image:1", "command": PYTHON, "args": [program, "{{$}}"]}


def container(program: str = "make") -> dict[str, Any]:
    """Returns an executor that runs a program of `tasks`."""
    return {"container": container_of(program)}


def constant(value: str | int) -> dict[str, Any]:
    """Returns an input parameter with a fixed value."""
    kind = {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}
    return {"runtimeValue": {"constantValue": kind}}


def resolver(key: str, query: str) -> dict[str, Any]:
    return {"resolver": {"outputArtifactQueries": {key: {"filter": query}}}}
