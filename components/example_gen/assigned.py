"""What travels between the steps of an ingestion."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """The good rows of a block, or of a partition of the users.

    Attributes:
        index: Of the block or partition, from 0.
        batch: Under `catalog.ROWS_SCHEMA`.
        split: Index into `splits.SPLITS` of each row, `[rows]` int8; None until they are assigned.
    """

    index: int
    batch: pa.RecordBatch
    split: np.ndarray | None = None
