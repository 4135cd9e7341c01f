"""The component RunReport: writes the page of a run, the last thing that a pipeline does."""

# pyright: reportInvalidTypeArguments=false

import json
import logging
import os

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import Artifact, artifact_utils, standard_artifacts
from tfx.types.experimental import simple_artifacts

from components.pusher.layout import SUMMARY_FILE_NAME
from components.run_report.artifacts import RunArtifacts, Uris
from components.run_report.card import ModelCard
from components.run_report.compose import compose
from components.run_report.layout import PAGE_FILE, REPORT_FILE
from components.run_report.render import render
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
    completed: Parameter[str],
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
        completed: `yes` if the runner adds to the page what components cannot know, else `no`.
        source_hash: Hash of this component's sources; part of the cache key.
        drift: Of DriftGate; None where data are not compared with earlier ones.
    """
    del source_hash
    with tf.io.gfile.GFile(os.path.join(pushed_model.uri, SUMMARY_FILE_NAME)) as file:
        summary = json.load(file)
    uris = Uris(
        examples=_splits(examples),
        statistics=_splits(statistics),
        anomalies=_splits(anomalies),
        transform_graph=transform_graph.uri,
        model_run=model_run.uri,
        model=model.uri,
        evaluation=evaluation.uri,
        drift=drift.uri if drift else "",
    )
    card = ModelCard.model_validate_json(model_card)
    run = RunArtifacts(DatasetSpec.model_validate_json(dataset), summary, card, uris, completed == "yes")
    page = compose(run, title)
    tf.io.gfile.makedirs(report.uri)
    for name, text in ((PAGE_FILE, page.model_dump_json()), (REPORT_FILE, render(page))):
        with tf.io.gfile.GFile(os.path.join(report.uri, name), "w") as file:
            file.write(text)
    _log.debug("report of %d sections in %s", len(page.sections), report.uri)


def _splits(artifact: Artifact) -> dict[str, str]:
    """Directories of an artifact's splits."""
    names = artifact_utils.decode_split_names(artifact.split_names)
    return {name: artifact_utils.get_split_uri([artifact], name) for name in names}
