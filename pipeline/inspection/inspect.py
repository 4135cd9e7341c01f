"""Inspects files: reads samples, groups files of one layout into tables, and gathers all findings."""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipeline.inspection import facts, risks
from pipeline.inspection.columns import describe, find_missing_words, without_words
from pipeline.inspection.findings import Findings, FoundTable
from pipeline.inspection.links import split_tables
from pipeline.inspection.roles import guess_roles
from pipeline.inspection.sample import MAX_BYTES, MAX_ROWS, Sample, expand, read_sample
from trainer_module.errors import ConfigError, DataError


def inspect_files(patterns: Sequence[str]) -> Findings:
    """Inspects the files of a dataset.

    Args:
        patterns: Paths, or patterns with wildcards. Files of one layout make one table.

    Raises:
        DataError: A file cannot be read.
    """
    tables = read_tables(patterns)
    interactions, links, unused = split_tables(tables)
    roles = guess_roles(interactions.columns, interactions.frame, {link.column: link.role for link in links})
    gathered = facts.gather(interactions, roles)
    leaks = risks.find_leaks(interactions, roles)
    return Findings(
        interactions=interactions,
        links=tuple(links),
        unused=tuple(unused),
        roles=dict(roles),
        facts=gathered,
        warnings=risks.find_warnings(interactions, links, roles, gathered, leaks),
        leaks=leaks,
    )


def read_tables(patterns: Sequence[str]) -> list[FoundTable]:
    """Reads a sample of each file and joins files of one layout, in the order given.

    Raises:
        DataError: A file cannot be read, or files of one pattern differ in their columns.
    """
    expanded = expand(patterns)
    count = sum(len(files) for _, files in expanded)
    groups: dict[tuple[object, ...], tuple[list[str], list[Sample]]] = {}
    for pattern, files in expanded:
        samples = [read_sample(file, max(1000, MAX_ROWS // count), max(1 << 20, MAX_BYTES // count)) for file in files]
        for sample in samples[1:]:
            if sample.frame.columns != samples[0].frame.columns:
                raise DataError(
                    f"{sample.file}: its columns are {', '.join(sample.frame.columns)}, but those of {samples[0].file} "
                    f"are {', '.join(samples[0].frame.columns)}; name files of other columns by a pattern of their own"
                )
        names, group = groups.setdefault(_layout(samples[0]), ([], []))
        names.append(pattern)
        group.extend(samples)
    return [_table(names, samples) for names, samples in groups.values()]


def _layout(sample: Sample) -> tuple[object, ...]:
    """What files of one table have in common. Without a header, their names may differ in digits alone."""
    columns = tuple(sample.frame.columns)
    headless = sample.text is not None and not sample.text.has_header
    return sample.format, sample.text, columns, re.sub(r"\d+", "0", Path(sample.file).name) if headless else ""


def _table(files: Sequence[str], samples: Sequence[Sample]) -> FoundTable:
    frame = pl.concat([sample.frame for sample in samples], how="vertical_relaxed")
    words = find_missing_words(frame) if samples[0].text else ()
    columns, cast = describe(without_words(frame, words))
    rows = [sample.rows for sample in samples]
    return FoundTable(
        files=tuple(files),
        format=samples[0].format,
        text=samples[0].text,
        missing_words=words,
        columns=columns,
        sampled_rows=cast.height,
        rows=sum(row for row in rows if row is not None) if None not in rows else None,
        is_whole=all(sample.is_whole for sample in samples),
        frame=cast,
    )


def refuse_to_replace(output: Path) -> None:
    """Checks that a file is not there yet.

    Raises:
        ConfigError: It is.
    """
    if output.exists():
        raise ConfigError(f"{output} exists already; name another file, or replace it with --force")


def write_experiment(text: str, output: Path) -> None:
    """Writes a proposed experiment, over an existing file if there is one.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror})") from None
