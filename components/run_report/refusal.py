"""The page of a run that a component refuses, written by that component where a service runs it.

Vertex AI starts no later component of such a run, and an exit handler gets no artifacts (docs/report.md).
"""

import json
import os
from collections.abc import Mapping

import tensorflow as tf
from tfx.types import Artifact

from components.pusher.summary import run_facts
from components.run_report.artifacts import RunArtifacts
from components.run_report.card import ModelCard
from components.run_report.compose import compose
from components.run_report.layout import REPORT_FILE
from components.run_report.render import render
from components.run_report.stop import Stop
from components.run_report.tasks import finished_tasks
from components.run_report.uris import uris_of
from trainer_module.data.spec import DatasetSpec
from trainer_module.frozen import Frozen


class PageSettings(Frozen):
    """What a refusing component must know for the page.

    Attributes:
        title: Of the page.
        dataset: The dataset.
        experiment: The whole configuration as JSON.
        data_dir: Directory of the raw files.
        upstream: Components that each component waits for, in the order in which they run; the last one refuses.
    """

    title: str
    dataset: DatasetSpec
    experiment: str
    data_dir: str
    upstream: dict[str, tuple[str, ...]]


def write_refusal(settings: str, output: str, stop: Stop, artifacts: Mapping[str, Artifact | None]) -> str:
    """Writes the page of a run that is being stopped.

    Args:
        settings: `PageSettings` as JSON.
        output: Directory of an output of the component that stops the run.
        stop: Why.
        artifacts: What the run has made, by the names of `Uris`.

    Returns:
        The path of the page.
    """
    given = PageSettings.model_validate_json(settings)
    made = {name: artifact for name, artifact in artifacts.items() if artifact is not None}
    uris = uris_of(made)
    run = RunArtifacts(
        dataset=given.dataset,
        summary=run_facts(
            json.loads(given.experiment), given.data_dir, made.get("examples"), uris.model, uris.evaluation
        ),
        card=ModelCard(),
        uris=uris,
        tasks=finished_tasks(output, given.upstream, stop.component),
        stop=stop,
    )
    path = os.path.join(output, REPORT_FILE)
    tf.io.gfile.makedirs(output)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(render(compose(run, given.title)))
    return path
