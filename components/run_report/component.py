"""The component RunReport: writes the page of a run, the last thing that a pipeline does."""

# pyright: reportInvalidTypeArguments=false

import importlib
import json
import logging
import os

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.types.experimental import simple_artifacts

from components.pusher.layout import SUMMARY_FILE_NAME
from components.run_report.artifacts import RunArtifacts
from components.run_report.card import ModelCard
from components.run_report.compose import compose
from components.run_report.layout import PAGE_FILE, REPORT_FILE
from components.run_report.render import render
from components.run_report.tasks import finished_tasks
from components.run_report.uris import uris_of
from trainer_module.data.spec import DatasetSpec

_log = logging.getLogger(__name__)


@component
def RunReport(  # noqa: N802 (TFX components are named like classes)
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    transform_graph: InputArtifact[standard_artifacts.TransformGraph],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    model: InputArtifact[standard_artifacts.Model],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    pushed_model: InputArtifact[standard_artifacts.PushedModel],
    report: OutputArtifact[simple_artifacts.File],
    title: Parameter[str],
    dataset: Parameter[str],
    model_card: Parameter[str],
    added: Parameter[str],
    added_settings: Parameter[str],
    upstream: Parameter[str],
    source_hash: Parameter[str],
    drift: InputArtifact[simple_artifacts.Statistics] = None,
) -> None:
    """Writes one self-contained HTML file about a run, whether its model was pushed or not.

    Args:
        examples: Output of ExampleGen.
        statistics: Of all splits with rows.
        anomalies: Of the same.
        transform_graph: Of Transform.
        model_run: Logs and best weights of the Trainer.
        model: The model that was judged: the Trainer's, or the retrieval index.
        evaluation: The Evaluator's metrics and rows.
        pushed_model: The Pusher's output, with the summary.
        report: Output: the page as HTML, and the data that it is made from. Of a type of TFX's own, because Vertex AI
            finds other classes only in packages without a dot in their names.
        title: Of the page.
        dataset: A `DatasetSpec` as JSON.
        model_card: A `ModelCard` as JSON.
        added: Dotted path of a function that makes further sections from the summary and `added_settings`, each with
            the id of the section that it precedes.
        added_settings: The second argument of that function.
        upstream: Components that each component waits for, as JSON, where a service runs them one by one; empty where
            the runner adds what they took to the page.
        source_hash: Hash of this component's sources and of `added`; part of the cache key.
        drift: Of DriftGate; None where data are not compared with earlier ones.
    """
    del source_hash
    with tf.io.gfile.GFile(os.path.join(pushed_model.uri, SUMMARY_FILE_NAME)) as file:
        summary = json.load(file)
    artifacts = {
        "examples": examples,
        "statistics": statistics,
        "anomalies": anomalies,
        "transform_graph": transform_graph,
        "model_run": model_run,
        "model": model,
        "evaluation": evaluation,
    } | ({"drift": drift} if drift else {})
    run = RunArtifacts(
        dataset=DatasetSpec.model_validate_json(dataset),
        summary=summary,
        card=ModelCard.model_validate_json(model_card),
        uris=uris_of(artifacts),
        tasks=finished_tasks(report.uri, json.loads(upstream)) if upstream else (),
    )
    module, _, function = added.rpartition(".")
    page = compose(run, title, getattr(importlib.import_module(module), function)(summary, added_settings))
    tf.io.gfile.makedirs(report.uri)
    for name, text in ((PAGE_FILE, page.model_dump_json()), (REPORT_FILE, render(page))):
        with tf.io.gfile.GFile(os.path.join(report.uri, name), "w") as file:
            file.write(text)
    _log.debug("report of %d sections in %s", len(page.sections), report.uri)
