"""Columns that known datasets' layouts compute from the columns of their files."""

from collections.abc import Mapping

import pyarrow as pa

from components.example_gen.readers import movielens, movielens_100k
from components.example_gen.readers.problems import Problems

_LAYOUTS = {"movielens-100k": movielens_100k, "movielens": movielens}


def sources(layout: str, column: str) -> tuple[str, ...]:
    """The columns of the file that a column comes from: itself, unless the layout computes it.

    Args:
        layout: Of the dataset; empty computes nothing.
        column: As a table's description names it.
    """
    return _LAYOUTS[layout].SOURCES.get(column, (column,)) if layout else (column,)


def derive(layout: str, columns: Mapping[str, pa.Array], problems: Problems) -> dict[str, pa.Array]:
    """The computed columns whose sources are all there.

    Args:
        layout: Of the dataset; empty computes nothing.
        columns: Raw columns of a block, `[rows]` each.
        problems: Notes the rows whose sources are malformed.
    """
    return _LAYOUTS[layout].derive(columns, problems) if layout else {}
