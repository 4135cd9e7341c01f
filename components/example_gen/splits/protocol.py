"""The interface of split protocols: the section `data.split` of one, and what assigns rows and checks the result."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from components.example_gen.rows import Entities, Rows
from components.example_gen.splits.evidence import Evidence
from trainer_module.data.dataset import Dataset
from trainer_module.data.tables import InteractionsTable
from trainer_module.frozen import Frozen


class SplitProtocol(Protocol):
    """Assigns rows to `train`, `eval` and `test`, block by block, and checks its own promise on the result.

    Some protocols must know something of all rows first. They summarize each block, merge the summaries and make one
    plan. Whatever the blocks are and in whatever order they come, the plan and the split of a row are the same.

    `find_leaks` and `evidence` share no code with `assign`, so that an error there does not hide itself. Instances are
    picklable, and so are summaries, plans and evidence.
    """

    @property
    def name(self) -> str:
        """Name of the protocol, as in `data.split.by`."""
        ...

    @property
    def promise(self) -> str:
        """What `find_leaks` checks, in a sentence."""
        ...

    @property
    def needs_plan(self) -> bool:
        """Whether `assign` needs a plan."""
        ...

    def summarize(self, rows: Rows) -> Any:
        """What a plan needs to know of a block."""
        ...

    def merge(self, parts: Sequence[Any]) -> Any:
        """The summary of all rows of at least one part; associative and commutative."""
        ...

    def plan(self, whole: Any) -> Any:
        """Decides from the summary of all rows what is held out."""
        ...

    def assign(self, rows: Rows, plan: Any, entities: Entities) -> np.ndarray:
        """Assigns the rows of a block.

        Args:
            rows: Of the block; `rows.split` is ignored.
            plan: Of `plan`; None if `needs_plan` is False.
            entities: The users, items and files that the rows point into. Their tokens are hashed once, at the first
                call; an instance that assigns several blocks should be given the same object.

        Returns:
            Indices into `SPLITS`, `[rows]` int8.
        """
        ...

    def evidence(self, rows: Rows) -> Evidence:
        """Those of a block's assigned rows that can change the verdict of `find_leaks`, whatever other blocks hold."""
        ...

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """Distributes evidence over at most `count` parts, each of which can be checked by itself."""
        ...

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Looks for rows that break the promise.

        Args:
            evidence: Of all rows, or one of its parts.
            files: Names of files by number, for messages.

        Returns:
            One sentence for each kind of broken promise, with examples; empty if the promise holds.
        """
        ...


class Split(Frozen):
    """The base of the section `data.split`. Each module of `splits.protocols` holds one subclass and its protocol.

    Attributes:
        needs: Columns of the interactions that the protocol reads.
        respects_time: Whether no train row of a user is later than one of its held-out rows.
        by: Name of the protocol. A subclass gives the names that choose it as a `Literal`.
    """

    needs: ClassVar[tuple[Literal["user", "item", "time"], ...]] = ()
    respects_time: ClassVar[bool] = False

    by: str

    @abstractmethod
    def protocol(self, interactions: InteractionsTable) -> SplitProtocol:
        """The protocol with these settings.

        Args:
            interactions: Says which columns the dataset has.
        """

    def check(self, dataset: Dataset) -> None:
        """Checks that the dataset's columns are enough.

        Raises:
            ValueError: A column is missing; names it and another split.
        """
        self.require_roles(dataset.tables.interactions, self.needs)

    def check_num_rows(self, num_rows: int) -> None:
        """Checks the number of the interactions' rows, good and bad; most protocols take any.

        Raises:
            DataError: The protocol needs another number.
        """

    def own_column(self, interactions: InteractionsTable) -> str | None:
        """Column of the interactions' files that only the split reads; its values are in `SPLIT_VALUE`."""
        return None

    @property
    def known_values(self) -> tuple[str, ...]:
        """Values that `own_column` may hold; rows of others are malformed. Empty takes any value."""
        return ()

    def require_roles(self, interactions: InteractionsTable, roles: Sequence[str]) -> None:
        """Checks that the interactions have some columns.

        Args:
            interactions: The table.
            roles: `user`, `item` or `time`.

        Raises:
            ValueError: One is missing; names it and another split.
        """
        if missing := [f"interactions.{role}" for role in roles if getattr(interactions, role) is None]:
            raise ValueError(
                f"split by {self.by} needs {' and '.join(missing)}; name the column, or take a split that does "
                "without, as in split: {by: random}"
            )


class Shares(Split):
    """The base of splits with a share of rows in `test` and in `eval`.

    Attributes:
        test_fraction: Share of the rows (or keys, or users) that become `test`.
        eval_fraction: Share of the others that become `eval`.
    """

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)


class SeededShares(Shares):
    """Shares that are drawn by a hash or at random.

    Attributes:
        seed: Another seed draws other rows.
    """

    seed: int = Field(default=0, ge=0, lt=2**63)


def has_users_and_items(interactions: InteractionsTable) -> bool:
    """Whether (user, item) pairs are known."""
    return interactions.user is not None and interactions.item is not None
