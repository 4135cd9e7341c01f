"""The interface of split protocols, and the table of all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from components.example_gen.rows import Entities, Rows
from components.example_gen.splits.column import ColumnProtocol
from components.example_gen.splits.config import (
    ColumnSplit,
    FoldSplit,
    LeaveLastOutSplit,
    RandomSplit,
    SplitConfig,
    StratifiedSplit,
    TimeSplit,
    UserSplit,
)
from components.example_gen.splits.evidence import Evidence
from components.example_gen.splits.folds import FoldProtocol
from components.example_gen.splits.leave_last_out import LeaveLastOutProtocol
from components.example_gen.splits.random import PAIR, ROW, RandomProtocol
from components.example_gen.splits.stratified import StratifiedProtocol
from components.example_gen.splits.time import TimeProtocol
from components.example_gen.splits.user import user_protocol


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


def _random(config: RandomSplit, has_users_and_items: bool) -> SplitProtocol:
    return RandomProtocol(config, config.key or (PAIR if has_users_and_items else ROW))


# Each gets its config, and whether the dataset has users and items.
_PROTOCOLS: Mapping[type, Callable[[Any, bool], SplitProtocol]] = {
    RandomSplit: _random,
    UserSplit: lambda config, _: user_protocol(config),
    StratifiedSplit: lambda config, _: StratifiedProtocol(config),
    TimeSplit: lambda config, _: TimeProtocol(config),
    LeaveLastOutSplit: lambda *_: LeaveLastOutProtocol(),
    ColumnSplit: ColumnProtocol,
    FoldSplit: lambda config, _: FoldProtocol(config),
}


def protocol_of(config: SplitConfig, has_users_and_items: bool) -> SplitProtocol:
    """The protocol that a config describes.

    Args:
        config: Of the split. A key of `random` that names the user's or the item's column is given as `user` or `item`.
        has_users_and_items: Whether the dataset has users and items. It decides what is hashed where the config leaves
            that open.
    """
    return _PROTOCOLS[type(config)](config, has_users_and_items)
