"""The protocol `leave-last-out`: each user's last row is `test`, the one before it `eval`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.example_gen.rows import POSITION, SPLITS, TIME, TRAIN, USER, Entities, Rows
from components.example_gen.splits.assignment import HeldOut, choose, from_end, run_lengths
from components.example_gen.splits.evidence import Evidence, describe_pairs, parts_by_key
from components.example_gen.splits.protocol import Split
from trainer_module.data.tables import InteractionsTable

_MIN_ROWS_TO_LEAVE_OUT = 3
# The last two rows of each user and split show whether the split has more than one, and whether they are in order.
_LAST_KEPT = 2


class LeaveLastOutSplit(Split):
    """Each user's last row is `test` and the one before it `eval`; users with fewer than three rows are all `train`."""

    needs = ("time", "user")
    respects_time = True

    by: Literal["leave-last-out"] = "leave-last-out"

    def protocol(self, interactions: InteractionsTable) -> "LeaveLastOutProtocol":
        return LeaveLastOutProtocol()


@dataclass(frozen=True)
class LastRows:
    """The last rows of each user, by time and then by position: 24 bytes per row.

    Attributes:
        user: `[n]` int64; at most three entries per user, as more cannot matter.
        time: `[n]` int64, microseconds since 1970.
        position: `[n]` int64.
    """

    user: np.ndarray
    time: np.ndarray
    position: np.ndarray


class LeaveLastOutProtocol:
    """Holds out the last two rows of each user that has at least three; the other rows are `train`.

    Promise: each user has at most one `test` row, later than its `eval` row, of which there is at most one, and that is
    later than all its `train` rows. Of rows at equal times the one at the greater position is later. A user may have
    the same item in two splits.

    The plan holds the positions of two rows per user: 16 bytes per user in every worker.
    """

    needs_plan = True
    name = "leave-last-out"
    promise = "Each user's last row is the only one in test, and the row before it is the only one in eval."

    def summarize(self, rows: Rows) -> LastRows:
        """Keeps the last three rows of each user in a block."""
        return _keep_last(LastRows(rows.column(USER), rows.column(TIME), rows.column(POSITION)))

    def merge(self, parts: Sequence[LastRows]) -> LastRows:
        """Keeps the last three rows of each user in all parts; at least one part."""
        return _keep_last(
            LastRows(
                *(np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "time", "position"))
            )
        )

    def plan(self, whole: LastRows) -> HeldOut:
        """Chooses the last and the second to last row of each user with at least three."""
        lengths, place = run_lengths(whole.user), from_end(whole.user)
        enough = np.repeat(lengths >= _MIN_ROWS_TO_LEAVE_OUT, lengths)
        return HeldOut(
            test=np.sort(whole.position[enough & (place == 0)]),
            evaluation=np.sort(whole.position[enough & (place == 1)]),
        )

    def assign(self, rows: Rows, plan: HeldOut, entities: Entities) -> np.ndarray:
        """Assigns rows; see `SplitProtocol.assign`."""
        position = rows.column(POSITION)
        return choose(np.isin(position, plan.test), np.isin(position, plan.evaluation))

    def evidence(self, rows: Rows) -> Evidence:
        """The last two rows of each user and split."""
        evidence = Evidence.of(rows, rows.column(USER), rows.column(TIME))
        order = np.lexsort((evidence.position, evidence.time, evidence.split, evidence.key))
        group = evidence.key[order] * len(SPLITS) + evidence.split[order]
        # A row is kept unless the row two places later is of the same user and split.
        kept = np.ones(len(order), bool)
        kept[:-_LAST_KEPT] = group[:-_LAST_KEPT] != group[_LAST_KEPT:]
        return evidence.take(order[kept])

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """Parts by user."""
        return parts_by_key(evidence, count)

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Looks for users whose splits go back in time, or who have two rows in a held-out split."""
        order = np.lexsort((evidence.position, evidence.time, evidence.key))
        user, split, position = evidence.key[order], evidence.split[order], evidence.position[order]
        same_user = user[1:] == user[:-1]
        back, twice = split[1:] < split[:-1], (split[1:] == split[:-1]) & (split[1:] != TRAIN)
        leaks = []
        for a, b in sorted({(int(split[i]), int(split[i + 1])) for i in np.flatnonzero(same_user & (back | twice))}):
            pairs = np.flatnonzero(same_user & (split[:-1] == a) & (split[1:] == b))
            problem = (
                f"a user has two rows in {SPLITS[a]}"
                if a == b
                else f"a user's row in {SPLITS[a]} is earlier than one in {SPLITS[b]}"
            )
            leaks.append(f"{problem}: {describe_pairs(position[pairs], position[pairs + 1], files)}")
        return leaks


def _keep_last(rows: LastRows) -> LastRows:
    order = np.lexsort((rows.position, rows.time, rows.user))
    kept = order[from_end(rows.user[order]) < _MIN_ROWS_TO_LEAVE_OUT]
    return LastRows(rows.user[kept], rows.time[kept], rows.position[kept])


SPLIT = LeaveLastOutSplit
