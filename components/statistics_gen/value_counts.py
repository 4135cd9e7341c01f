"""Exact counts of the distinct values of a column, added batch by batch and merged as Arrow columns."""

import pyarrow as pa
import pyarrow.compute as pc

from trainer_module.data.token_counts import added_up

# Fields of the structs that Arrow's `value_counts` returns.
_VALUE, _COUNT = "values", "counts"
# Fewer waiting counts than these are not worth merging.
_MIN_WAITING = 1 << 12


class ValueCounts:
    """How often each distinct value occurs.

    Counts that are added wait until they are as many as the merged ones. So merging takes time in proportion to what
    was added, and memory holds at most two counts per distinct value, or `_MIN_WAITING` more than one.

    Attributes:
        num_held: Number of counts in memory, merged and waiting.
    """

    def __init__(self) -> None:
        self.num_held = 0
        self._num_merged = 0
        self._counts: list[pa.RecordBatch] = []

    def add(self, counts: pa.StructArray) -> None:
        """Adds counts of a batch, `[distinct]`, as Arrow's `value_counts` returns them."""
        self._add([pa.RecordBatch.from_struct_array(counts)])

    def merge(self, other: "ValueCounts") -> None:
        """Adds all counts of another object."""
        self._add(other._counts)

    def compact(self) -> None:
        """Merges all counts that wait, so that each distinct value is held once."""
        if self.num_held == self._num_merged:
            return
        together = pa.Table.from_batches(self._counts)
        values, sums = added_up(together[_VALUE], together[_COUNT])
        self._counts = [pa.RecordBatch.from_arrays([values, pa.array(sums)], [_VALUE, _COUNT])]
        self.num_held = self._num_merged = len(values)

    def num_distinct(self) -> int:
        """Returns the number of distinct values."""
        self.compact()
        return self.num_held

    def most_frequent(self, number: int) -> list[tuple[bytes, int]]:
        """Returns the `number` most frequent values, or all if there are fewer, with their counts in descending order.

        Of equally frequent values, the larger one comes first.
        """
        self.compact()
        if not self._counts:
            return []
        (counts,) = self._counts
        order = pc.select_k_unstable(counts, number, [(_COUNT, "descending"), (_VALUE, "descending")])
        first = counts.take(order)
        return list(zip(first.column(_VALUE).to_pylist(), first.column(_COUNT).to_pylist(), strict=True))

    def _add(self, batches: list[pa.RecordBatch]) -> None:
        self._counts += batches
        self.num_held += sum(batch.num_rows for batch in batches)
        if self.num_held - self._num_merged >= max(self._num_merged, _MIN_WAITING):
            self.compact()
