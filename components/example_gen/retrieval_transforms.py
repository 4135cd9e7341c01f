"""The Beam side of retrieval datasets: rows with histories, and the splits `candidates` and `queries`.

    assigned rows -> gathered by user -> histories and queries -> join, encode, write
                  -> training rows per item -> candidates, written as one file

Rows are gathered in partitions of whole users, since a history needs all rows of its user. A worker holds one
partition at a time: some `ROWS_PER_PARTITION` rows with their histories (a few hundred bytes a row at the default
`data.history_length`), more only where a single user has more.
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from components.example_gen.assigned import Rows
from components.example_gen.catalog import ROWS_SCHEMA

ROWS_PER_PARTITION = 100_000


class GatherUsers(beam.PTransform):
    """From blocks of the file to partitions that hold all rows of their users, in the order of the file."""

    def __init__(self, num_partitions: int):
        super().__init__()
        self._num_partitions = num_partitions

    def expand(self, input_or_inputs: beam.PCollection) -> beam.pvalue.PValue:
        return (
            input_or_inputs
            | "Partition" >> beam.FlatMap(_by_partition, self._num_partitions)
            | "Group" >> beam.GroupByKey()
            | "Concatenate" >> beam.MapTuple(_concatenate)
        )


def partitions(num_lines: int) -> int:
    """How many partitions a file of so many lines makes."""
    return 1 + num_lines // ROWS_PER_PARTITION


def _by_partition(rows: Rows, num_partitions: int) -> Iterator[tuple[int, Rows]]:
    assert rows.split is not None
    partition = rows.batch.column("user").to_numpy() % num_partitions
    for number in np.unique(partition).tolist():
        mine = partition == number
        yield number, Rows(rows.index, rows.batch.filter(pa.array(mine)), rows.split[mine])


def _concatenate(number: int, parts: Iterable[Rows]) -> Rows:
    parts = sorted(parts, key=lambda rows: rows.index)
    table = pa.Table.from_batches([rows.batch for rows in parts], ROWS_SCHEMA).combine_chunks()
    (batch,) = table.to_batches()
    return Rows(number, batch, np.concatenate([rows.split for rows in parts]))
