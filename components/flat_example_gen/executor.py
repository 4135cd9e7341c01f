"""Reads a table, splits its rows and publishes examples, or nothing."""

import json
import logging
import os
from dataclasses import asdict
from typing import Any

import tensorflow as tf
from google.protobuf import struct_pb2
from pydantic import TypeAdapter
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.example_gen import payload
from components.example_gen.outcome import Outcome, check_bad_rows
from components.example_gen.splits import SPLITS
from components.flat_example_gen.config import CriteoIngestConfig, FlatIngestConfig, FlatSource, TableIngestConfig
from components.flat_example_gen.files import check_columns, find_files, find_pieces
from components.flat_example_gen.rows import wanted_columns
from components.flat_example_gen.transforms import Ingestion, ingest
from trainer_module.datasets import dataset_spec
from trainer_module.errors import DataError

CONFIG_KEY = "data"
QUARANTINE_FILE = os.path.join("quarantine", "bad_rows.jsonl")
_OUTCOME_FILE = "outcome.json"

_log = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples of `FlatExampleGen`."""

    def Do(  # noqa: N802 (the name that TFX calls)
        self, input_dict: dict[str, list], output_dict: dict[str, list], exec_properties: dict[str, Any]
    ) -> None:
        """Ingests the table.

        Args:
            input_dict: Empty.
            output_dict: Holds one `Examples` artifact under `examples`. It gets the splits `train`, `eval` and
                `test`; the custom properties `bad_rows`, `rows_train`, `rows_eval` and `rows_test` (int); and, if
                bad rows were tolerated, these as JSON lines in `quarantine/bad_rows.jsonl`.
            exec_properties: Those of `FileBasedExampleGen`; the custom config holds a `TableIngestConfig`.

        Raises:
            DataError: There is no file, or one lacks a column, too many rows are bad, or a split is empty.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = read_config(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        directory = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        uris = tuple(artifact_utils.get_split_uri([artifact], split) for split in SPLITS)
        for uri in uris:
            tf.io.gfile.makedirs(uri)

        dataset, source = dataset_spec(config.dataset_key), config.source()
        files = find_files(directory, source)
        check_columns(files, source, wanted_columns(dataset, source))
        outcome_path = os.path.join(artifact.uri, _OUTCOME_FILE)
        run = Ingestion(dataset, source, uris, outcome_path)
        with self._make_beam_pipeline() as pipeline:
            ingest(pipeline, find_pieces(files, source), run)
        with tf.io.gfile.GFile(outcome_path) as file:
            outcome = Outcome.from_json(file.read())
        tf.io.gfile.remove(outcome_path)

        check_bad_rows(outcome, source.max_bad_rows, directory)
        _check_splits(outcome, source)
        if outcome.num_bad_rows:
            _write_quarantine(os.path.join(artifact.uri, QUARANTINE_FILE), outcome)
            _log.warning("%d bad row(s) set aside in %s", outcome.num_bad_rows, QUARANTINE_FILE)
        payload.describe(artifact)
        artifact.set_int_custom_property("bad_rows", outcome.num_bad_rows)
        for split, count in zip(SPLITS, outcome.split_rows, strict=True):
            artifact.set_int_custom_property(f"rows_{split}", count)
            _log.info("split %s: %d rows", split, count)


def read_config(custom_config: str) -> FlatIngestConfig | CriteoIngestConfig:
    """Restores the config that the component packed.

    Args:
        custom_config: A serialized `example_gen_pb2.CustomConfig` in JSON.
    """
    message = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(custom_config, message)
    fields = struct_pb2.Struct()
    if not message.custom_config.Unpack(fields):
        raise ValueError(f"custom_config holds {message.custom_config.type_url!r} instead of a Struct")
    return TypeAdapter(TableIngestConfig).validate_json(fields.fields[CONFIG_KEY].string_value)


def _check_splits(outcome: Outcome, source: FlatSource) -> None:
    if empty := [name for name, count in zip(SPLITS, outcome.split_rows, strict=True) if count == 0]:
        counts = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, outcome.split_rows, strict=True))
        raise DataError(
            f"data.split (by {source.split.by}) leaves {' and '.join(empty)} without a row ({counts}). Use more data, "
            "other fractions, or another split."
        )


def _write_quarantine(path: str, outcome: Outcome) -> None:
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        for row in outcome.bad_rows:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
