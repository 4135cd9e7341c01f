"""A Pusher that checks a blessed model in a new process, publishes it atomically, and writes a summary beside it."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx import v1 as tfx
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.pusher import verify
from components.pusher.bucket import copy_tree, finished_push_in_bucket, is_uri, publish_to_bucket
from components.pusher.layout import SUMMARY_FILE_NAME
from components.pusher.publish import finished_push, publish
from components.pusher.summary import (
    POPULARITY_NAME,
    blessing_summary,
    evaluation_summary,
    ingest_summary,
    package_versions,
)
from components.retrieval_index.layout import REPORT_FILE
from trainer_module.errors import ModelError
from trainer_module.export.parity import PARITY_DIRECTORY
from trainer_module.run_fn import TRAINING_REPORT

_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Decides whether to push, verifies the model and publishes it."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Pushes the model if it is blessed and passes verification.

        Raises:
            ModelError: A blessed model fails verification. Nothing was published.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(input_dict["model_blessing"])
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        config = json.loads(exec_properties["config"])
        verdict = blessing_summary(
            blessed=model_utils.is_model_blessed(blessing),
            has_baseline=blessing.has_custom_property("baseline_model_id"),
            hold_first_run=config["evaluation"]["first_run"] == "hold",
        )
        training = json.loads(_read(os.path.join(model.uri, TRAINING_REPORT)))
        naive_baseline = (training["naive_baseline"] or {"name": POPULARITY_NAME})["name"]
        summary = {
            "push": push_id(input_dict, exec_properties),
            "config": config,
            "blessing": verdict,
            "evaluation": evaluation_summary(artifact_utils.get_single_uri(input_dict["evaluation"]), naive_baseline),
            "training": training,
            "data_dir": exec_properties["data_dir"],
            "examples": ingest_summary(examples),
            "packages": package_versions(),
        }
        index_report = os.path.join(model.uri, REPORT_FILE)
        if tf.io.gfile.exists(index_report):
            summary["retrieval_index"] = json.loads(_read(index_report))
        if verdict["push"]:
            model_dir = path_utils.serving_model_path(model.uri)
            summary["verification"] = _verify(model_dir, os.path.join(model.uri, PARITY_DIRECTORY))
            base = exec_properties["base_directory"]
            destination = _publish(model_dir, base, summary)
            summary["pushed_to"] = destination
            pushed.set_string_custom_property("pushed_destination", destination)
            _log.info("pushed to %s", destination)
        else:
            _log.warning("not pushed: %s", verdict["reason"])
        pushed.set_int_custom_property("pushed", int(verdict["push"]))
        tf.io.gfile.makedirs(pushed.uri)
        with tf.io.gfile.GFile(os.path.join(pushed.uri, SUMMARY_FILE_NAME), "w") as file:
            file.write(json.dumps(summary, indent=2))


class VerifyingPusherSpec(ComponentSpec):
    """Inputs, outputs and parameters of `VerifyingPusher`."""

    PARAMETERS = {
        "base_directory": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "data_dir": ExecutionParameter(type=str),
        "source_hash": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=tfx.types.standard_artifacts.Examples),
        "model": ChannelParameter(type=tfx.types.standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=tfx.types.standard_artifacts.ModelBlessing),
        "evaluation": ChannelParameter(type=tfx.types.standard_artifacts.ModelEvaluation),
    }
    OUTPUTS = {"pushed_model": ChannelParameter(type=tfx.types.standard_artifacts.PushedModel)}


class VerifyingPusher(base_component.BaseComponent):
    """Publishes a blessed model after a new process has served the Trainer's sample examples with it."""

    SPEC_CLASS = VerifyingPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: tfx.types.BaseChannel,
        model: tfx.types.BaseChannel,
        model_blessing: tfx.types.BaseChannel,
        evaluation: tfx.types.BaseChannel,
        base_directory: str,
        config: str,
        data_dir: str,
        source_hash: str,
    ):
        """Connects the component.

        Args:
            examples: Output of ExampleGen; the summary lists its row counts.
            model: The model to push, with the Trainer's parity sample beside it.
            model_blessing: The Evaluator's verdict.
            evaluation: The Evaluator's metrics, for the summary.
            base_directory: Directory or URI with one numbered subdirectory per pushed version.
            config: The whole configuration as JSON, for the summary.
            data_dir: Directory of the raw files, for the summary.
            source_hash: Hash of this component's sources; part of the cache key.
        """
        super().__init__(
            VerifyingPusherSpec(
                examples=examples,
                model=model,
                model_blessing=model_blessing,
                evaluation=evaluation,
                base_directory=base_directory,
                config=config,
                data_dir=data_dir,
                source_hash=source_hash,
                pushed_model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.PushedModel),
            )
        )


def push_id(input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any]) -> str:
    """Identifies a push by what goes into it: equal when a killed push is repeated."""
    uris = {name: [artifact.uri for artifact in artifacts] for name, artifacts in input_dict.items()}
    return hashlib.sha256(json.dumps([uris, exec_properties], sort_keys=True).encode()).hexdigest()


def _publish(model_dir: str, base: str, summary: dict[str, Any]) -> str:
    """Publishes a model unless this very push was made already, by a run that was killed before it could record it."""
    files = {SUMMARY_FILE_NAME: json.dumps(summary, indent=2)}
    if is_uri(base):
        return finished_push_in_bucket(model_dir, base, summary["push"]) or publish_to_bucket(model_dir, base, files)
    return str(finished_push(model_dir, base, summary["push"]) or publish(model_dir, base, files))


def _verify(model_dir: str, parity_dir: str) -> dict[str, Any]:
    """Runs `verify.py` in a new process and returns its report."""
    with tempfile.TemporaryDirectory() as scratch:
        if is_uri(model_dir):
            # The script reads local files only. A model server also fetches a remote model before loading it.
            for source, name in ((model_dir, "model"), (parity_dir, "parity")):
                copy_tree(source, os.path.join(scratch, name))
            model_dir, parity_dir = os.path.join(scratch, "model"), os.path.join(scratch, "parity")
        report = Path(scratch, "report.json")
        # -I hides the product's packages and the user's site directory from the process.
        command = [sys.executable, "-I", verify.__file__, model_dir, parity_dir, str(report)]
        process = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
        if process.returncode:
            cause = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
            _log.debug("verification of %s:\n%s", model_dir, process.stderr)
            raise ModelError(f"the model in {model_dir} does not serve with plain TensorFlow: {cause[0]}")
        return json.loads(report.read_text())


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        return file.read()
