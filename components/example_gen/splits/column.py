"""The protocol `column`: a column says which split a row belongs to."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.rows import EVAL, SPLIT_VALUE, SPLITS, TEST, TRAIN, Entities, Rows
from components.example_gen.splits.assignment import Planless
from components.example_gen.splits.config import ColumnSplit
from components.example_gen.splits.evidence import Evidence, describe_some, parts_by_key
from components.example_gen.splits.hashing import Hasher, drawn


def values_of(config: ColumnSplit) -> list[bytes]:
    """The values that the column may have. Rows with any other value are bad rows."""
    return [value.encode() for value in _values(config).values()]


class ColumnProtocol(Planless):
    """Takes the split of each row from `SPLIT_VALUE`.

    Where no value says `eval`, a hash draws it among the train rows: of the (user, item) pair where the dataset has
    users and items, else of the row's file and line.

    Promise: every row is in the split that its column says. Official splits may repeat a (user, item) pair, so it may
    be in two splits.
    """

    name = "column"

    def __init__(self, config: ColumnSplit, has_users_and_items: bool):
        """Takes values, fraction and seed from the config.

        Args:
            config: Of the split.
            has_users_and_items: Whether pairs can be hashed.
        """
        self._config, self._hashes_pairs = config, has_users_and_items
        self._hasher = Hasher(config.seed)

    @property
    def promise(self) -> str:
        """What holds for every split, in a sentence."""
        return f"Every row is in the split that column {self._config.column!r} says."

    def assign(self, rows: Rows, plan: None, entities: Entities) -> np.ndarray:
        """Assigns rows; see `SplitProtocol.assign`.

        Raises:
            ValueError: A row has another value than those of `values_of`.
        """
        values = rows.batch.column(SPLIT_VALUE)
        by_value = _values(self._config)
        index = pc.index_in(values, pa.array([value.encode() for value in by_value.values()], pa.large_binary()))
        if index.null_count:
            unknown = values.filter(index.is_null())[0].as_py()
            raise ValueError(
                f"column {self._config.column!r} holds {unknown!r}; expected one of {values_of(self._config)}"
            )
        split = np.array(list(by_value), np.int8)[index.to_numpy()]
        if self._config.eval is None:
            of = self._hasher.of_pair if self._hashes_pairs else self._hasher.of_place
            split[(split == TRAIN) & drawn(of(rows, entities), EVAL, self._config.eval_fraction)] = EVAL
        return split

    def evidence(self, rows: Rows) -> Evidence:
        """The rows that are elsewhere than their column says; their keys are the splits that it says."""
        assert rows.split is not None
        says = np.full(len(rows.split), -1, np.int64)
        values = rows.batch.column(SPLIT_VALUE)
        for number, name in enumerate(SPLITS):
            if (value := getattr(self._config, name)) is not None:
                says[pc.equal(values, pa.scalar(value.encode(), pa.large_binary())).to_numpy(zero_copy_only=False)] = (
                    number
                )
        wrong = says != rows.split
        if self._config.eval is None:
            wrong &= ~((says == TRAIN) & (rows.split == EVAL))
        return Evidence.of(rows, says).take(wrong)

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """Parts by the split that the column says."""
        return parts_by_key(evidence, count)

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Names the rows that are elsewhere than their column says."""
        leaks = []
        for says, split in sorted(set(zip(evidence.key.tolist(), evidence.split.tolist(), strict=True))):
            position = np.sort(evidence.position[(evidence.key == says) & (evidence.split == split)])
            value = getattr(self._config, SPLITS[says])
            leaks.append(
                f"column {self._config.column!r} says {value!r} of rows in {SPLITS[split]}: "
                f"{describe_some(position, files)}"
            )
        return leaks


def _values(config: ColumnSplit) -> dict[int, str]:
    """What the column says, by index into `SPLITS`."""
    values = {TRAIN: config.train, EVAL: config.eval, TEST: config.test}
    return {split: value for split, value in values.items() if value is not None}
