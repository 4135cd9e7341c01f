"""Users and items with their attributes: parses `u.user` and `u.item`, and resolves the identifiers of ratings.

A catalog is held in memory by every worker process, as ratings are joined with it row by row: some hundred bytes
for each user and item. What grows without bound, the ratings, is never held as a whole.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from components.example_gen.bad_rows import BadRow, bad_row
from components.example_gen.layout import (
    GENRES,
    ITEM_ENCODING,
    ITEMS_FILE,
    RATINGS_FILE,
    USER_ENCODING,
    USERS_FILE,
)
from components.example_gen.ratings import split_lines

_MAX_AGE = 150
_FIELD_NAMES = {
    USERS_FILE: ("user", "age", "gender", "occupation", "zip code"),
    ITEMS_FILE: (
        "item",
        "title",
        "release date",
        "video release date",
        "URL",
        *(f"flag {g!r}" for g in GENRES),
    ),
}
_INTEGER = re.compile(r"[0-9]{1,4}", re.ASCII)

USERS_SCHEMA = pa.schema(
    [("id", pa.string()), ("age", pa.int64()), ("gender", pa.string()), ("occupation", pa.string())]
)
ITEMS_SCHEMA = pa.schema(
    [("id", pa.string()), ("title", pa.string()), ("release_year", pa.int64()),
     ("genres", pa.large_list(pa.string()))]
)  # fmt: skip
ROWS_SCHEMA = pa.schema(
    [("user", pa.int64()), ("item", pa.int64()), ("rating", pa.float32()), ("timestamp", pa.int64()),
     ("line", pa.int64())]
)  # fmt: skip


@dataclass(frozen=True)
class Catalog:
    """All users and items of a dataset.

    Attributes:
        users: Under `USERS_SCHEMA`; identifiers are unique.
        items: Under `ITEMS_SCHEMA`, `release_year` null when unknown; identifiers are unique.
    """

    users: pa.Table
    items: pa.Table

    @cached_property
    def user_index(self) -> dict[str, int]:
        """Row of `users` by identifier."""
        return {token: index for index, token in enumerate(self.users["id"].to_pylist())}

    @cached_property
    def item_index(self) -> dict[str, int]:
        """Row of `items` by identifier."""
        return {token: index for index, token in enumerate(self.items["id"].to_pylist())}


def parse_catalog(users: bytes, items: bytes) -> tuple[Catalog, list[BadRow]]:
    """Parses both attribute files.

    Args:
        users: Contents of `u.user`.
        items: Contents of `u.item`.

    Returns:
        The catalog of the good rows, and the others. A repeated identifier is a bad row.
    """
    user_table, bad_users = _parse_table(users, USERS_FILE, USER_ENCODING, USERS_SCHEMA, _parse_user)
    item_table, bad_items = _parse_table(items, ITEMS_FILE, ITEM_ENCODING, ITEMS_SCHEMA, _parse_item)
    return Catalog(user_table, item_table), bad_users + bad_items


def resolve(
    batch: pa.RecordBatch, catalog: Catalog, data: bytes, first_line: int
) -> tuple[pa.RecordBatch, list[BadRow]]:
    """Replaces user and item identifiers by their rows in the catalog.

    Args:
        batch: Parsed ratings.
        catalog: Known users and items.
        data: The bytes that `batch` was parsed from; quoted for rows that point nowhere.
        first_line: Number of the first line of `data`.

    Returns:
        Rows under `ROWS_SCHEMA`, and the rows whose user or item is not in the catalog.
    """
    user = _lookup(batch.column("user"), catalog.user_index)
    item = _lookup(batch.column("item"), catalog.item_index)
    bad = []
    unknown = np.flatnonzero((user < 0) | (item < 0))
    if len(unknown):
        lines = split_lines(data)
        for row in unknown.tolist():
            name, file = ("user", USERS_FILE) if user[row] < 0 else ("item", ITEMS_FILE)
            line = batch.column("line")[row].as_py()
            problem = f"{name} {batch.column(name)[row].as_py()!r} is not in {file}, or its row there is bad"
            bad.append(bad_row(RATINGS_FILE, line, problem, lines[line - first_line]))
    rating = batch.column("rating").cast(pa.float32(), safe=False)
    resolved = pa.RecordBatch.from_arrays(
        [pa.array(user), pa.array(item), rating, batch.column("timestamp"), batch.column("line")],
        schema=ROWS_SCHEMA,
    )
    return (resolved.filter(pa.array((user >= 0) & (item >= 0))) if bad else resolved), bad


def _lookup(tokens: pa.Array, index: dict[str, int]) -> np.ndarray:
    """Rows `[len(tokens)]` int64; -1 for unknown tokens. Looks up each distinct token once."""
    encoded = tokens.dictionary_encode()
    rows = np.array([index.get(token, -1) for token in encoded.dictionary.to_pylist()], np.int64)
    return rows[encoded.indices.to_numpy()]


def _parse_table(
    data: bytes,
    file: str,
    encoding: str,
    schema: pa.Schema,
    parse: Callable[[list[str]], tuple[Any, ...] | str],
) -> tuple[pa.Table, list[BadRow]]:
    good: dict[str, tuple[Any, ...]] = {}
    first_seen: dict[str, int] = {}
    bad = []
    names = _FIELD_NAMES[file]
    for number, line in enumerate(split_lines(data), start=1):
        try:
            fields = line.decode(encoding).split("|")
        except UnicodeDecodeError as error:
            bad.append(bad_row(file, number, f"not in encoding {encoding} ({error.reason})", line))
            continue
        row: tuple[Any, ...] | str
        if len(fields) != len(names):
            row = f"{len(fields)} column(s); expected {len(names)}, separated by '|': {', '.join(names)}"
        elif not fields[0].strip():
            row = f"{names[0]} is empty; expected an identifier"
        elif fields[0] in good:
            row = f"{names[0]} {fields[0]!r} already stands in line {first_seen[fields[0]]}"
        else:
            row = parse(fields)
        if isinstance(row, str):
            bad.append(bad_row(file, number, row, line))
        else:
            good[fields[0]] = row
            first_seen[fields[0]] = number
    columns = list(zip(*good.values(), strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema), bad


def _parse_user(fields: list[str]) -> tuple[Any, ...] | str:
    user, age, gender, occupation, _ = fields
    if not _INTEGER.fullmatch(age) or int(age) > _MAX_AGE:
        return f"age {age!r} is not a number of years; expected 0 to {_MAX_AGE}"
    for name, value in (("gender", gender), ("occupation", occupation)):
        if not value.strip():
            return f"{name} is empty"
    return user, int(age), gender, occupation


def _parse_item(fields: list[str]) -> tuple[Any, ...] | str:
    item, title, date = fields[:3]
    flags = fields[5:]
    if not title.strip():
        return "title is empty"
    year = None
    if date:
        try:
            year = datetime.strptime(date, "%d-%b-%Y").year
        except ValueError:
            return f"release date {date!r} is not a date; expected one like '01-Jan-1995', or nothing"
    if wrong := [f"{name} is {flag!r}" for name, flag in zip(GENRES, flags, strict=True) if flag not in ("0", "1")]:
        return f"genre flag {wrong[0]}; expected 0 or 1"
    return item, title, year, [name for name, flag in zip(GENRES, flags, strict=True) if flag == "1"]
