"""A block of rows as a file holds them, before any conversion."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class RawRows:
    """A block of rows of one file.

    Attributes:
        file: Path of the file.
        file_number: Its number among the files of the table, from 0.
        columns: `[rows]` each. Columns of text files are `large_binary`; null means missing.
        numbers: Line of each row in a text file, row in a Parquet file, both from 1; `[rows]` int64.
        raw: Maps an index into the block to the row as the file holds it, for messages.
    """

    file: str
    file_number: int
    columns: dict[str, pa.Array]
    numbers: np.ndarray
    raw: Callable[[int], bytes]
