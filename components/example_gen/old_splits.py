"""Assigns rows to `train`, `eval` and `test`.

Blocks of rows are assigned one by one. Three protocols need to know something of all rows first (`summary`, merged
over blocks, then `plan`): `time` its cuts, `leave-last-out` the last rows of each user, `stratified` the lines of each
user. The others look at the row alone.

`stratified` draws as `python_stratified_split(data, ratio, filter_by="user", seed=seed)` does (Recommenders team,
github.com/recommenders-team/recommenders, python_splitters.py), so that results on its splits compare: each line of the
file gets a random number, each user's rows are ordered by theirs, and those whose rank exceeds `ratio` times the user's
number of rows are test rows.

Hashing: each distinct identifier is hashed once with BLAKE2b, keyed by the seed; pairs are then mixed from the two
64-bit values by the finalizer of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014). That is vectorized, needs no state, and gives the same split on every machine and in every run, for a
row that stays the same whatever other rows are added or in whatever order they stand.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.example_gen.catalog import Catalog
from components.example_gen.config import IngestConfig
from trainer_module.errors import DataError

SPLITS = ("train", "eval", "test")
TRAIN, EVAL, TEST = range(len(SPLITS))

FOLD_LINES = 20_000
FOLDED_LINES = 100_000
_MIN_ROWS_TO_LEAVE_OUT = 3


@dataclass(frozen=True)
class TimeCounts:
    """How many rows each time has: 16 bytes a distinct second.

    Attributes:
        times: Distinct, ascending, `[n]` int64.
        counts: Rows of each, `[n]` int64.
    """

    times: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class LastRows:
    """The last rows of each user, by time and then by line: 32 bytes a row.

    Attributes:
        user: `[n]` int64, at most three entries a user, as more cannot matter.
        timestamp: `[n]` int64.
        line: `[n]` int64.
    """

    user: np.ndarray
    timestamp: np.ndarray
    line: np.ndarray


@dataclass(frozen=True)
class UserLines:
    """Which user each line is of: 16 bytes a row.

    Attributes:
        user: `[n]` int64.
        line: `[n]` int64.
    """

    user: np.ndarray
    line: np.ndarray


@dataclass(frozen=True)
class TimeCuts:
    """Rows from `eval_from` on are `eval`, from `test_from` on `test`. Seconds since 1970."""

    eval_from: int
    test_from: int


@dataclass(frozen=True)
class HeldOutLines:
    """Line numbers of the `eval` and `test` rows, ascending.

    Attributes:
        eval_lines: None leaves the choice, among the other rows, to their hashes.
        test_lines: `[n]` int64.
    """

    eval_lines: np.ndarray | None
    test_lines: np.ndarray


Summary = TimeCounts | LastRows | UserLines
Plan = TimeCuts | HeldOutLines


def needs_plan(protocol: str) -> bool:
    """Whether `assign` needs a `Plan`."""
    return protocol in ("time", "leave-last-out", "stratified")


def fold_lines(protocol: str) -> range | None:
    """Line numbers of the test rows of `u1` to `u5`; None for other protocols."""
    if protocol not in ("u1", "u2", "u3", "u4", "u5"):
        return None
    fold = int(protocol[1:])
    return range(FOLD_LINES * (fold - 1) + 1, FOLD_LINES * fold + 1)


def check_num_lines(protocol: str, num_lines: int) -> None:
    """Checks that the file has the lines that the protocol counts on.

    Raises:
        DataError: An official fold is asked for on something else than 100,000 lines.
    """
    if fold_lines(protocol) is not None and num_lines != FOLDED_LINES:
        raise DataError(
            f"data.protocol: {protocol} is a fold of MovieLens 100K, given by line numbers of u.data, and needs "
            f"exactly {FOLDED_LINES:,} lines; this u.data has {num_lines:,}. Take one of: random, user, time, "
            "leave-last-out, stratified."
        )


def summary(protocol: str, rows: pa.RecordBatch) -> Summary:
    """What a `Plan` needs to know of a block of rows."""
    timestamp = rows.column("timestamp").to_numpy()
    if protocol == "time":
        return TimeCounts(*np.unique(timestamp, return_counts=True))
    if protocol == "stratified":
        return UserLines(rows.column("user").to_numpy(), rows.column("line").to_numpy())
    return _keep_last(LastRows(rows.column("user").to_numpy(), timestamp, rows.column("line").to_numpy()))


def merge(parts: Sequence[Summary]) -> Summary:
    """The summary of all rows that at least one part was made from.

    Raises:
        ValueError: There are no parts, or they are of different kinds.
    """
    if all(isinstance(part, TimeCounts) for part in parts) and parts:
        times, inverse = np.unique(np.concatenate([part.times for part in parts]), return_inverse=True)
        counts = np.zeros(len(times), np.int64)
        np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
        return TimeCounts(times, counts)
    if all(isinstance(part, LastRows) for part in parts) and parts:
        names = ("user", "timestamp", "line")
        return _keep_last(LastRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)))
    if all(isinstance(part, UserLines) for part in parts) and parts:
        return UserLines(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "line")))
    raise ValueError(f"cannot merge {[type(part).__name__ for part in parts]}")


def plan(config: IngestConfig, whole: Summary) -> Plan:
    """Decides, from the summary of all rows, what is held out.

    Args:
        config: With `time`, its fractions are met as nearly as rows of equal time allow.
        whole: Merged over all blocks.

    Returns:
        What `assign` needs.
    """
    if isinstance(whole, TimeCounts):
        num_rows = int(whole.counts.sum())
        before = np.concatenate([[0], np.cumsum(whole.counts)])
        test_at = int(np.argmin(np.abs(before - num_rows * (1 - config.test_fraction))))
        eval_at = int(np.argmin(np.abs(before - before[test_at] * (1 - config.eval_fraction))))
        # One past the last second stands for "no row"; there may be none at all, if every row is bad.
        times = np.append(whole.times, whole.times[-1] + 1 if num_rows else 0)
        return TimeCuts(int(times[eval_at]), int(times[test_at]))
    if isinstance(whole, UserLines):
        return HeldOutLines(None, draw_test_lines(whole, config.test_fraction, config.seed))
    # Ascending by user, time and line, so that a user's entries end with the last row.
    from_end = _position_from_end(whole.user)
    enough = np.repeat(_run_lengths(whole.user) >= _MIN_ROWS_TO_LEAVE_OUT, _run_lengths(whole.user))
    return HeldOutLines(
        eval_lines=np.sort(whole.line[enough & (from_end == 1)]),
        test_lines=np.sort(whole.line[enough & (from_end == 0)]),
    )


class Splitter:
    """Assigns rows to splits under one configuration.

    Attributes:
        config: The configuration.
    """

    def __init__(self, config: IngestConfig, catalog: Catalog):
        """Hashes the identifiers, if the protocol needs them.

        Args:
            config: Protocol, fractions and seed.
            catalog: The users and items that rows point into.
        """
        self.config = config
        if config.protocol not in ("time", "leave-last-out"):
            self._user_hash = _hash_tokens(catalog.users["id"].to_pylist(), "user", config.seed)
            self._item_hash = _hash_tokens(catalog.items["id"].to_pylist(), "item", config.seed)

    def assign(self, rows: pa.RecordBatch, plan: Plan | None) -> np.ndarray:
        """Assigns a block of rows.

        Args:
            rows: Under `catalog.ROWS_SCHEMA`.
            plan: Of `plan`; None for protocols that do without.

        Returns:
            Indices into `SPLITS`, `[rows]` int8.
        """
        if isinstance(plan, TimeCuts):
            timestamp = rows.column("timestamp").to_numpy()
            return choose(timestamp >= plan.test_from, timestamp >= plan.eval_from)
        line = rows.column("line").to_numpy()
        if isinstance(plan, HeldOutLines) and plan.eval_lines is not None:
            return choose(np.isin(line, plan.test_lines), np.isin(line, plan.eval_lines))
        hashes = self._user_hash[rows.column("user").to_numpy()]
        if self.config.protocol != "user":
            hashes = mix(hashes ^ mix(self._item_hash[rows.column("item").to_numpy()]))
        test = uniform(mix(hashes ^ np.uint64(TEST))) < self.config.test_fraction
        if fold := fold_lines(self.config.protocol):
            test = (line >= fold.start) & (line < fold.stop)
        if isinstance(plan, HeldOutLines):
            test = np.isin(line, plan.test_lines)
        return choose(test, uniform(mix(hashes ^ np.uint64(EVAL))) < self.config.eval_fraction)


def choose(test: np.ndarray, evaluation: np.ndarray) -> np.ndarray:
    """Indices into `SPLITS`, `[rows]` int8, from two masks `[rows]`; what is in both is `test`."""
    return np.where(test, TEST, np.where(evaluation, EVAL, TRAIN)).astype(np.int8)


def _hash_tokens(tokens: Sequence[str], role: str, seed: int) -> np.ndarray:
    """64-bit hashes `[tokens]`; users and items that share a name differ by their role."""
    key = f"{role}:{seed}".encode()
    digests = b"".join(hashlib.blake2b(token.encode(), digest_size=8, key=key).digest() for token in tokens)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 over its first state, elementwise on uint64 (arithmetic modulo 2^64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def uniform(hashes: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) from the upper 53 bits, all that a float64 holds."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _keep_last(rows: LastRows) -> LastRows:
    order = np.lexsort((rows.line, rows.timestamp, rows.user))
    user = rows.user[order]
    kept = order[_position_from_end(user) < _MIN_ROWS_TO_LEAVE_OUT]
    return LastRows(rows.user[kept], rows.timestamp[kept], rows.line[kept])


def draw_test_lines(rows: UserLines, test_fraction: float, seed: int) -> np.ndarray:
    """Lines of the test rows of `stratified`, ascending.

    Args:
        rows: All of them.
        test_fraction: Of each user's rows.
        seed: Of the draws.
    """
    of_line = np.random.RandomState(seed).rand(rows.line.max(initial=0))
    order = np.lexsort((of_line[rows.line - 1], rows.user))
    lengths = _run_lengths(rows.user[order])
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    rank = np.arange(1, len(order) + 1) - firsts
    return np.sort(rows.line[order[rank / np.repeat(lengths, lengths) > 1 - test_fraction]])


def _run_lengths(groups: np.ndarray) -> np.ndarray:
    """Lengths of the runs of equal values in a sorted array."""
    return np.unique(groups, return_counts=True)[1]


def _position_from_end(groups: np.ndarray) -> np.ndarray:
    """0 for the last of each run of equal values in a sorted array, 1 for the one before it, and so on."""
    lengths = _run_lengths(groups)
    return np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(len(groups))
