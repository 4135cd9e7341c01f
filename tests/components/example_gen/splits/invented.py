"""Invented rows, and all protocols under one roof."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from components.example_gen.rows import ITEM, POSITION, ROW_TYPES, SPLIT_VALUE, TIME, TOKEN, USER, Entities, Rows
from components.example_gen.splits.config import SplitConfig
from components.example_gen.splits.evidence import Evidence, concatenate
from components.example_gen.splits.protocol import SplitProtocol
from trainer_module.data.tables import InteractionsTable

FILES = ("u.data", "b.csv")

CONFIGS = {
    "random": {},
    "random by row": {"key": "row"},
    "random by user": {"key": "user"},
    "random by item": {"key": "item"},
    "random by column": {"key": "country"},
    "user": {"by": "user"},
    "stratified": {"by": "stratified"},
    "time": {"by": "time"},
    "leave-last-out": {"by": "leave-last-out"},
    "column": {"by": "column", "column": "fold"},
    "column without eval": {"by": "column", "column": "fold", "eval": None},
    "u1": {"by": "u1"},
    "u5": {"by": "u5"},
}


def protocol(has_users_and_items: bool = True, **config) -> SplitProtocol:
    """The protocol that a section `data.split` describes."""
    keys = {"user": "customer", "item": "sku"} if has_users_and_items else {}
    interactions = InteractionsTable.model_validate({"files": "events.csv"} | keys)
    return TypeAdapter(SplitConfig).validate_python(config).protocol(interactions)


def named(name: str, **more) -> SplitProtocol:
    """One of `CONFIGS`."""
    return protocol(**CONFIGS[name], **more)


def make_entities(num_users: int, num_items: int, files: Sequence[str] = FILES) -> Entities:
    """Users and items with the numbers from 0 on as tokens."""

    def table(count: int) -> pa.Table:
        return pa.table({TOKEN: pa.array([str(number).encode() for number in range(count)], pa.large_binary())})

    return Entities(table(num_users), table(num_items), tuple(files))


def make_rows(user, item, time, position=None, values: Sequence[str] | None = None, split=None) -> Rows:
    """Rows in one block; positions are the lines from 1 on of the first file unless given."""
    columns = {
        POSITION: np.arange(1, len(user) + 1) if position is None else position,
        USER: user,
        ITEM: item,
        TIME: time,
        SPLIT_VALUE: [value.encode() for value in values or ["train"] * len(user)],
    }
    batch = pa.record_batch({name: pa.array(each, ROW_TYPES[name]) for name, each in columns.items()})
    return Rows(0, batch, None if split is None else np.array(split, np.int8))


def take(rows: Rows, chosen: np.ndarray) -> Rows:
    """Rows by index."""
    split = None if rows.split is None else rows.split[chosen]
    return Rows(rows.index, rows.batch.take(pa.array(chosen, pa.int64())), split)


def assign(of: SplitProtocol, blocks: Sequence[Rows], entities: Entities) -> np.ndarray:
    """Assigns blocks as an ingestion does."""
    plan = of.plan(of.merge([of.summarize(block) for block in blocks])) if of.needs_plan else None
    return np.concatenate([of.assign(block, plan, entities) for block in blocks])


def leaks_of(of: SplitProtocol, blocks: Sequence[Rows], count: int = 1) -> list[str]:
    """Checks assigned blocks as an ingestion does."""
    parts: dict[int, list[Evidence]] = {}
    for block in blocks:
        for part, evidence in of.parts(of.evidence(block), count).items():
            parts.setdefault(part, []).append(evidence)
    return [leak for part in parts.values() for leak in of.find_leaks(concatenate(part), FILES)]


def assigned(rows: Rows, split) -> Rows:
    """Rows with their split."""
    return dataclasses.replace(rows, split=np.array(split, np.int8))


def with_values(rows: Rows, values: Sequence[str]) -> Rows:
    """Rows with other split values."""
    at = rows.batch.schema.get_field_index(SPLIT_VALUE)
    encoded = pa.array([value.encode() for value in values], pa.large_binary())
    return dataclasses.replace(rows, batch=rows.batch.set_column(at, SPLIT_VALUE, encoded))


def fit(rows: Rows, name: str) -> Rows:
    """Rows that one of `CONFIGS` accepts: without the value `eval` where the config knows none."""
    if name != "column without eval":
        return rows
    values = rows.batch.column(SPLIT_VALUE).to_pylist()
    return with_values(rows, ["test" if value == b"test" else "train" for value in values])


def many_rows() -> tuple[Rows, Entities]:
    """100,000 rows with distinct pairs of 1,000 users and 400 items; some twenty share each second."""
    number = np.arange(100_000)
    pair = number * 7919 % 400_000
    time = number * 104_729 % 5_003 * 1_000_000
    folds = np.array(["train", "train", "eval", "test", "train"])[number % 5].tolist()
    return make_rows(pair // 400, pair % 400, time, values=folds), make_entities(1_000, 400)
