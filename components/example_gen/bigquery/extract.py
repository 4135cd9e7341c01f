"""Brings the rows of queries to Parquet files, from which the reader of Parquet takes over."""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import tensorflow as tf

from components.example_gen.bigquery.layout import DIRECTORY, MANIFEST_FILE, part_file, result_directory
from components.example_gen.bigquery.schema import check_result
from components.example_gen.bigquery.service import BigQueryService, Result
from components.example_gen.bigquery.streams import Stream, WriteStreams
from components.example_gen.config import DataConfig
from components.example_gen.conversion import entity_columns, interaction_columns
from components.example_gen.readers.parquet import row_groups
from trainer_module.data.tables import EntityTable
from trainer_module.errors import DataError

Manifest = dict[str, Any]

_log = logging.getLogger(__name__)


def extract(config: DataConfig, examples_uri: str, make_pipeline: Callable[[], beam.Pipeline]) -> Manifest:
    """Runs all queries of an experiment and writes their rows below the examples; the manifest is written last.

    `DataConfig.with_results` reads them. Of the columns of a result, those are fetched that the experiment reads.

    Args:
        config: The section `data`, with at least one query.
        examples_uri: Directory or URI of the examples.
        make_pipeline: Makes a Beam pipeline; its workers write below `examples_uri`.

    Returns:
        What was read: `project`, `as_of`, and per table, under `tables`, the query with its job, its rows and the
        types of its columns.

    Raises:
        DataError: A result has no row, or lacks a column, or one has a type that cannot be converted.
        ServiceError: BigQuery refused, or did not answer.
        SetupError: The credentials are missing or not accepted.
    """
    assert config.bigquery is not None
    service, results = BigQueryService(config.bigquery, f"data.{next(iter(config.queries))}.query"), {}
    with contextlib.ExitStack() as stack:
        stack.callback(service.close)
        for name, query in config.queries.items():
            results[name] = service.run(name, query, config.as_of)
            stack.callback(service.remove, results[name])
        _fetch(config, service, results, examples_uri, make_pipeline)
    manifest = _manifest(config, results)
    with tf.io.gfile.GFile(os.path.join(examples_uri, DIRECTORY, MANIFEST_FILE), "w") as file:
        file.write(json.dumps(manifest, indent=2))
    return manifest


def _fetch(
    config: DataConfig,
    service: BigQueryService,
    results: dict[str, Result],
    examples_uri: str,
    make_pipeline: Callable[[], beam.Pipeline],
) -> None:
    """Checks results and writes their rows to files."""
    columns = _columns(config)
    tables = dict(config.described().tables.named())
    for name, result in results.items():
        check_result(result.where, tables[name], columns[name], result.fields)
        if not result.num_rows:
            raise DataError(f"{result.where}: the query returned no row; mend its conditions, or data.as_of")
    streams = [
        stream for name, result in results.items() for stream in _streams(service, result, name, columns, examples_uri)
    ]
    for name in results:
        tf.io.gfile.makedirs(result_directory(examples_uri, name))
    with make_pipeline() as pipeline:
        _ = pipeline | "Streams" >> beam.Create(streams) | "WriteStreams" >> WriteStreams(config.bigquery)
    for name, result in results.items():
        _check_complete(result, examples_uri, name)


def _columns(config: DataConfig) -> dict[str, list[str]]:
    """The columns that are read, by table."""
    dataset = config.described()
    return {
        name: entity_columns(dataset, table)
        if isinstance(table, EntityTable)
        else interaction_columns(dataset, config.split_column)
        for name, table in dataset.tables.named()
    }


def _streams(
    service: BigQueryService, result: Result, name: str, columns: dict[str, list[str]], examples_uri: str
) -> list[Stream]:
    session = service.open(result, columns[name])
    _log.info("%s: %d streams", result.where, len(session.streams))
    schema = session.arrow_schema.serialized_schema
    return [
        Stream(result.where, stream.name, schema, part_file(examples_uri, name, number))
        for number, stream in enumerate(session.streams)
    ]


def _check_complete(result: Result, examples_uri: str, name: str) -> None:
    """Holds the rows of the files against those of the result."""
    files = tf.io.gfile.glob(os.path.join(result_directory(examples_uri, name), "*"))
    written = sum(group.num_rows for file in files for group in row_groups(file))
    if written != result.num_rows:
        raise DataError(
            f"{result.where}: BigQuery counts {result.num_rows:,} rows and sent {written:,}; nothing was published. "
            "Run the same command again"
        )


def _manifest(config: DataConfig, results: dict[str, Result]) -> Manifest:
    assert config.bigquery is not None
    return {
        "project": config.bigquery.project,
        "as_of": config.as_of.isoformat() if config.as_of else None,
        "tables": {
            name: {
                "query": config.queries[name],
                "job": result.job,
                "location": result.location,
                "ended": result.ended.isoformat(),
                "rows": result.num_rows,
                "bytes_billed": result.bytes_billed,
                "columns": {field.name: _type_of(field) for field in result.fields},
            }
            for name, result in results.items()
        },
    }


def _type_of(field: Any) -> str:
    return f"ARRAY<{field.field_type}>" if field.mode == "REPEATED" else field.field_type
