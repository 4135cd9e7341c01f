"""What the containers of hand-made pipelines run: `python -m tests.pipeline.rehearsal.tasks WHAT EXECUTOR_INPUT`."""

import json
import os
import sys
from pathlib import Path


def make(told: dict) -> None:
    """Writes what it was told and where into every output, and says so in the artifacts' metadata."""
    for key, artifacts in told["outputs"].get("artifacts", {}).items():
        (artifact,) = artifacts["artifacts"]
        seen = {"told": told, "environment": dict(os.environ), "directory": os.getcwd()}
        Path(artifact["uri"], "seen.json").write_text(json.dumps(seen))
        _answer(told, {"artifacts": {key: {"artifacts": [{"metadata": {"made": 1.0, "blessed": 1}}]}}})


def count(told: dict) -> None:
    """Answers with a parameter."""
    (key,) = told["outputs"]["parameters"]
    _answer(told, {"parameters": {key: {"intValue": "7"}}})


def push(told: dict) -> None:
    """Answers as TFX's Pusher does that has pushed; the place holds the parameter `steps`."""
    inputs = told["inputs"]
    steps = inputs["parameters"]["steps"]["intValue"] if "parameters" in inputs else inputs["parameterValues"]["steps"]
    metadata = {"pushed": 1, "pushed_destination": f"/pushed/after/{steps}"}
    _answer(told, {"artifacts": {"pushed": {"artifacts": [{"metadata": metadata}]}}})


def drive(told: dict) -> None:
    """Determines a parameter and says something of the artifact to come."""
    (key,) = told["outputs"]["artifacts"]
    artifacts = {key: {"artifacts": [{"metadata": {"span": 3}}]}}
    _answer(told, {"parameters": {"span": {"intValue": "3"}}, "artifacts": artifacts})


def babble(told: dict) -> None:
    """Answers with what is no answer."""
    _answer(told, {"artefacts": {}})


def fail(told: dict) -> None:
    """Ends as a container does whose component has failed."""
    print("\n".join(f"line {number}" for number in range(50)))
    raise SystemExit(f"no luck with {sorted(told)}")


def _answer(told: dict, output: dict) -> None:
    Path(told["outputs"]["outputFile"]).write_text(json.dumps(output))


if __name__ == "__main__":
    {"make": make, "count": count, "drive": drive, "push": push, "babble": babble, "fail": fail}[sys.argv[1]](
        json.loads(sys.argv[2])
    )
