"""Programs of the containers in hand-made pipelines: `python -m tests.pipeline.rehearsal.tasks NAME EXECUTOR_INPUT`."""

import json
import os
import sys
from pathlib import Path


def make(container_input: dict) -> None:
    """Writes its input and environment into every output, and adds metadata to the artifacts."""
    for key, artifacts in container_input["outputs"].get("artifacts", {}).items():
        (artifact,) = artifacts["artifacts"]
        seen = {"input": container_input, "environment": dict(os.environ), "directory": os.getcwd()}
        Path(artifact["uri"], "seen.json").write_text(json.dumps(seen))
        _write_output(container_input, {"artifacts": {key: {"artifacts": [{"metadata": {"made": 1.0, "blessed": 1}}]}}})


def push(container_input: dict) -> None:
    """Writes the output of a Pusher that pushed; the destination contains the parameter `steps`."""
    steps = container_input["inputs"]["parameters"]["steps"]["intValue"]
    metadata = {"pushed": 1, "pushed_destination": f"/pushed/after/{steps}"}
    _write_output(container_input, {"artifacts": {"pushed": {"artifacts": [{"metadata": metadata}]}}})


def drive(container_input: dict) -> None:
    """Writes the output of a driver: a parameter, and metadata of the future artifact."""
    (key,) = container_input["outputs"]["artifacts"]
    artifacts = {key: {"artifacts": [{"metadata": {"span": 3}}]}}
    _write_output(container_input, {"parameterValues": {"span": 3}, "artifacts": artifacts})


def write_invalid_output(container_input: dict) -> None:
    """Writes an output file with an unknown field."""
    _write_output(container_input, {"artefacts": {}})


def fail(container_input: dict) -> None:
    """Prints 50 lines and exits with 1."""
    print("\n".join(f"line {number}" for number in range(50)))
    raise SystemExit(f"no luck with {sorted(container_input)}")


def _write_output(container_input: dict, output: dict) -> None:
    Path(container_input["outputs"]["outputFile"]).write_text(json.dumps(output))


if __name__ == "__main__":
    programs = (make, push, drive, write_invalid_output, fail)
    {program.__name__: program for program in programs}[sys.argv[1]](json.loads(sys.argv[2]))
