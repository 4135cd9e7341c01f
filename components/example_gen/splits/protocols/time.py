"""The protocol `time`: the last rows are `test`, the last ones before them `eval`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.example_gen.rows import SPLITS, TIME, Entities, Rows, describe_places
from components.example_gen.splits.assignment import choose
from components.example_gen.splits.evidence import Evidence
from components.example_gen.splits.protocol import Shares
from trainer_module.data.tables import InteractionsTable


class TimeSplit(Shares):
    """The last rows in time are `test`, the last ones before them `eval`; equal times stay together."""

    needs = ("time",)
    respects_time = True

    by: Literal["time"] = "time"

    def protocol(self, interactions: InteractionsTable) -> "TimeProtocol":
        return TimeProtocol(self)


@dataclass(frozen=True)
class TimeCounts:
    """How many rows each time has: 16 bytes per distinct time.

    Attributes:
        times: Distinct, ascending, `[n]` int64, microseconds since 1970.
        counts: Rows of each, `[n]` int64.
    """

    times: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class TimeCuts:
    """Rows from `eval_from` on are `eval`, from `test_from` on `test`. Microseconds since 1970."""

    eval_from: int
    test_from: int


class TimeProtocol:
    """Cuts the rows at two times.

    Promise: every `test` row is later than every `eval` row, and every `eval` row is later than every `train` row. Rows
    of equal time are in one split. Fractions are met as nearly as rows of equal time allow.
    """

    needs_plan = True
    name = "time"
    promise = "Every test row is later than every eval row, and every eval row is later than every train row."

    def __init__(self, config: TimeSplit):
        """Takes the fractions from the config."""
        self._config = config

    def summarize(self, rows: Rows) -> TimeCounts:
        """Counts the rows of each time in a block."""
        return TimeCounts(*np.unique(rows.column(TIME), return_counts=True))

    def merge(self, parts: Sequence[TimeCounts]) -> TimeCounts:
        """Adds counts; at least one part."""
        times, inverse = np.unique(np.concatenate([part.times for part in parts]), return_inverse=True)
        counts = np.zeros(len(times), np.int64)
        np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
        return TimeCounts(times, counts)

    def plan(self, whole: TimeCounts) -> TimeCuts:
        """Finds the cuts that meet the fractions best."""
        before = np.concatenate([[0], np.cumsum(whole.counts)])
        test_at = int(np.argmin(np.abs(before - before[-1] * (1 - self._config.test_fraction))))
        eval_at = int(np.argmin(np.abs(before - before[test_at] * (1 - self._config.eval_fraction))))
        # A cut one past the last time holds no row out. There is no time at all if every row is bad.
        times = [*whole.times.tolist(), whole.times.tolist()[-1] + 1 if len(whole.times) else 0]
        return TimeCuts(times[eval_at], times[test_at])

    def assign(self, rows: Rows, plan: TimeCuts, entities: Entities) -> np.ndarray:
        """Assigns rows; see `SplitProtocol.assign`."""
        time = rows.column(TIME)
        return choose(time >= plan.test_from, time >= plan.eval_from)

    def evidence(self, rows: Rows) -> Evidence:
        """The earliest and the latest row of each split."""
        all_rows = Evidence.of(rows, time=rows.column(TIME))
        ends = []
        for split in range(len(SPLITS)):
            members = np.flatnonzero(all_rows.split == split)
            if len(members):
                ends += [members[np.argmin(all_rows.time[members])], members[np.argmax(all_rows.time[members])]]
        return all_rows.take(np.unique(np.array(ends, np.int64)))

    def parts(self, evidence: Evidence, count: int) -> dict[int, Evidence]:
        """One part: the promise is about all rows, and evidence is at most six rows per block."""
        return {0: evidence}

    def find_leaks(self, evidence: Evidence, files: Sequence[str]) -> list[str]:
        """Looks for rows that are not later than all rows of an earlier split."""
        leaks = []
        for a in range(len(SPLITS)):
            for b in range(a + 1, len(SPLITS)):
                earlier, later = evidence.take(evidence.split == a), evidence.take(evidence.split == b)
                if not len(earlier.time) or not len(later.time):
                    continue
                i, j = int(np.argmax(earlier.time)), int(np.argmin(later.time))
                if earlier.time[i] >= later.time[j]:
                    leaks.append(
                        f"{SPLITS[b]} does not lie after {SPLITS[a]}: {_describe(earlier, i, files)} is in "
                        f"{SPLITS[a]}, {_describe(later, j, files)} in {SPLITS[b]}"
                    )
        return leaks


def _describe(rows: Evidence, row: int, files: Sequence[str]) -> str:
    moment = np.datetime_as_string(np.datetime64(int(rows.time[row]), "us"), unit="auto")
    return f"{describe_places(rows.position[row : row + 1], files)} (time {moment} UTC)"


SPLIT = TimeSplit
