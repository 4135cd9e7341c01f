"""Shows findings: tables in a terminal, or JSON."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.inspection.columns import Column, as_date
from pipeline.inspection.findings import Findings, FoundTable, Spread

_LONGEST_EXAMPLE = 24


def print_findings(findings: Findings, console: Console) -> None:
    """Prints tables, roles with their evidence, counts and warnings."""
    table = findings.interactions
    _print_table(table, "interactions", console, {g.column: role for role, g in findings.roles.items()})
    for guess in findings.roles.values():
        console.print(f"  [bold]{guess.role}[/bold] {escape(guess.column)}: {escape('; '.join(guess.evidence))}")
    for line in _facts(findings):
        console.print(f"  {escape(line)}")
    for link in findings.links:
        _print_table(link.table, f"{link.role}s", console, {link.key: "key"})
        console.print(f"  {escape(link.key)} is {escape(link.column)}: {escape('; '.join(link.evidence))}")
        console.print(
            f"  {link.rows_without:,} interactions without a row here, {link.unused:,} rows without interactions"
        )
    for unused, reason in findings.unused:
        _print_table(unused, "not used", console, {})
        console.print(f"  [yellow]not used:[/yellow] {escape(reason)}")
    console.print()
    for warning in findings.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}")


def _print_table(table: FoundTable, what: str, console: Console, roles: dict[str, str]) -> None:
    shown = Table(title_justify="left", title=escape(f"{what}: {table.label} ({_size(table)})"))
    for heading in ("column", "role", "type", "distinct", "missing", "range", "examples"):
        shown.add_column(heading, justify="right" if heading in ("distinct", "missing") else "left", overflow="fold")
    for column in table.columns:
        missing = f"{column.missing / column.rows:.1%}" if column.missing else ""
        cells = (
            column.name,
            roles.get(column.name, ""),
            _type(column),
            f"{column.distinct:,}",
            missing,
            _range(column),
        )
        shown.add_row(*map(escape, cells), escape(", ".join(map(_short, column.examples))))
    console.print(shown)


def _size(table: FoundTable) -> str:
    if table.is_whole:
        return f"all {table.sampled_rows:,} rows read"
    total = f"about {table.rows:,} rows" if table.rows else "more rows, not counted"
    return f"a sample of {table.sampled_rows:,} rows read; the files have {total}"


def _type(column: Column) -> str:
    if column.separator:
        return f"list separated by {column.separator!r}, {column.tokens or 0:,} tokens"
    return f"list, {column.tokens or 0:,} tokens" if column.kind == "list" else column.kind


def _range(column: Column) -> str:
    if column.minimum is None or column.maximum is None:
        return ""
    if column.time_unit:
        return f"{as_date(column.minimum, column.time_unit)} to {as_date(column.maximum, column.time_unit)}"
    return f"{column.minimum:g} to {column.maximum:g}"


def _short(example: str) -> str:
    return example if len(example) <= _LONGEST_EXAMPLE else example[: _LONGEST_EXAMPLE - 3] + "..."


def _facts(findings: Findings) -> Iterator[str]:
    known = findings.facts
    for name, spread in (("user", known.users), ("item", known.items)):
        if spread:
            yield _spread(name, spread, findings.interactions.is_whole)
    sample = "" if findings.interactions.is_whole else " of the sample"
    yield f"{known.repeated_rows:,} rows{sample} repeat an earlier row"
    if known.repeated_pairs is not None:
        yield f"{known.repeated_pairs:,} rows{sample} repeat an earlier pair of user and item"
    if known.first_time:
        yield f"times from {known.first_time} to {known.last_time}"


def _spread(name: str, spread: Spread, is_whole: bool) -> str:
    where = "" if is_whole else " in the sample"
    return (
        f"{spread.entities:,} {name}s{where}; rows per {name}: at least {spread.minimum:,}, median {spread.median:g}, "
        f"at most {spread.maximum:,}; the most frequent 1% have {spread.top_share:.1%} of the rows"
    )


def as_json(findings: Findings, experiment: str | None) -> str:
    """The findings as JSON; `experiment` is the proposed file, or null if no task fits."""
    return json.dumps(_plain(findings) | {"experiment": experiment}, indent=2, ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    """Data without the sampled rows."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: _plain(each) for name, each in named.items() if not isinstance(each, pl.DataFrame)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
