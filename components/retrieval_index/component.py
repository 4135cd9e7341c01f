"""The component RetrievalIndex: builds all search indexes of a two-tower model as one artifact and checks it."""

# pyright: reportInvalidTypeArguments=false

import json
import logging
import os
import tempfile

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import Artifact, artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.retrieval_index.build import Float32Index, build_index, check
from components.retrieval_index.catalog import CandidateColumns
from components.retrieval_index.config import RetrievalIndexConfig
from components.retrieval_index.layout import REPORT_FILE
from components.retrieval_index.tower_parity import check_candidates, pass_on
from components.retrieval_index.towers import load_towers
from trainer_module.data.spec import CANDIDATES, QUERIES
from trainer_module.errors import DataError
from trainer_module.export.config import FLOAT32_DIRECTORY
from trainer_module.export.parity import PARITY_DIRECTORY
from trainer_module.run_fn import TRAINING_REPORT

_log = logging.getLogger(__name__)


@component
def RetrievalIndex(  # noqa: N802 (TFX components are named like classes)
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    index: OutputArtifact[standard_artifacts.Model],
    item_key: Parameter[str],
    title_key: Parameter[str],
    config: Parameter[str],
    quantize: Parameter[str],
    source_hash: Parameter[str],
) -> None:
    """Turns a two-tower model into a SavedModel that returns items, writes a report and checks the recall.

    Args:
        examples: Examples with the splits `candidates` and `queries`.
        model: The Trainer's two-tower model.
        index: Output.
        item_key: Column of the item's identifier.
        title_key: Column of the item's title.
        config: A `RetrievalIndexConfig` as JSON.
        quantize: `export.quantize` of the experiment, or `none`.
        source_hash: Hash of this component's sources; part of the cache key.

    Raises:
        RecspanError: See `build_index`. If a recall is too low, a `ModelError`; the report has then already been
            written and logged.
    """
    del source_hash
    float32 = None
    if quantize != "none":
        float32 = Float32Index(*(os.path.join(artifact.uri, FLOAT32_DIRECTORY) for artifact in (model, index)))
    settings = RetrievalIndexConfig.model_validate_json(config)
    with tempfile.TemporaryDirectory() as scratch:
        towers_dir = path_utils.serving_model_path(model.uri)
        check_candidates(load_towers(towers_dir), os.path.join(model.uri, PARITY_DIRECTORY))
        report = build_index(
            settings,
            CandidateColumns(item_key, title_key, settings.restricts),
            _files(examples, CANDIDATES),
            _files(examples, QUERIES),
            towers_dir,
            scratch,
            path_utils.serving_model_dir(index.uri),
            float32,
        )
    text = json.dumps(report.as_json(), indent=2)
    _log.info("%s: %s", REPORT_FILE, text)
    with tf.io.gfile.GFile(os.path.join(index.uri, REPORT_FILE), "w") as file:
        file.write(text)
    check(report, settings)
    # The Pusher reads these beside the model that it pushes.
    pass_on(os.path.join(model.uri, PARITY_DIRECTORY), os.path.join(index.uri, PARITY_DIRECTORY))
    tf.io.gfile.copy(os.path.join(model.uri, TRAINING_REPORT), os.path.join(index.uri, TRAINING_REPORT))


def _files(examples: Artifact, split: str) -> list[str]:
    """The files of a split, sorted by name.

    Raises:
        DataError: The examples have no such split.
    """
    if split not in (splits := artifact_utils.decode_split_names(examples.split_names)):
        raise DataError(
            f"the examples have no split {split}, only {', '.join(splits)}; an index needs a dataset whose task is "
            "retrieval"
        )
    directory = artifact_utils.get_split_uri([examples], split)
    return sorted(tf.io.gfile.glob(os.path.join(directory, "*")))
