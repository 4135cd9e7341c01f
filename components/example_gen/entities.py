"""Users and items: their tables, and those that only interactions name.

All users and items are held in memory by every worker process, some hundred bytes each. What grows without bound, the
interactions, is never held as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.conversion import (
    ITEM_TOKEN,
    USER_TOKEN,
    as_lists,
    convert_entities,
    entity_columns,
)
from components.example_gen.output.bad_rows import BadRow, bad_row
from components.example_gen.readers.blocks import check_columns, find_files, find_pieces, read
from components.example_gen.rows import ITEM, TOKEN, USER, Entities
from trainer_module.data.dataset import Dataset
from trainer_module.data.spec import DatasetSpec
from trainer_module.data.tables import MISSING_TOKEN, EntityTable

# Tables of entities by the role that interactions give them, and the columns of rows.
_TABLES = {"user": "users", "item": "items"}
_TOKENS = {"user": USER_TOKEN, "item": ITEM_TOKEN}
_INDICES = {"user": USER, "item": ITEM}


@dataclass(frozen=True)
class EntityTables:
    """The tables of users and items as their files have them.

    Attributes:
        by_role: A table per role, `user` and `item`, that has files: tokens in `TOKEN`, distinct, and features as
            `large_list` columns.
        bad_rows: The malformed rows.
    """

    by_role: dict[str, pa.Table]
    bad_rows: tuple[BadRow, ...]


@dataclass(frozen=True)
class SeenTokens:
    """Distinct tokens of users and items in some interactions, large_binary, by role."""

    by_role: dict[str, pa.Array]


def read_entity_tables(directory: str, dataset: Dataset) -> EntityTables:
    """Reads the tables of users and items.

    Args:
        directory: Below which the files lie.
        dataset: Describes the tables.

    Raises:
        DataError: A file is missing, damaged or lacks a column.
    """
    tables, bad_rows = {}, []
    for role, name in _TABLES.items():
        if table := getattr(dataset.tables, name):
            tables[role], bad = _read_entity_table(directory, dataset, table, name)
            bad_rows += bad
    return EntityTables(tables, tuple(bad_rows))


def roles(dataset: Dataset) -> list[str]:
    """The roles that the interactions name: `user`, `item`, both or none."""
    return [role for role in _TABLES if getattr(dataset.tables.interactions, role)]


def known_tokens(dataset: Dataset, tables: EntityTables) -> dict[str, pa.Array]:
    """By role, the only tokens that interactions may hold, where their table says that others are malformed."""
    strict = {
        role for role, name in _TABLES.items() if (t := getattr(dataset.tables, name)) and t.unmatched == "bad_row"
    }
    return {role: table[TOKEN].combine_chunks() for role, table in tables.by_role.items() if role in strict}


def open_roles(dataset: Dataset) -> list[str]:
    """The roles whose entities are known only once all interactions are read."""
    closed = {r for r, name in _TABLES.items() if (t := getattr(dataset.tables, name)) and t.unmatched == "bad_row"}
    return [role for role in roles(dataset) if role not in closed]


def seen_tokens(batch: pa.RecordBatch, of_roles: Sequence[str]) -> SeenTokens:
    """The distinct tokens of a batch of converted interactions."""
    return SeenTokens({role: batch.column(_TOKENS[role]).unique() for role in of_roles})


def merge_seen(parts: Sequence[SeenTokens]) -> SeenTokens:
    """The distinct tokens of several batches; one part at least."""
    return SeenTokens(
        {
            role: pa.chunked_array([part.by_role[role] for part in parts], pa.large_binary()).unique()
            for role in parts[0].by_role
        }
    )


def in_order(seen: SeenTokens) -> SeenTokens:
    """The same tokens, sorted. Once for all interactions, since to sort millions takes longer than to merge them."""
    return SeenTokens({role: tokens.take(pc.sort_indices(tokens)) for role, tokens in seen.by_role.items()})


def complete(dataset: Dataset, tables: EntityTables, seen: SeenTokens, files: Sequence[str]) -> Entities:
    """All users and items: those of the tables in their order, then those that only interactions name, sorted.

    Args:
        dataset: Gives roles and features.
        tables: Of `read_entity_tables`.
        seen: Of all interactions, for `open_roles`, sorted.
        files: Names of the interactions' files, by number.
    """
    spec = dataset.spec()
    users = _complete(dataset, spec, tables, seen, "user")
    items = _complete(dataset, spec, tables, seen, "item")
    listed = tables.by_role["item"].num_rows if "item" in tables.by_role else items.num_rows if items else 0
    return Entities(users, items, tuple(files), listed)


def look_up(batch: pa.RecordBatch, entities: Entities) -> pa.RecordBatch:
    """Replaces the tokens of users and items by their rows in `entities`."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    for role, index in (("user", entities.user_index), ("item", entities.item_index)):
        if index is not None:
            encoded = columns.pop(_TOKENS[role]).dictionary_encode()
            rows = index.places(encoded.dictionary)
            columns[_INDICES[role]] = pa.array(rows, mask=rows < 0).take(encoded.indices)
    return pa.RecordBatch.from_pydict(columns)


