"""Reads a whole dataset into memory, for questions to a pushed model."""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from components.example_gen.config import DataConfig
from components.example_gen.conversion import convert_interactions, interaction_columns
from components.example_gen.entities import (
    SeenTokens,
    complete,
    known_tokens,
    look_up,
    merge_seen,
    open_roles,
    read_entity_tables,
    roles,
    seen_tokens,
)
from components.example_gen.readers.blocks import check_columns, find_files, find_pieces, read
from components.example_gen.rows import TRAIN, Entities, Rows
from trainer_module.data.spec import Task


def load(
    directory: str, config: DataConfig, asked: Mapping[str, Iterable[str]], with_interactions: bool
) -> tuple[Entities, Rows | None]:
    """Reads users, items and, if they are wanted, all interactions, some forty bytes each.

    Malformed rows are left out: ingestion has already accepted the data.

    Args:
        directory: Below which the files lie.
        config: The section `data`, with paths relative to `directory`.
        asked: Tokens by role, `user` and `item`, that must be among the entities even if no row names them.
        with_interactions: Whether to read interactions. Without them, only the tables' entities and those in `asked`
            are known.

    Returns:
        The entities, and the rows as if all were in one split; None without interactions.

    Raises:
        DataError: A file is missing or damaged.
    """
    dataset = config.described()
    tables = read_entity_tables(directory, dataset)
    wanted_roles = roles(dataset)
    extra = SeenTokens({role: _tokens(asked.get(role, ())) for role in wanted_roles})
    if not with_interactions:
        return complete(dataset, tables, extra, ()), None
    table = dataset.tables.interactions
    files = find_files(directory, table, "interactions")
    wanted = interaction_columns(dataset, config.split_column)
    check_columns(files, table, wanted, "data.interactions")
    known, batches = known_tokens(dataset, tables), []
    for piece in find_pieces(files, table):
        for raw, _ in read(piece, table, wanted):
            batches.append(convert_interactions(raw, dataset, config.split, config.split_column, known)[0])
    named = [seen_tokens(batch, open_roles(dataset)) for batch in batches]
    seen = SeenTokens({role: extra.by_role[role] for role in wanted_roles})
    if named:
        merged = merge_seen(named)
        seen = SeenTokens(
            {role: _union(extra.by_role[role], merged.by_role.get(role, extra.by_role[role])) for role in wanted_roles}
        )
    entities = complete(dataset, tables, seen, files)
    (batch,) = pa.Table.from_batches([look_up(batch, entities) for batch in batches]).combine_chunks().to_batches()
    return entities, Rows(0, batch, np.full(batch.num_rows, TRAIN, np.int8))


def needs_interactions(config: DataConfig) -> bool:
    """Whether requests to a model of this data hold what users did."""
    dataset = config.described()
    task: Task = dataset.task
    return task == "retrieval" or bool(dataset.history or dataset.neighbours)


def _tokens(values: Iterable[str]) -> pa.Array:
    return pa.array(sorted({value.encode() for value in values}), pa.large_binary())


def _union(first: pa.Array, second: pa.Array) -> pa.Array:
    return merge_seen([SeenTokens({"": first}), SeenTokens({"": second})]).by_role[""]
