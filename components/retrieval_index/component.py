"""RetrievalIndex: everything that finds items for a query, as one artifact, judged before it is passed on."""

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
    """Builds, reports, judges."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Builds the index of a two-tower model.

        Raises:
            RecspanError: As `build_index` says; or a `ModelError`, because the FAISS index finds too little. The
                report was then written and logged all the same.
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
        # What the Pusher proves and reports of the Trainer's model goes along.
        pass_on(os.path.join(model.uri, PARITY_DIRECTORY), os.path.join(output.uri, PARITY_DIRECTORY))
        tf.io.gfile.copy(os.path.join(model.uri, TRAINING_REPORT), os.path.join(output.uri, TRAINING_REPORT))


class RetrievalIndexSpec(ComponentSpec):
    """What the component reads and writes."""

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
    """From a two-tower model to a SavedModel that answers with items."""

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
            examples: With the splits `candidates` and `queries`.
            model: The Trainer's, with two towers.
            item_key: Column of the item's identifier.
            title_key: Column of the item's title.
            config: JSON of a `RetrievalIndexConfig`.
            source_hash: Of this component's sources, so that a change of them is not answered from the cache.
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
    """The files of a split, in the order of their names.

    Raises:
        DataError: There is no such split.
    """
    (artifact,) = examples
    if split not in (splits := artifact_utils.decode_split_names(artifact.split_names)):
        raise DataError(
            f"the examples have no split {split}, only {', '.join(splits)}; an index needs a dataset whose task is "
            "retrieval"
        )
    directory = artifact_utils.get_split_uri(examples, split)
    return sorted(tf.io.gfile.glob(os.path.join(directory, "*")))
