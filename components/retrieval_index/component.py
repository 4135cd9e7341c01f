"""The component RetrievalIndex: builds all search indexes of a two-tower model as one artifact and checks it."""

import json
import logging
import os
import tempfile
from typing import Any

import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.retrieval_index.build import build_index, check
from components.retrieval_index.catalog import CandidateColumns
from components.retrieval_index.config import RetrievalIndexConfig
from components.retrieval_index.layout import REPORT_FILE
from components.retrieval_index.tower_parity import check_candidates, pass_on
from components.retrieval_index.towers import load_towers
from trainer_module.data.spec import CANDIDATES, QUERIES
from trainer_module.errors import DataError
from trainer_module.export.parity import PARITY_DIRECTORY
from trainer_module.run_fn import TRAINING_REPORT

_log = logging.getLogger(__name__)


class Executor(base_executor.BaseExecutor):
    """Builds the indexes, writes a report and checks the recall."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Builds the index of a two-tower model.

        Raises:
            RecspanError: See `build_index`. If the recall of the FAISS index is too low, a `ModelError`; the report
                has then already been written and logged.
        """
        examples = input_dict["examples"]
        model = artifact_utils.get_single_instance(input_dict["model"])
        output = artifact_utils.get_single_instance(output_dict["index"])
        config = RetrievalIndexConfig.model_validate_json(exec_properties["config"])
        with tempfile.TemporaryDirectory() as scratch:
            towers_dir = path_utils.serving_model_path(model.uri)
            check_candidates(load_towers(towers_dir), os.path.join(model.uri, PARITY_DIRECTORY))
            report = build_index(
                config,
                CandidateColumns(exec_properties["item_key"], exec_properties["title_key"], config.restricts),
                _files(examples, CANDIDATES),
                _files(examples, QUERIES),
                towers_dir,
                scratch,
                path_utils.serving_model_dir(output.uri),
            )
        text = json.dumps(report.as_json(), indent=2)
        _log.info("%s: %s", REPORT_FILE, text)
        with tf.io.gfile.GFile(os.path.join(output.uri, REPORT_FILE), "w") as file:
            file.write(text)
        check(report, config)
        # The Pusher reads these beside the model that it pushes.
        pass_on(os.path.join(model.uri, PARITY_DIRECTORY), os.path.join(output.uri, PARITY_DIRECTORY))
        tf.io.gfile.copy(os.path.join(model.uri, TRAINING_REPORT), os.path.join(output.uri, TRAINING_REPORT))


class RetrievalIndexSpec(ComponentSpec):
    """Inputs, outputs and parameters of `RetrievalIndex`."""

    PARAMETERS = {
        "item_key": ExecutionParameter(type=str),
        "title_key": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "source_hash": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=tfx.types.standard_artifacts.Examples),
        "model": ChannelParameter(type=tfx.types.standard_artifacts.Model),
    }
    OUTPUTS = {"index": ChannelParameter(type=tfx.types.standard_artifacts.Model)}


class RetrievalIndex(base_component.BaseComponent):
    """Turns a two-tower model into a SavedModel that returns items."""

    SPEC_CLASS = RetrievalIndexSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: tfx.types.BaseChannel,
        model: tfx.types.BaseChannel,
        item_key: str,
        title_key: str,
        config: str,
        source_hash: str,
    ):
        """Connects the component.

        Args:
            examples: Examples with the splits `candidates` and `queries`.
            model: The Trainer's two-tower model.
            item_key: Column of the item's identifier.
            title_key: Column of the item's title.
            config: A `RetrievalIndexConfig` as JSON.
            source_hash: Hash of this component's sources; part of the cache key.
        """
        super().__init__(
            RetrievalIndexSpec(
                examples=examples,
                model=model,
                item_key=item_key,
                title_key=title_key,
                config=config,
                source_hash=source_hash,
                index=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
            )
        )


def _files(examples: list[tfx.dsl.Artifact], split: str) -> list[str]:
    """The files of a split, sorted by name.

    Raises:
        DataError: The examples have no such split.
    """
    (artifact,) = examples
    if split not in (splits := artifact_utils.decode_split_names(artifact.split_names)):
        raise DataError(
            f"the examples have no split {split}, only {', '.join(splits)}; an index needs a dataset whose task is "
            "retrieval"
        )
    directory = artifact_utils.get_split_uri(examples, split)
    return sorted(tf.io.gfile.glob(os.path.join(directory, "*")))
