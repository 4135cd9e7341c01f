"""Reads a dataset directory, splits its rows and publishes examples, or nothing."""

import json
import logging
import os
from dataclasses import asdict
from typing import Any

import tensorflow as tf
from google.protobuf import struct_pb2
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.example_gen import payload
from components.example_gen.blocks import find_blocks
from components.example_gen.config import IngestConfig
from components.example_gen.layout import FILES, RATINGS_FILE
from components.example_gen.outcome import Outcome, check_bad_rows, check_splits, combine
from components.example_gen.splits import SPLITS, check_num_lines
from components.example_gen.transforms import Ingestion, ingest, load_catalog, open_file
from trainer_module.datasets import dataset_spec
from trainer_module.datasets.spec import CANDIDATES, QUERIES
from trainer_module.errors import DataError

CONFIG_KEY = "data"
QUARANTINE_FILE = os.path.join("quarantine", "bad_rows.jsonl")

# Some 200,000 ratings: enough to amortize Beam's cost per element, and a few tens of MB in memory.
BLOCK_BYTES = 4 << 20

_OUTCOME_FILE = "outcome.json"

_log = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples of `MovieLensExampleGen`."""

    def Do(  # noqa: N802 (the name that TFX calls)
        self, input_dict: dict[str, list], output_dict: dict[str, list], exec_properties: dict[str, Any]
    ) -> None:
        """Ingests the dataset.

        Args:
            input_dict: Empty.
            output_dict: Holds one `Examples` artifact under `examples`. It gets the splits `train`, `eval` and
                `test`, for retrieval also `candidates` and `queries`; the custom properties `bad_rows`,
                `rows_train`, `rows_eval` and `rows_test` (int); and, if bad rows were tolerated, these as JSON lines
                in `quarantine/bad_rows.jsonl`.
            exec_properties: Those of `FileBasedExampleGen`; the custom config holds an `IngestConfig`.

        Raises:
            DataError: A file is missing or empty, too many rows are bad, a split is empty, or the splits leak.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = read_config(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        data_dir = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        of_items = (CANDIDATES, QUERIES) if dataset_spec(config.dataset).task == "retrieval" else ()
        artifact.split_names = artifact_utils.encode_split_names([*SPLITS, *of_items])
        uris = {split: artifact_utils.get_split_uri([artifact], split) for split in (*SPLITS, *of_items)}
        for uri in uris.values():
            tf.io.gfile.makedirs(uri)

        _require_files(data_dir)
        with open_file(os.path.join(data_dir, RATINGS_FILE)) as file:
            blocks = list(find_blocks(file, BLOCK_BYTES))
        if not blocks:
            raise DataError(f"{os.path.join(data_dir, RATINGS_FILE)} is empty; expected one rating a line")
        num_lines = sum(block.num_lines for block in blocks)
        check_num_lines(config.protocol, num_lines)
        _, bad_attributes = load_catalog(data_dir)
        attributes = combine(
            [Outcome(num_bad_rows=len(bad_attributes), bad_rows=tuple(bad_attributes))], config.max_bad_rows
        )
        check_bad_rows(attributes, config.max_bad_rows, data_dir)

        outcome_path = os.path.join(artifact.uri, _OUTCOME_FILE)
        run = Ingestion(data_dir, config, uris, outcome_path, len(blocks), num_lines)
        with self._make_beam_pipeline() as pipeline:
            ingest(pipeline, blocks, run)
        with tf.io.gfile.GFile(outcome_path) as file:
            outcome = combine([attributes, Outcome.from_json(file.read())], config.max_bad_rows)
        tf.io.gfile.remove(outcome_path)

        check_bad_rows(outcome, config.max_bad_rows, data_dir)
        check_splits(outcome, config.protocol)
        if outcome.num_bad_rows:
            _write_quarantine(os.path.join(artifact.uri, QUARANTINE_FILE), outcome)
            _log.warning("%d bad row(s) set aside in %s", outcome.num_bad_rows, QUARANTINE_FILE)
        payload.describe(artifact)
        artifact.set_int_custom_property("bad_rows", outcome.num_bad_rows)
        for split, count in zip(SPLITS, outcome.split_rows, strict=True):
            artifact.set_int_custom_property(f"rows_{split}", count)
            _log.info("split %s: %d rows", split, count)


def read_config(custom_config: str) -> IngestConfig:
    """Restores the config that the component packed.

    Args:
        custom_config: A serialized `example_gen_pb2.CustomConfig` in JSON.
    """
    message = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(custom_config, message)
    fields = struct_pb2.Struct()
    if not message.custom_config.Unpack(fields):
        raise ValueError(f"custom_config holds {message.custom_config.type_url!r} instead of a Struct")
    return IngestConfig.model_validate_json(fields.fields[CONFIG_KEY].string_value)


def _require_files(data_dir: str) -> None:
    missing = [name for name in FILES if not tf.io.gfile.exists(os.path.join(data_dir, name))]
    if missing:
        raise DataError(
            f"{data_dir}: no {', '.join(missing)}; expected {', '.join(FILES)} there. Run `recspan data fetch "
            "movielens-100k`, or go on without a download: `recspan pipeline run --dataset synthetic`."
        )


def _write_quarantine(path: str, outcome: Outcome) -> None:
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        for row in outcome.bad_rows:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
