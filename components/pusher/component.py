"""A Pusher that checks a blessed model in a new process, publishes it atomically, and writes a summary beside it."""

# pyright: reportInvalidTypeArguments=false

import hashlib
import json
import logging
import os
import tempfile
from typing import Any

import tensorflow as tf
from tfx.components.util import model_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.types.experimental import simple_artifacts
from tfx.utils import path_utils

from components.pusher.bucket import copy_tree, finished_push_in_bucket, is_uri, publish_to_bucket
from components.pusher.fresh_process import run_verification
from components.pusher.layout import SUMMARY_FILE_NAME
from components.pusher.publish import finished_push, publish
from components.pusher.summary import blessing_summary, run_facts
from components.pusher.warmup import WARMUP_FILE, warmup_requests
from components.run_report.on_refusal import with_page
from components.run_report.stop import Stop
from trainer_module.errors import ModelError
from trainer_module.export.parity import EXAMPLES_FILE, PARITY_DIRECTORY

_log = logging.getLogger(__name__)


class VerificationFailed(ModelError):
    """A blessed model does not serve outside the product."""

    verdict = "stopped by verification"


@component
def VerifyingPusher(  # noqa: N802 (TFX components are named like classes)
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    base_directory: Parameter[str],
    config: Parameter[str],
    data_dir: Parameter[str],
    source_hash: Parameter[str],
    page: Parameter[str] = "",
    statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies] = None,
    transform_graph: InputArtifact[standard_artifacts.TransformGraph] = None,
    model_run: InputArtifact[standard_artifacts.ModelRun] = None,
    drift: InputArtifact[simple_artifacts.Statistics] = None,
) -> None:
    """Publishes a blessed model after a new process has served the Trainer's sample examples with it.

    Args:
        examples: Output of ExampleGen; the summary lists its row counts.
        model: The model to push, with the Trainer's parity sample beside it.
        model_blessing: The Evaluator's verdict.
        evaluation: The Evaluator's metrics, for the summary.
        pushed_model: Output, with the summary.
        base_directory: Directory or URI with one numbered subdirectory per pushed version.
        config: The whole configuration as JSON, for the summary.
        data_dir: Directory of the raw files, for the summary.
        source_hash: Hash of this component's sources; part of the cache key.
        page: `PageSettings` as JSON, where this component writes the page of a run that it stops; else empty.
        statistics: For that page, as all that follow.
        anomalies: See there.
        transform_graph: See there.
        model_run: See there.
        drift: See there; None where data are not compared with earlier ones.

    Raises:
        VerificationFailed: A blessed model does not serve outside the product. Nothing was published.
    """
    inputs = [artifact.uri for artifact in (examples, model, model_blessing, evaluation)]
    push = push_id([*inputs, base_directory, config, data_dir, source_hash])
    experiment = json.loads(config)
    verdict = blessing_summary(
        blessed=model_utils.is_model_blessed(model_blessing),
        has_baseline=model_blessing.has_custom_property("baseline_model_id"),
        hold_first_run=experiment["evaluation"]["first_run"] == "hold",
    )
    facts = run_facts(experiment, data_dir, examples, model.uri, evaluation.uri)
    summary: dict[str, Any] = {"push": push, "blessing": verdict} | facts
    if verdict["push"]:
        model_dir = path_utils.serving_model_path(model.uri)
        parity_dir = os.path.join(model.uri, PARITY_DIRECTORY)
        try:
            summary["verification"] = _verify(model_dir, parity_dir)
        except VerificationFailed as error:
            artifacts = {
                "examples": examples,
                "statistics": statistics,
                "anomalies": anomalies,
                "transform_graph": transform_graph,
                "model_run": model_run,
                "model": model,
                "evaluation": evaluation,
                "drift": drift,
            }
            stop = Stop("Pusher", error.verdict, str(error))
            raise VerificationFailed(with_page(page, pushed_model.uri, stop, artifacts)) from None
        destination = _publish(model_dir, parity_dir, base_directory, summary)
        summary["pushed_to"] = destination
        pushed_model.set_string_custom_property("pushed_destination", destination)
        _log.info("pushed to %s", destination)
    else:
        _log.warning("not pushed: %s", verdict["reason"])
    pushed_model.set_int_custom_property("pushed", int(verdict["push"]))
    tf.io.gfile.makedirs(pushed_model.uri)
    with tf.io.gfile.GFile(os.path.join(pushed_model.uri, SUMMARY_FILE_NAME), "w") as file:
        file.write(json.dumps(summary, indent=2))


def push_id(inputs: list[str]) -> str:
    """Identifies a push by what goes into it: equal when a killed push is repeated."""
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _publish(model_dir: str, parity_dir: str, base: str, summary: dict[str, Any]) -> str:
    """Publishes a model unless this very push was made already, by a run that was killed before it could record it."""
    sample = tf.data.TFRecordDataset(os.path.join(parity_dir, EXAMPLES_FILE), "GZIP")
    files = {
        SUMMARY_FILE_NAME: json.dumps(summary, indent=2).encode(),
        # The sample begins with ordinary rows.
        WARMUP_FILE: warmup_requests(model_dir, list(sample.as_numpy_iterator())),
    }
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
        outcome = run_verification(model_dir, parity_dir)
        if outcome.report is None:
            cause = outcome.errors.strip().splitlines()[-1:] or [f"exit code {outcome.returncode}"]
            _log.debug("verification of %s:\n%s", model_dir, outcome.errors)
            raise VerificationFailed(f"the model in {model_dir} does not serve with plain TensorFlow: {cause[0]}")
        return outcome.report
