"""Reads row groups of Parquet files."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.example_gen.readers.opening import is_compressed, open_file
from components.example_gen.readers.raw_rows import RawRows
from trainer_module.errors import DataError

_BATCH_ROWS = 1 << 17
# Types of columns (and of the values of lists) that no conversion reads.
_REFUSED = (
    pa.types.is_struct, pa.types.is_map, pa.types.is_duration, pa.types.is_interval, pa.types.is_union,
    pa.types.is_time,
)  # fmt: skip


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file.

    Attributes:
        index: In the file, from 0.
        first_row: Number of its first row, from 1.
        num_rows: Its rows.
    """

    index: int
    first_row: int
    num_rows: int


def row_groups(file: str) -> list[RowGroup]:
    """The row groups of a file that have rows."""
    with _opened(file) as parquet:
        metadata = parquet.metadata
        sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    first_rows = np.cumsum([1, *sizes]).tolist()
    return [RowGroup(index, first_rows[index], size) for index, size in enumerate(sizes) if size]


def schema(file: str) -> pa.Schema:
    """Names and types of a file's columns."""
    with _opened(file) as parquet:
        return parquet.schema_arrow


def check_types(file: str, found: pa.Schema, wanted: Sequence[str]) -> None:
    """Checks that columns have types that can be converted.

    Raises:
        DataError: One has not.
    """
    for name in wanted:
        values = found.field(name).type
        while _is_list(values) or pa.types.is_dictionary(values):
            values = values.value_type
        if any(is_refused(values) for is_refused in _REFUSED):
            raise DataError(
                f"{file}: column {name!r} is of type {found.field(name).type}; expected numbers, texts, timestamps or "
                "lists of them. Write its parts as columns of their own, or leave the column out of the experiment"
            )


def read_row_group(file: str, file_number: int, group: RowGroup, wanted: Sequence[str]) -> Iterator[RawRows]:
    """Reads columns of a row group, some 100,000 rows at a time.

    Raises:
        DataError: The file is damaged, or a column has a type that cannot be converted.
    """
    with _opened(file) as parquet:
        check_types(file, parquet.schema_arrow, wanted)
        first_row = group.first_row
        for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=[group.index], columns=list(wanted)):
            columns = {name: batch.column(name) for name in wanted}
            _check_values(file, first_row, columns)
            yield RawRows(file, file_number, columns, first_row + np.arange(batch.num_rows), _raw(columns))
            first_row += batch.num_rows


def _check_values(file: str, first_row: int, columns: dict[str, pa.Array]) -> None:
    """Checks what Arrow takes for granted in a file, such as text in UTF-8; damaged pages may hold anything."""
    for name, values in columns.items():
        try:
            values.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{file}: column {name!r}, in rows {first_row:,} to {first_row + len(values) - 1:,}, holds values that "
                f"are not of its type {values.type} ({error}); write or fetch the file again"
            ) from error


def _raw(columns: dict[str, pa.Array]):
    return lambda row: repr({name: values[row].as_py() for name, values in columns.items()}).encode(errors="replace")


def _is_list(values: pa.DataType) -> bool:
    return pa.types.is_list(values) or pa.types.is_large_list(values) or pa.types.is_fixed_size_list(values)


@contextlib.contextmanager
def _opened(file: str) -> Iterator[pq.ParquetFile]:
    if is_compressed(file):
        raise DataError(f"{file}: a packed Parquet file; unpack it, Parquet compresses its columns itself")
    with open_file(file) as content:
        try:
            yield pq.ParquetFile(content, page_checksum_verification=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise DataError(f"{file}: cannot be read as Parquet ({error}); write or fetch the file again") from error
