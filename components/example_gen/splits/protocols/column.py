"""The protocol `column`: a column says which split a row belongs to."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from components.example_gen.rows import EVAL, SPLIT_VALUE, SPLITS, TEST, TRAIN, Entities, Rows
from components.example_gen.splits.assignment import Planless
from components.example_gen.splits.evidence import Evidence, describe_some, parts_by_key
from components.example_gen.splits.hashing import Hasher, drawn
from components.example_gen.splits.protocol import Split, has_users_and_items
from trainer_module.data.cells import trim
from trainer_module.data.dataset import Dataset
from trainer_module.data.tables import InteractionsTable


class ColumnSplit(Split):
    """A column says which split a row belongs to; rows of any other value are malformed.

    Attributes:
        column: Its name.
        train: What it says of rows in `train`.
        eval: The same for `eval`; None draws `eval` from the train rows by a hash of their place.
        test: The same for `test`.
        eval_fraction: Share of the train rows that become `eval` where no value of the column says so.
        seed: Of that draw.
    """

    by: Literal["column"] = "column"
    column: str = Field(min_length=1)
    train: str = "train"
    eval: str | None = "eval"
    test: str = "test"
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_values(self) -> "ColumnSplit":
        if len(set(self.known_values)) < len(self.known_values):
            raise ValueError(
                f"train, eval and test need values of their own, got {', '.join(map(repr, self.known_values))}"
            )
        for value in self.known_values:
            if not value or value != trim(value):
                raise ValueError(
                    f"{value!r} is no value that a row can have: values are read without the spaces around them, and "
                    "an empty one is missing"
                )
        return self

    def check(self, dataset: Dataset) -> None:
        if self.column in {entry.name for entry in dataset.tables.interactions.inputs()}:
            raise ValueError(
                f"split: the column {self.column!r} is also an input of the model, which would be the same in all "
                "train rows; remove it there"
            )

    def protocol(self, interactions: InteractionsTable) -> "ColumnProtocol":
        return ColumnProtocol(self, has_users_and_items(interactions))

    def own_column(self, interactions: InteractionsTable) -> str | None:
        return self.column

    @property
    def known_values(self) -> tuple[str, ...]:
        return tuple(_values(self).values())


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
            ValueError: A row has another value than `known_values`.
        """
        values = rows.batch.column(SPLIT_VALUE)
        by_value = _values(self._config)
        index = pc.index_in(values, pa.array([value.encode() for value in by_value.values()], pa.large_binary()))
        if index.null_count:
            unknown = values.filter(index.is_null())[0].as_py()
            raise ValueError(
                f"column {self._config.column!r} holds {unknown!r}; expected one of {self._config.known_values}"
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


SPLIT = ColumnSplit
