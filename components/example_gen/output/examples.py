"""Examples in normalized form: what the examples of a user or item share is held, and encoded, once."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Part:
    """Some columns of a batch of examples, each distinct combination of values held once.

    Attributes:
        columns: `[distinct]` rows of `large_list` columns.
        index: Row of `columns` for each example, `[examples]` int64.
    """

    columns: pa.RecordBatch
    index: np.ndarray

    @classmethod
    def of_rows(cls, columns: dict[str, pa.Array]) -> "Part":
        """A part with one row per example."""
        batch = pa.RecordBatch.from_pydict(columns)
        return cls(batch, np.arange(batch.num_rows))


@dataclass(frozen=True)
class Examples:
    """A batch of examples.

    Attributes:
        parts: Disjoint sets of columns that together make the examples.
        schema: Arrow schema of the examples.
    """

    parts: tuple[Part, ...]
    schema: pa.Schema

    def to_batch(self, rows: np.ndarray | slice = slice(None)) -> pa.RecordBatch:
        """All columns of some examples, or of all, side by side in the order of the schema."""
        columns = {
            name: part.columns.column(name).take(pa.array(part.index[rows]))
            for part in self.parts
            for name in part.columns.schema.names
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in self.schema.names], schema=self.schema)
