"""Reads a whole dataset into memory, for questions to a pushed model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.config import DataConfig
from components.example_gen.conversion import convert_interactions, interaction_columns, is_interaction
from components.example_gen.entities import (
    EntityTables,
    SeenTokens,
    complete,
    in_order,
    known_tokens,
    look_up,
    merge_seen,
    open_roles,
    read_entity_tables,
    roles,
    seen_tokens,
)
from components.example_gen.readers.blocks import check_columns, find_files, find_pieces, read
from components.example_gen.readers.files import relative
from components.example_gen.readers.time_units import unit_of
from components.example_gen.rows import TOKEN, TRAIN, Entities, Rows
from trainer_module.data.spec import Task


@dataclass(frozen=True)
class Loaded:
    """A dataset in memory.

    Attributes:
        entities: Users and items, also those that were asked for and are unknown.
        rows: All interactions as if in one split; None if they were not read.
        unknown: By role, the tokens that were asked for and that no row of a table and no interaction names.
    """

    entities: Entities
    rows: Rows | None
    unknown: Mapping[str, frozenset[str]]


def load(directory: str, config: DataConfig, asked: Mapping[str, Iterable[str]], with_interactions: bool) -> Loaded:
    """Reads users, items and, if they are wanted, all interactions, some forty bytes each.

    Malformed rows are left out: ingestion has already accepted the data.

    Args:
        directory: Below which the files lie.
        config: The section `data`, with paths relative to `directory`.
        asked: Tokens by role, `user` and `item`, that must be among the entities even if no row names them.
        with_interactions: Whether to read interactions. Without them, a user or item without a row in its table is
            unknown.

    Raises:
        DataError: A file is missing or damaged.
    """
    dataset = config.described()
    tables = read_entity_tables(directory, dataset)
    files, batches = _read_interactions(directory, config, tables) if with_interactions else ([], [])
    seen = [seen_tokens(batch, open_roles(dataset)) for batch in batches]
    named = merge_seen(seen).by_role if seen else {}
    extra = {role: _tokens(asked.get(role, ())) for role in roles(dataset)}
    known = {role: [part for part in (named.get(role), _listed(tables, role)) if part is not None] for role in extra}
    unknown = {role: _difference(tokens, known[role]) for role, tokens in extra.items()}
    every = {role: _union([tokens, *([named[role]] if role in named else [])]) for role, tokens in extra.items()}
    entities = complete(dataset, tables, in_order(SeenTokens(every)), [relative(file, directory) for file in files])
    if not with_interactions:
        return Loaded(entities, None, unknown)
    (batch,) = pa.Table.from_batches([look_up(batch, entities) for batch in batches]).combine_chunks().to_batches()
    return Loaded(entities, Rows(0, batch, np.full(batch.num_rows, TRAIN, np.int8)), unknown)


def _read_interactions(
    directory: str, config: DataConfig, tables: EntityTables
) -> tuple[list[str], list[pa.RecordBatch]]:
    """The interactions' files, and their good rows."""
    dataset = config.described()
    table = dataset.tables.interactions
    files = find_files(directory, table, "interactions")
    wanted = interaction_columns(dataset, config.split_column)
    check_columns(files, table, wanted, "data.interactions")
    known, batches = known_tokens(dataset, tables), []
    pieces = find_pieces(files, table)
    time_unit = unit_of(table, pieces)
    for piece in pieces:
        for raw, _ in read(piece, table, wanted):
            batch, _ = convert_interactions(raw, dataset, config.split, config.split_column, known, time_unit)
            batches.append(batch.filter(pa.array(is_interaction(batch, dataset))))
    return files, batches


def needs_interactions(config: DataConfig) -> bool:
    """Whether requests to a model of this data hold what users did."""
    dataset = config.described()
    task: Task = dataset.task
    return task == "retrieval" or bool(dataset.history or dataset.neighbours)


def _tokens(values: Iterable[str]) -> pa.Array:
    return pa.array(sorted({value.encode() for value in values}), pa.large_binary())


def _listed(tables: EntityTables, role: str) -> pa.Array | None:
    return tables.by_role[role][TOKEN].combine_chunks() if role in tables.by_role else None


def _union(parts: Sequence[pa.Array]) -> pa.Array:
    return merge_seen([SeenTokens({"": part}) for part in parts]).by_role[""]


def _difference(tokens: pa.Array, known: Sequence[pa.Array]) -> frozenset[str]:
    found = {token for part in known for token in tokens.filter(pc.is_in(tokens, part)).to_pylist()}
    return frozenset(token.decode() for token in tokens.to_pylist() if token not in found)
