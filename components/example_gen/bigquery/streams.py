"""Writes streams of Arrow batches, as the Storage Read API sends them, to Parquet files.

Beam's own `ReadFromBigQuery` makes a Python dictionary of every row; these transforms keep the batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from google.cloud.bigquery_storage_v1 import BigQueryReadClient

from components.example_gen.bigquery.config import BigQueryConfig
from components.example_gen.bigquery.failures import translated
from components.example_gen.bigquery.service import read_client, read_stream

# A row group is what one worker ingests at a time.
_GROUP_ROWS, _GROUP_BYTES = 1 << 17, 128 << 20


@dataclass(frozen=True)
class Stream:
    """Some rows of a query's result.

    Attributes:
        where: Key of the experiment file, such as `data.items.query`.
        name: Resource name of the stream.
        schema: Arrow schema of its batches, as an IPC message.
        file: Where its rows go; without a row, nothing is written.
    """

    where: str
    name: str
    schema: bytes
    file: str


class WriteStreams(beam.PTransform):
    """From `Stream`s to their files, in the order of their rows; a retry overwrites what an earlier attempt left."""

    def __init__(self, config: BigQueryConfig):
        """Sets what error messages say.

        Args:
            config: Where the queries run.
        """
        super().__init__()
        self._config = config

    def expand(self, streams):
        return streams | "Spread" >> beam.Reshuffle() | "Write" >> beam.ParDo(_WriteStream(self._config))


class _WriteStream(beam.DoFn):
    def __init__(self, config: BigQueryConfig):
        self._config = config

    def setup(self) -> None:
        self._client = read_client()

    def teardown(self) -> None:
        self._client.transport.close()

    def process(self, stream: Stream) -> None:
        with translated(stream.where, self._config):
            _write(self._client, stream)


def _write(client: BigQueryReadClient, stream: Stream) -> None:
    groups = _row_groups(client, stream)
    first = next(groups, None)
    if first is None:
        return
    with (
        FileSystems.create(stream.file, compression_type=CompressionTypes.UNCOMPRESSED) as file,
        pq.ParquetWriter(file, first.schema, write_page_checksum=True) as writer,
    ):
        writer.write_table(first)
        for group in groups:
            writer.write_table(group)


def _row_groups(client: BigQueryReadClient, stream: Stream) -> Iterator[pa.Table]:
    """The rows of a stream in tables that are worth a row group each."""
    schema = pa.ipc.read_schema(pa.py_buffer(stream.schema))
    waiting: list[pa.RecordBatch] = []
    for message in read_stream(client, stream.name):
        buffer = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
        waiting.append(pa.ipc.read_record_batch(buffer, schema))
        table = pa.Table.from_batches(waiting, schema)
        if table.num_rows >= _GROUP_ROWS or table.nbytes >= _GROUP_BYTES:
            yield table
            waiting = []
    if waiting and (table := pa.Table.from_batches(waiting, schema)).num_rows:
        yield table
