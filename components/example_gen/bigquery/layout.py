"""Where the rows of queries lie beside the examples that were made of them. Imports no Google library."""

import os
import re
from collections.abc import Mapping
from typing import Any

DIRECTORY = "query-results"
"""Below the examples; holds a directory per table, and `MANIFEST_FILE`."""
MANIFEST_FILE = "manifest.json"

QUERY_RESULTS = "query_results"
"""Custom property of examples with a table that is a query: what the manifest says, as JSON."""

_OF_RESULT = re.compile(rf"/{DIRECTORY}/(interactions|items|users)/(part-\d+)\.parquet$")


def result_directory(examples_uri: str, table: str) -> str:
    """Directory of a table's rows.

    Args:
        examples_uri: Of the examples.
        table: Name of the table.
    """
    return os.path.join(examples_uri, DIRECTORY, table)


def part_file(examples_uri: str, table: str, number: int) -> str:
    """File of the rows of one stream.

    Args:
        examples_uri: Of the examples.
        table: Name of the table.
        number: Of the stream, from 0.
    """
    return os.path.join(result_directory(examples_uri, table), f"part-{number:05d}.parquet")


def name_of_part(file: str) -> str:
    """What messages call a file of a result, such as `data.items.query/part-00000`; empty for other files."""
    match = _OF_RESULT.search(file)
    return f"data.{match[1]}.query/{match[2]}" if match else ""


def described_results(examples: Mapping[str, Any]) -> dict[str, str]:
    """What was read by queries, in words, by what it is of.

    Args:
        examples: The section `examples` of a summary; without queries, the result is empty.
    """
    tables = examples.get(QUERY_RESULTS, {}).get("tables", {})
    return {
        f"query of {name}": f"{table['rows']:,} rows, job {table['job']} in {table['location']}, {table['ended']}"
        for name, table in tables.items()
    }
