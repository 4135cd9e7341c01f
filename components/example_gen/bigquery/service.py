"""Runs queries on BigQuery and opens their results to the Storage Read API."""

import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import grpc
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from components.example_gen.bigquery.config import BigQueryConfig
from components.example_gen.bigquery.failures import refusal, translated
from components.google_cloud.calls import PATIENCE
from components.google_cloud.clients import default_credentials
from trainer_module.data.sql import AS_OF, is_ordered, names_as_of
from trainer_module.errors import SetupError

# Addresses of servers that stand for the service: a URL, which Google's own client reads too, and HOST:PORT.
REST_HOST = "BIGQUERY_EMULATOR_HOST"
STORAGE_HOST = "BIGQUERY_STORAGE_EMULATOR_HOST"

TABLE_LABEL = "recspan_table"
"""Label of a query's job that holds the name of the experiment's table."""

_FIRST_POLL, _LONGEST_POLL = 0.2, 10.0
_RETRY = Retry(
    predicate=if_exception_type(exceptions.ServiceUnavailable, exceptions.DeadlineExceeded), timeout=PATIENCE.total
)
_REST_RETRY = bigquery.DEFAULT_RETRY.with_timeout(PATIENCE.total)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """The rows of a query, in a table of `data.bigquery.dataset`, or in one that BigQuery keeps for a day.

    Attributes:
        where: Key of the experiment file, such as `data.items.query`.
        job: Id of the job.
        location: Where it ran.
        table: The table that holds them.
        fields: Its columns.
        num_rows: Its rows.
        bytes_billed: Of the query; 0 if BigQuery answered from its own cache.
        ended: When the job ended.
        is_ordered: Whether the query orders its rows.
    """

    where: str
    job: str
    location: str
    table: bigquery.TableReference
    fields: tuple[bigquery.SchemaField, ...]
    num_rows: int
    bytes_billed: int
    ended: datetime
    is_ordered: bool


@dataclass(frozen=True)
class ReadTable:
    """What BigQuery says of a table that a query reads.

    Attributes:
        name: `project.dataset.table`.
        kind: `TABLE`, `VIEW`, `EXTERNAL` and so on.
        modified: When its rows or its definition changed last.
        is_streamed_to: Whether rows wait in its streaming buffer, which `modified` does not count.
    """

    name: str
    kind: str
    modified: datetime | None
    is_streamed_to: bool


