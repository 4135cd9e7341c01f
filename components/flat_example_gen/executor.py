"""Reads a table, splits its rows and publishes examples, or nothing."""

import logging
from typing import Any

import tensorflow as tf
from pydantic import TypeAdapter
from tfx.components.example_gen import utils as example_gen
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils, standard_component_specs

from components.example_gen.old_splits import SPLITS
from components.example_gen.outcome import Outcome, check_bad_rows
from components.example_gen.packed_config import unpack
from components.example_gen.reporting import publish, take_outcome
from components.flat_example_gen.config import FlatSource, TableIngestConfig
from components.flat_example_gen.files import check_columns, find_files, find_pieces
from components.flat_example_gen.rows import wanted_columns
from components.flat_example_gen.spans import Chosen, as_ranges, choose, read_spans
from components.flat_example_gen.transforms import Ingestion, ingest
from trainer_module.data.datasets import dataset_spec
from trainer_module.errors import DataError

# Execution properties. They have no default of their own, because a runtime parameter cannot be absent.
WINDOW, LAST_SPAN = "window", "last_span"
ALL_SPANS, NEWEST_SPAN = 0, -1

SPANS = "spans"

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
                bad rows were tolerated, these as JSON lines in `quarantine/bad_rows.jsonl`. Where files have spans:
                the custom property `spans`, such as `3-5` or `2024-05-01/2024-05-03`, and `span` and `version` of the
                newest one.
            exec_properties: Those of `FlatExampleGenSpec`; the custom config holds a `TableIngestConfig`.

        Raises:
            DataError: There is no file, none in the window of spans, or one lacks a column, too many rows are bad, or
                a split is empty.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = TypeAdapter(TableIngestConfig).validate_json(
            unpack(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        )
        directory = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        uris = tuple(artifact_utils.get_split_uri([artifact], split) for split in SPLITS)
        for uri in uris:
            tf.io.gfile.makedirs(uri)

        dataset, source = dataset_spec(config.dataset_key), config.source()
        files = find_files(directory, source)
        if source.has_spans:
            chosen = choose(
                read_spans(directory, files, source.files),
                exec_properties[WINDOW],
                None if exec_properties[LAST_SPAN] == NEWEST_SPAN else exec_properties[LAST_SPAN],
                source.missing_spans,
                source.by_date,
            )
            _describe(artifact, chosen, as_ranges(chosen.spans, source.by_date))
            files = chosen.files
        check_columns(files, source, wanted_columns(dataset, source))
        run = Ingestion(dataset, source, directory, uris, artifact.uri)
        with self._make_beam_pipeline() as pipeline:
            ingest(pipeline, find_pieces(files, source), run)
        outcome = take_outcome(artifact.uri)
        check_bad_rows(outcome, source.max_bad_rows, directory)
        _check_splits(outcome, source)
        publish(artifact, outcome)


def _describe(artifact: Artifact, chosen: Chosen, spans: str) -> None:
    if chosen.warning:
        _log.warning("%s", chosen.warning)
    _log.info("spans %s, %d files", spans, len(chosen.files))
    artifact.set_string_custom_property(SPANS, spans)
    # TFX's resolvers read the property and its drivers write the custom one.
    artifact.span = chosen.spans[-1]
    artifact.set_int_custom_property(example_gen.SPAN_PROPERTY_NAME, chosen.spans[-1])
    if chosen.version is not None:
        artifact.version = chosen.version
        artifact.set_int_custom_property(example_gen.VERSION_PROPERTY_NAME, chosen.version)


def _check_splits(outcome: Outcome, source: FlatSource) -> None:
    if empty := [name for name, count in zip(SPLITS, outcome.split_rows, strict=True) if count == 0]:
        counts = ", ".join(f"{name} {count:,}" for name, count in zip(SPLITS, outcome.split_rows, strict=True))
        raise DataError(
            f"data.split (by {source.split.by}) leaves {' and '.join(empty)} without a row ({counts}). Use more data, "
            "other fractions, or another split."
        )