def _complete(
    dataset: Dataset, spec: DatasetSpec, tables: EntityTables, seen: SeenTokens, role: str
) -> pa.Table | None:
    if role not in roles(dataset):
        return None
    table = tables.by_role.get(role)
    if role not in seen.by_role:
        assert table is not None
        return table
    tokens = seen.by_role[role]
    if table is not None:
        tokens = tokens.filter(pc.invert(pc.is_in(tokens, table[TOKEN].combine_chunks())))
    described = getattr(dataset.tables, _TABLES[role])
    missing = _without_attributes(tokens, dataset, spec, described)
    return missing if table is None else pa.concat_tables([table, missing])


def _without_attributes(tokens: pa.Array, dataset: Dataset, spec: DatasetSpec, table: EntityTable | None) -> pa.Table:
    """Entities of which nothing but the token is known."""
    schema = _entity_schema(spec, table)
    slices, count = set(dataset.slice_columns), len(tokens)
    columns: list[tuple[str, pa.Array]] = [(TOKEN, tokens)]
    for name in schema.names[1:]:
        values = [MISSING_TOKEN.encode()] * count if name in slices else [None] * count
        columns += as_lists([(name, pa.array(values, schema.field(name).type.value_type))], schema).items()
    return pa.Table.from_pydict(dict(columns), schema=schema)


def _entity_schema(spec: DatasetSpec, table: EntityTable | None) -> pa.Schema:
    features = spec.features.arrow_schema()
    names = [entry.feature_name for entry in table.entries()] if table else []
    if table and table.title_feature in features.names and table.title_feature not in names:
        names.insert(0, table.title_feature)
    return pa.schema([pa.field(TOKEN, pa.large_binary()), *(features.field(name) for name in names)])


def _read_entity_table(
    directory: str, dataset: Dataset, table: EntityTable, name: str
) -> tuple[pa.Table, list[BadRow]]:
    wanted = entity_columns(dataset, table)
    files = find_files(directory, table, name)
    check_columns(files, table, wanted, f"data.{name}")
    schema = _entity_schema(dataset.spec(), table)
    batches, places, bad_rows = [], [], []
    for piece in find_pieces(files, table):
        for raw, malformed in read(piece, table, wanted):
            batch, numbers, unfit = convert_entities(raw, dataset, table)
            lists = as_lists([(n, batch.column(n)) for n in schema.names if n in batch.schema.names[1:]], schema)
            batches.append(pa.RecordBatch.from_pydict({TOKEN: batch.column(TOKEN)} | lists).select(schema.names))
            places += [(raw.file, int(number)) for number in numbers]
            bad_rows += malformed + unfit
    whole = pa.Table.from_batches([batch.cast(schema) for batch in batches], schema)
    return _without_repeated(whole, places, name, bad_rows)


def _without_repeated(
    table: pa.Table, places: list[tuple[str, int]], name: str, bad_rows: list[BadRow]
) -> tuple[pa.Table, list[BadRow]]:
    """Keeps the first row of each key; the others are malformed."""
    encoded = table[TOKEN].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    if len(first) < len(codes):
        first_of = first[np.unique(codes, return_inverse=True)[1]]
        for row in np.setdiff1d(np.arange(len(codes)), first).tolist():
            file, line = places[row]
            earlier_file, earlier_line = places[first_of[row]]
            token = encoded.dictionary[int(codes[row])].as_py()
            where = f"line {earlier_line}" if earlier_file == file else f"{earlier_file}, line {earlier_line}"
            problem = f"{name}: key {token.decode('utf-8', 'backslashreplace')!r} already stands in {where}"
            bad_rows.append(bad_row(file, line, problem, token))
        table = table.take(pa.array(np.sort(first)))
    return table.combine_chunks(), bad_rows