class BigQueryService:
    """The calls of one experiment."""

    def __init__(self, config: BigQueryConfig, where: str):
        """Creates the clients with Application Default Credentials; servers that stand for the service need none.

        Args:
            config: Where queries run.
            where: Key of a query, for messages.

        Raises:
            SetupError: The credentials are missing, or only one of the two servers is named.
        """
        self._config = config
        credentials = _credentials(where)
        self._client = bigquery.Client(
            project=config.project, credentials=credentials, location=config.location or None
        )
        self._storage = read_client(credentials)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._storage.transport.close()

    def run(self, table: str, sql: str, as_of: datetime | None) -> Result:
        """Runs the query of a table and waits for its end.

        Args:
            table: Name of the experiment's table.
            sql: The query.
            as_of: Value of the parameter `@as_of`.

        Raises:
            ServiceError: BigQuery refused, or did not answer; the message names table and key.
            SetupError: The credentials are not accepted.
        """
        where = f"data.{table}.query"
        with translated(where, self._config):
            job_config = self._job_config(table, sql, as_of)
            if self._config.dataset:
                name = f"{self._config.project}.{self._config.dataset}.recspan_{table}_{uuid.uuid4().hex}"
                job_config.destination = bigquery.TableReference.from_string(name)
                job_config.write_disposition = bigquery.WriteDisposition.WRITE_EMPTY
            job = self._client.query(sql, job_config=job_config, retry=_REST_RETRY, job_retry=None)
            _log.info("%s: job %s in %s", where, job.job_id, job.location)
            pause = _FIRST_POLL
            while not job.done(retry=_REST_RETRY, timeout=PATIENCE.attempt):
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_POLL)
            if job.error_result:
                raise refusal(job.error_result)
            result = self._client.get_table(job.destination, retry=_REST_RETRY, timeout=PATIENCE.attempt)
        _log.info("%s: %d rows, %d bytes billed", where, result.num_rows, job.total_bytes_billed or 0)
        return Result(
            where=where,
            job=job.job_id,
            location=job.location,
            table=result.reference,
            fields=tuple(result.schema),
            num_rows=result.num_rows,
            bytes_billed=job.total_bytes_billed or 0,
            ended=job.ended,
            is_ordered=is_ordered(sql),
        )

    def remove(self, result: Result) -> None:
        """Removes the table of a result, unless BigQuery does that itself.

        Raises:
            ServiceError: BigQuery refused, or did not answer.
        """
        if self._config.dataset:
            with translated(result.where, self._config):
                self._client.delete_table(result.table, retry=_REST_RETRY, timeout=PATIENCE.attempt, not_found_ok=True)

    def open(self, result: Result, columns: Sequence[str]) -> types.ReadSession:
        """Opens the rows of a result for reading, as streams of Arrow batches.

        Args:
            result: The result.
            columns: Names of the columns that are read.

        Raises:
            ServiceError: BigQuery refused, or did not answer.
        """
        table = result.table
        session = types.ReadSession(
            table=f"projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}",
            data_format=types.DataFormat.ARROW,
            read_options=types.ReadSession.TableReadOptions(
                selected_fields=list(columns),
                arrow_serialization_options=types.ArrowSerializationOptions(
                    buffer_compression=types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
                ),
            ),
        )
        with translated(result.where, self._config):
            return self._storage.create_read_session(
                parent=f"projects/{self._config.project}",
                read_session=session,
                # Only a single stream keeps the order of rows. 0 leaves the number to the service.
                max_stream_count=1 if result.is_ordered else 0,
                retry=_RETRY,
                timeout=PATIENCE.attempt,
            )

    def tables_of(self, table: str, sql: str) -> list[ReadTable]:
        """What the tables that a query reads are like now; the query does not run and costs nothing.

        Args:
            table: Name of the experiment's table.
            sql: The query, without parameters.

        Raises:
            ServiceError: BigQuery refused, or did not answer.
        """
        where, job_config = f"data.{table}.query", self._job_config(table, sql, None)
        job_config.dry_run, job_config.use_query_cache = True, False
        with translated(where, self._config):
            job = self._client.query(sql, job_config=job_config, retry=_REST_RETRY, job_retry=None)
            found = []
            for reference in job.referenced_tables:
                read = self._client.get_table(reference, retry=_REST_RETRY, timeout=PATIENCE.attempt)
                name = f"{read.project}.{read.dataset_id}.{read.table_id}"
                found.append(ReadTable(name, read.table_type, read.modified, read.streaming_buffer is not None))
        return sorted(found, key=lambda each: each.name)

    def _job_config(self, table: str, sql: str, as_of: datetime | None) -> bigquery.QueryJobConfig:
        config = bigquery.QueryJobConfig(labels={TABLE_LABEL: table}, use_legacy_sql=False)
        if as_of is not None and names_as_of(sql):
            config.query_parameters = [bigquery.ScalarQueryParameter(AS_OF, "TIMESTAMP", as_of)]
        if self._config.max_gb is not None:
            config.maximum_bytes_billed = int(self._config.max_gb * 1e9)
        return config


def read_client(credentials: Credentials | None = None) -> BigQueryReadClient:
    """A client of the Storage Read API.

    Args:
        credentials: None finds them, as a worker of a cluster does.

    Raises:
        SetupError: The credentials are missing.
    """
    if stand_in := _stand_in():
        channel = grpc.insecure_channel(stand_in, options=[("grpc.max_receive_message_length", -1)])
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    return BigQueryReadClient(credentials=credentials or default_credentials())


def read_stream(client: BigQueryReadClient, name: str):
    """The messages of a stream; a connection that breaks is taken up again where it ended."""
    return client.read_rows(name, retry=_RETRY, timeout=PATIENCE.operation)


def _credentials(where: str) -> Credentials:
    if _stand_in():
        return AnonymousCredentials()
    try:
        return default_credentials()
    except SetupError as error:
        raise SetupError(f"{where}: {error}") from error


def _stand_in() -> str:
    """Address of the server that stands for the Storage Read API; empty for Google's."""
    rest, storage = os.environ.get(REST_HOST, ""), os.environ.get(STORAGE_HOST, "")
    if bool(rest) != bool(storage):
        raise SetupError(
            f"{REST_HOST} and {STORAGE_HOST} name servers that stand for BigQuery, and only one of the two is set; "
            "set both, or none to reach Google's"
        )
    return storage
