"""The distribution of every compared column in some examples, small enough to be kept beside them."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from components.drift.config import Kind
from trainer_module.data.example_files import write_parquet

# Numbers with more distinct values are kept as so many quantiles.
NUM_POINTS = 1000

_TOKENS_FILE, _FACTS_FILE = "tokens.parquet", "profile.json"


@dataclass(frozen=True)
class Tokens:
    """A column of tokens.

    Attributes:
        tokens: All distinct ones, large_binary.
        counts: How often each occurs, int64 `[tokens]`.
        missing: Rows without a token.
    """

    tokens: pa.Array
    counts: np.ndarray
    missing: int

    @property
    def total(self) -> int:
        """Tokens, and rows without one."""
        return int(self.counts.sum()) + self.missing


@dataclass(frozen=True)
class Numbers:
    """A column of numbers.

    Attributes:
        values: All distinct ones, or the `NUM_POINTS` quantiles of equal weight, float64, ascending.
        weights: Rows that each stands for, float64 `[values]`.
        missing: Rows without a number.
        mean: Of all numbers; 0 if there is none.
        deviation: Their standard deviation.
    """

    values: np.ndarray
    weights: np.ndarray
    missing: int
    mean: float
    deviation: float

    @property
    def total(self) -> float:
        """Rows."""
        return float(self.weights.sum()) + self.missing


Distribution: TypeAlias = Tokens | Numbers


@dataclass(frozen=True)
class Profile:
    """The compared columns of some rows.

    Attributes:
        rows: Number of rows that were looked at.
        columns: Distributions by column.
    """

    rows: int
    columns: Mapping[str, Distribution]


def profile_of(batches: Iterable[pa.RecordBatch], kinds: Mapping[str, Kind]) -> Profile:
    """Counts tokens and numbers.

    Args:
        batches: Rows with `large_list` columns.
        kinds: Of the columns to look at.
    """
    rows = 0
    tokens: dict[str, list[pa.Table]] = {name: [] for name, kind in kinds.items() if kind == "tokens"}
    numbers: dict[str, list[np.ndarray]] = {name: [] for name in kinds if name not in tokens}
    missing = dict.fromkeys(kinds, 0)
    for batch in batches:
        rows += batch.num_rows
        for name in kinds:
            lists = batch.column(name)
            empty = pc.equal(pc.fill_null(pc.list_value_length(lists), 0), 0)
            missing[name] += pc.sum(empty.cast(pa.int64())).as_py() or 0
            values = lists.flatten()
            if name in tokens:
                counted = pc.value_counts(_as_bytes(values))
                tokens[name].append(pa.table({"token": counted.field("values"), "count": counted.field("counts")}))
            else:
                numbers[name].append(values.to_numpy(zero_copy_only=False).astype(np.float64))
    columns: dict[str, Distribution] = {}
    for name in kinds:
        if name in tokens:
            columns[name] = _tokens(tokens[name], missing[name])
        else:
            columns[name] = _numbers(np.concatenate([np.empty(0), *numbers[name]]), missing[name])
    return Profile(rows, columns)


def save(profile: Profile, directory: str) -> None:
    """Writes a profile to a directory, local or remote, which is made."""
    tf.io.gfile.makedirs(directory)
    parts, facts = [], {}
    for name, column in profile.columns.items():
        if isinstance(column, Tokens):
            names = pa.array([name] * len(column.tokens), pa.string()).dictionary_encode()
            parts.append(pa.table({"column": names, "token": column.tokens, "count": column.counts}))
            facts[name] = {"kind": "tokens", "missing": column.missing}
        else:
            facts[name] = {
                "kind": "numbers",
                "values": column.values.tolist(),
                "weights": column.weights.tolist(),
                "missing": column.missing,
                "mean": column.mean,
                "deviation": column.deviation,
            }
    if parts:
        write_parquet(os.path.join(directory, _TOKENS_FILE), pa.concat_tables(parts).unify_dictionaries())
    with tf.io.gfile.GFile(os.path.join(directory, _FACTS_FILE), "w") as file:
        json.dump({"rows": profile.rows, "columns": facts}, file)


def load(directory: str) -> Profile | None:
    """Reads what `save` wrote; None if it is not there any more."""
    if not tf.io.gfile.exists(path := os.path.join(directory, _FACTS_FILE)):
        return None
    with tf.io.gfile.GFile(path) as file:
        content = json.load(file)
    by_column: dict[str, pa.Table] = {}
    if any(facts["kind"] == "tokens" for facts in content["columns"].values()):
        with tf.io.gfile.GFile(os.path.join(directory, _TOKENS_FILE), "rb") as file:
            table = pq.read_table(pa.BufferReader(file.read()))
        column = table.column("column").cast(pa.string())
        by_column = {name: table.filter(pc.equal(column, name)) for name in content["columns"]}
    columns: dict[str, Distribution] = {}
    for name, facts in content["columns"].items():
        if facts.pop("kind") == "tokens":
            of_column = by_column[name]
            tokens = of_column.column("token").combine_chunks()
            columns[name] = Tokens(tokens, of_column.column("count").to_numpy(), facts["missing"])
        else:
            arrays = {key: np.array(facts.pop(key), np.float64) for key in ("values", "weights")}
            columns[name] = Numbers(**arrays, **facts)
    return Profile(content["rows"], columns)


def _tokens(parts: list[pa.Table], missing: int) -> Tokens:
    if not parts:
        return Tokens(pa.array([], pa.large_binary()), np.empty(0, np.int64), missing)
    merged = pa.concat_tables(parts).group_by("token").aggregate([("count", "sum")])
    # The most frequent first, then in the order of their bytes: the same data give the same file.
    merged = merged.sort_by([("count_sum", "descending"), ("token", "ascending")])
    return Tokens(merged.column("token").combine_chunks(), merged.column("count_sum").to_numpy(), missing)


def _numbers(values: np.ndarray, missing: int) -> Numbers:
    known = values[~np.isnan(values)]
    missing += len(values) - len(known)
    if not len(known):
        return Numbers(np.empty(0), np.empty(0), missing, 0.0, 0.0)
    points, weights = np.unique(known, return_counts=True)
    if len(points) > NUM_POINTS:
        points = np.quantile(known, (np.arange(NUM_POINTS) + 0.5) / NUM_POINTS)
        weights = np.full(NUM_POINTS, len(known) / NUM_POINTS)
    return Numbers(points, weights.astype(np.float64), missing, float(known.mean()), float(known.std()))


def _as_bytes(values: pa.Array) -> pa.Array:
    if pa.types.is_large_binary(values.type):
        return values
    return values.cast(pa.large_string()).cast(pa.large_binary())
