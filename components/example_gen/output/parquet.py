"""Columns of lists in Parquet files."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from components.example_gen.output.examples import Examples
from trainer_module.data.example_files import write_parquet


class ParquetFormat:
    """Column by column, in the Arrow types that TFX's readers want."""

    def prepared(self, examples: Examples) -> Callable[[np.ndarray, str], None]:
        """Puts a batch together; returns what writes some of its rows to a file."""

        def write(rows: np.ndarray, path: str) -> None:
            write_parquet(path, pa.Table.from_batches([examples.to_batch(rows)]))

        return write
