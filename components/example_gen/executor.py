"""Reads the tables of a dataset, splits its rows and publishes examples, or nothing."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf
from apache_beam.runners.direct.direct_runner import DirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.components.example_gen import utils as example_gen
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils, standard_component_specs

from components.example_gen.bigquery.layout import QUERY_RESULTS
from components.example_gen.config import DataConfig
from components.example_gen.conversion import interaction_columns
from components.example_gen.entities import EntityTables, read_entity_tables
from components.example_gen.output.outcome import Outcome, check_bad_rows, check_splits, combine
from components.example_gen.output.reporting import publish, take_outcome
from components.example_gen.packed_config import unpack
from components.example_gen.readers.blocks import Piece, check_columns, find_files, find_pieces
from components.example_gen.rows import SPLITS
from components.example_gen.span_facts import NEWEST_SPAN_NAME, NUM_SPANS, SPANS
from components.example_gen.spans import Chosen, as_ranges, choose, read_spans
from components.example_gen.spilling import IN_MEMORY, Aside
from components.example_gen.transforms import Ingestion, Reading, ingest
from components.once_per_worker import let_go
from components.scratch import scratch_directory
from trainer_module.data.paths import is_remote, literal
from trainer_module.data.spec import CANDIDATES, QUERIES
from trainer_module.errors import DataError

# Execution properties. They have no default of their own, because a runtime parameter cannot be absent.
WINDOW, LAST_SPAN = "window", "last_span"
ALL_SPANS, NEWEST_SPAN = 0, -1
TABLES_STATE = "tables_state"

# Begins the name of the directory in which rows wait.
_ROWS_ASIDE = "rows-aside-"

_log = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples of `TablesExampleGen`."""

    def Do(  # noqa: N802 (the name that TFX calls)
        self, input_dict: dict[str, list], output_dict: dict[str, list], exec_properties: dict[str, Any]
    ) -> None:
        """Ingests the dataset.

        Args:
            input_dict: Empty.
            output_dict: Holds one `Examples` artifact under `examples`. It gets the splits `train`, `eval` and `test`,
                for retrieval also `candidates` and `queries`; the custom properties `bad_rows`, `dropped_rows`,
                `rows_train`, `rows_eval` and `rows_test` (int); and, if malformed rows were tolerated, these as JSON
                lines in `quarantine/bad_rows.jsonl`. Where files have spans: the custom properties of `span_facts`,
                and `span` and `version` of the newest one. Where a table is a query: its rows in
                `query-results`, and the custom property `QUERY_RESULTS`.
            exec_properties: Those of `TablesExampleGenSpec`; the custom config holds a `DataConfig`.

        Raises:
            DataError: A file is missing or damaged, a file or a query's result lacks a column, no file is in the window
                of spans, too many rows are malformed, a split is empty or has one class only, or the splits leak.
            ServiceError: BigQuery refused a query, or did not answer.
            SetupError: The credentials for BigQuery are missing or not accepted.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        asked = DataConfig.model_validate_json(unpack(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]))
        base = literal(exec_properties[standard_component_specs.INPUT_BASE_KEY])
        directory = base if asked.reads_files else asked.directory
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        config = self._with_rows_of_queries(asked, artifact)
        dataset = config.described()
        splits = [*SPLITS, *((CANDIDATES, QUERIES) if dataset.task == "retrieval" else ())]
        artifact.split_names = artifact_utils.encode_split_names(splits)
        uris = {split: artifact_utils.get_split_uri([artifact], split) for split in splits}
        for uri in uris.values():
            tf.io.gfile.makedirs(uri)

        _require_known_dataset(directory, config)
        files, newest = self._interaction_files(directory, config, exec_properties, artifact)
        pieces = _pieces(files, config)
        attributes = _check_attributes(read_entity_tables(directory, dataset), config, directory)
        reading = Reading.of(directory, config, files, pieces, newest)
        pipeline = self._make_beam_pipeline()
        with _aside(artifact.uri, runs_in_process(pipeline.runner)) as aside:
            run = Ingestion(replace(reading, aside=aside), split_uris=uris, examples_uri=artifact.uri)
            with pipeline:
                ingest(pipeline, pieces, run)
        let_go()
        outcome = combine([attributes, take_outcome(artifact.uri).relative_to(directory)], config.max_bad_rows)
        check_bad_rows(outcome, config.max_bad_rows, directory)
        check_splits(outcome, config.split.by, dataset.task)
        publish(artifact, outcome, config.payload)

    def _with_rows_of_queries(self, config: DataConfig, artifact: Artifact) -> DataConfig:
        """The section with files in place of queries, whose rows are fetched."""
        if not config.queries:
            return config
        # Most experiments have no query, and Google's clients take a second to import.
        from components.example_gen.bigquery.extract import extract

        manifest = extract(config, artifact.uri, self._make_beam_pipeline)
        artifact.set_string_custom_property(QUERY_RESULTS, json.dumps(manifest))
        return config.with_results(artifact.uri)

    def _interaction_files(
        self, directory: str, config: DataConfig, exec_properties: dict[str, Any], artifact: Artifact
    ) -> tuple[list[str], frozenset[str]]:
        """The interactions' files, those in the window where files have spans; and the newest of several spans'."""
        table = config.described().tables.interactions
        files, newest = find_files(directory, table, "interactions"), frozenset()
        if config.has_spans:
            chosen = choose(
                read_spans(directory, files, table.files),
                exec_properties[WINDOW],
                None if exec_properties[LAST_SPAN] == NEWEST_SPAN else exec_properties[LAST_SPAN],
                config.missing_spans,
                config.by_date,
                config.left_out_numbers,
            )
            _describe(artifact, chosen, config.by_date)
            files = chosen.files
            newest = chosen.newest_files if len(chosen.spans) > 1 else newest
        wanted = interaction_columns(config.described(), config.split_column)
        check_columns(files, table, wanted, "data.interactions")
        return files, newest


def runs_in_process(runner: object) -> bool:
    """Whether a runner of Beam executes jobs in this process or its children, and so holds what waits in memory."""
    return isinstance(runner, FnApiRunner | DirectRunner)


@contextmanager
def _aside(examples_uri: str, in_process: bool) -> Iterator[Aside]:
    """Where rows wait for a step that must have seen all of them: in files beside the examples.

    Beam's in-process runner would hold them in memory and copy them several times. A cluster's keeps them itself.
    """
    if not in_process or is_remote(examples_uri):
        yield IN_MEMORY
        return
    with scratch_directory(Path(examples_uri), _ROWS_ASIDE) as directory:
        yield Aside(str(directory))


def _require_known_dataset(directory: str, config: DataConfig) -> None:
    """Says how to get a known dataset whose directory is not there."""
    if config.dataset and not tf.io.gfile.isdir(directory):
        files = config.described().directory or config.dataset
        raise DataError(
            f"{directory} is not there; expected the files of {config.dataset}. Run `recspan data fetch {files}`, or "
            "go on without a download: `recspan pipeline run --dataset synthetic`."
        )


def _pieces(files: list[str], config: DataConfig) -> list[Piece]:
    pieces = find_pieces(files, config.described().tables.interactions)
    if not pieces:
        raise DataError(f"{', '.join(files)}: no row; expected one interaction a row")
    config.split.check_num_rows(sum(piece.approximate_rows() for piece in pieces))
    return pieces


def _check_attributes(tables: EntityTables, config: DataConfig, directory: str) -> Outcome:
    """What the tables of users and items add to the outcome; refuses them early if too many of their rows are bad."""
    outcome = combine([Outcome.of_bad_rows(tables.bad_rows)], config.max_bad_rows).relative_to(directory)
    check_bad_rows(outcome, config.max_bad_rows, directory)
    return outcome


def _describe(artifact: Artifact, chosen: Chosen, by_date: bool) -> None:
    spans = as_ranges(chosen.spans, by_date)
    if chosen.warning:
        _log.warning("%s", chosen.warning)
    _log.info("spans %s, %d files", spans, len(chosen.files))
    artifact.set_string_custom_property(SPANS, spans)
    artifact.set_int_custom_property(NUM_SPANS, len(chosen.spans))
    artifact.set_string_custom_property(NEWEST_SPAN_NAME, as_ranges(chosen.spans[-1:], by_date))
    # TFX's resolvers read the property and its drivers write the custom one.
    artifact.span = chosen.spans[-1]
    artifact.set_int_custom_property(example_gen.SPAN_PROPERTY_NAME, chosen.spans[-1])
    if chosen.version is not None:
        artifact.version = chosen.version
        artifact.set_int_custom_property(example_gen.VERSION_PROPERTY_NAME, chosen.version)
