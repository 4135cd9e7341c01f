"""Finds out which of several tables holds the interactions, and which hold users and items."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.inspection.columns import Column, words_of
from pipeline.inspection.findings import FoundTable, Link
from pipeline.inspection.roles import hint, is_identifier

# Least share of the values on one side that the other side has.
_LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class _Match:
    score: float
    key: str
    column: str
    overlap: float
    same_name: bool


def split_tables(tables: Sequence[FoundTable]) -> tuple[FoundTable, list[Link], list[tuple[FoundTable, str]]]:
    """Tells interactions from attributes.

    Args:
        tables: One or more, each of its own layout.

    Returns:
        The table of interactions, the tables of users and items that match it, and the other tables with the reason why
        they are not used.
    """
    interactions = max(tables, key=lambda table: _likeness_to_interactions(table, tables))
    links: list[Link] = []
    unused: list[tuple[FoundTable, str]] = []
    found = [(table, _best_match(table, interactions)) for table in tables if table is not interactions]
    # The clearest match first, as it takes its column.
    for table, match in sorted(found, key=lambda pair: -(pair[1].score if pair[1] else 0)):
        if match is None:
            unused.append((table, "no column is unique and has the values of a column of the interactions"))
            continue
        taken = {link.column for link in links}
        if match.column in taken:
            match = _best_match(table, interactions, taken) or match
        role = _role(table, match, interactions, {link.role for link in links})
        if match.column in taken or role is None:
            unused.append((table, f"{match.column} is described by another file already"))
            continue
        links.append(_link(table, match, role, interactions))
    return interactions, sorted(links, key=lambda link: link.role), unused


def _likeness_to_interactions(table: FoundTable, tables: Sequence[FoundTable]) -> tuple[int, bool, int]:
    """Orders tables: by the number of others that describe its columns, by names, by rows."""
    described = 0 if _unique_columns(table) else 1
    for other in tables:
        if other is not table and (match := _best_match(other, table)) and match.score >= 1:
            described += 1
    named = {role for role in ("user", "item") for c in table.columns if hint(c.name, role)}
    return described, len(named) == 2, table.rows or table.sampled_rows


def _unique_columns(table: FoundTable) -> list[Column]:
    return [c for c in table.columns if is_identifier(c) and c.missing == 0 and c.distinct == c.rows]


def _best_match(
    table: FoundTable, interactions: FoundTable, taken: set[str] | frozenset[str] = frozenset()
) -> _Match | None:
    matches = [
        match
        for key in _unique_columns(table)
        for column in interactions.columns
        if column.name not in taken and is_identifier(column) and column.distinct > 1
        if (match := _match(table, key, interactions, column))
    ]
    return max(matches, key=lambda match: match.score) if matches else None


def _match(table: FoundTable, key: Column, interactions: FoundTable, column: Column) -> _Match | None:
    keys = _tokens(table.frame[key.name]).unique()
    values = _tokens(interactions.frame[column.name]).drop_nulls().unique()
    common = int(values.is_in(keys.implode()).sum())
    overlap, coverage = common / max(len(values), 1), common / len(keys)
    has_names = not table.text or table.text.has_header
    same_name = has_names and key.name.lower() == column.name.lower()
    if max(overlap, coverage if not interactions.is_whole or not table.is_whole else 0) < _LEAST_OVERLAP and not (
        same_name and common
    ):
        return None
    if column.time_unit or hint(column.name, "label") or hint(column.name, "weight"):
        return None
    if any(hint(key.name, role) and hint(column.name, other) for role, other in (("user", "item"), ("item", "user"))):
        # A key of items does not describe users, whatever numbers both count with.
        return None
    # Numbers from 1 up overlap by chance: names decide between columns that fit.
    role = next((r for r in ("user", "item") if hint(column.name, r)), None)
    own = [hint(key.name, r) is not None or _in_file(table, r) for r in ("user", "item")]
    alike = role is not None and own[("user", "item").index(role)] and not own[("item", "user").index(role)]
    score = overlap + coverage + 2 * same_name + alike
    return _Match(score, key.name, column.name, overlap, same_name)


def _in_file(table: FoundTable, role: str) -> bool:
    stem = table.files[0].rsplit("/", 1)[-1].split(".")[0]
    singular = [word.removesuffix("s") for word in words_of(stem)]
    return any(hint(word, role) for word in singular)


def _tokens(values: pl.Series) -> pl.Series:
    if values.dtype.is_float():
        # Whole numbers with a decimal point, as a column with missing values is often written.
        values = values.cast(pl.Int64, strict=False)
    return values.cast(pl.String)


def _role(table: FoundTable, match: _Match, interactions: FoundTable, taken: set[str]) -> str | None:
    for name in (match.column, match.key):
        for role in ("user", "item"):
            if hint(name, role) and role not in taken:
                return role
    for role in ("user", "item"):
        if _in_file(table, role) and role not in taken:
            return role
    position = [c.name for c in interactions.columns].index(match.column)
    likely = "user" if position == 0 and len(interactions.columns) > 1 else "item"
    if likely not in taken:
        return likely
    return next((role for role in ("user", "item") if role not in taken), None)


def _link(table: FoundTable, match: _Match, role: str, interactions: FoundTable) -> Link:
    keys = _tokens(table.frame[match.key])
    values = _tokens(interactions.frame[match.column])
    known = values.is_in(keys.implode())
    unused = int((~keys.is_in(values.drop_nulls().unique().implode())).sum())
    evidence = [
        f"{match.key} is unique",
        f"{match.overlap:.1%} of the distinct values of {match.column} in the interactions have a row",
    ]
    if match.same_name:
        evidence.append("both columns have the same name")
    return Link(table, role, match.key, match.column, tuple(evidence), int((~known.fill_null(True)).sum()), unused)
