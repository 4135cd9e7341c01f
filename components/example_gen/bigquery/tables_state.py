"""What tells whether the tables behind queries have changed since an earlier run.

Google's clients are imported only if a query has to be looked at.
"""

import contextlib
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from components.example_gen.config import DataConfig
from trainer_module.data.sql import reads_information_schema

if TYPE_CHECKING:
    from components.example_gen.bigquery.service import ReadTable

# Kinds of tables whose time of modification covers their rows, or whose base tables BigQuery lists beside them.
_SEEN_TO_CHANGE = ("TABLE", "VIEW", "MATERIALIZED_VIEW", "SNAPSHOT")
# Of a query that reads more tables, BigQuery lists no more.
_MOST_LISTED = 50

_log = logging.getLogger(__name__)


def tables_state(config: DataConfig) -> str:
    """A text that differs once the rows of a query may differ.

    Queries that name `@as_of` are fixed by it. For the others, BigQuery is asked which tables they read and when these
    changed last. Where that says nothing (external tables, rows that wait in a streaming buffer, more tables than
    BigQuery lists), the text is another one at each call.

    Args:
        config: The section `data`.

    Returns:
        JSON; empty if `@as_of` fixes all queries.

    Raises:
        ServiceError: BigQuery refused, or did not answer.
        SetupError: The credentials are missing or not accepted.
    """
    queries = config.unpinned_queries
    if not queries:
        return ""
    from components.example_gen.bigquery.service import BigQueryService

    assert config.bigquery is not None
    with contextlib.closing(BigQueryService(config.bigquery, f"data.{next(iter(queries))}.query")) as service:
        tables_of = {name: service.tables_of(name, query) for name, query in queries.items()}
    state: dict[str, list[str]] = {}
    for name, tables in tables_of.items():
        state[name] = [f"{table.name} {table.modified}" for table in tables]
        if reason := _why_unseen(queries[name], tables):
            _log.warning(
                "data.%s.query runs in every run: %s. A query that names @as_of is answered from the cache",
                name,
                reason,
            )
            state[name].append(datetime.now(UTC).isoformat())
    return json.dumps(state)


def _why_unseen(query: str, tables: "list[ReadTable]") -> str:
    """Why a change of a query's tables might go unseen; empty if none can."""
    if reads_information_schema(query):
        return "INFORMATION_SCHEMA has no time of modification"
    if len(tables) >= _MOST_LISTED:
        return f"it reads {_MOST_LISTED} tables or more, and BigQuery may not list them all"
    for table in tables:
        if table.kind not in _SEEN_TO_CHANGE:
            return f"{table.name} is of the kind {table.kind}, whose rows may change unseen"
        if table.is_streamed_to:
            return f"rows are being streamed into {table.name}"
    return ""
