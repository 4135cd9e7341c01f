"""Columns that the layout of MovieLens 1M and later holds in other words: genres in one field, the year in the title.

Layouts: GroupLens' READMEs of ml-1m, ml-10m, ml-20m, ml-25m, ml-32m and ml-latest-small. The computed columns have the
names and values that `movielens_100k` gives them.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.readers.problems import Problems, shown
from components.example_gen.readers.values import words

# The columns of the files that each computed column comes from.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "genres": ("genres",),
    "release_year": ("title",),
    "release_decade": ("title",),
    "title_words": ("title",),
    "age_group": ("age",),
}
# What the READMEs of ml-20m and later say of a movie without genres.
NO_GENRES = "(no genres listed)"
# Ages of ml-1m are codes: each is the first year of its group.
AGE_GROUPS = {
    "1": "0-17",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56+",
}
_YEAR = r"\([0-9]{4}\)"
# A year of "Ocean's Eleven (a.k.a. Ocean's 11) (1960)", and the first one of a range of seasons.
_LAST_YEAR = r"^.*\((?P<year>[0-9]{4})(?:[-\x{2013}][0-9]{0,4})?\)[^0-9]*$"


def derive(columns: Mapping[str, pa.Array], problems: Problems) -> dict[str, pa.Array]:
    """The computed columns whose sources are there, `[rows]` each.

    Args:
        columns: Raw columns, large_binary, null where a field is empty.
        problems: Notes rows whose title is missing and whose age is no code.
    """
    derived: dict[str, pa.Array] = {}
    if "title" in columns:
        titles = columns["title"].cast(pa.large_string())
        problems.add(_flags(titles.is_null()), lambda row: "column 'title': expected a title, found none")
        years = release_years(titles)
        derived["title_words"] = words(pc.replace_substring_regex(titles, _YEAR, ""))
        derived["release_year"] = years
        derived["release_decade"] = decades(years)
    if "genres" in columns:
        derived["genres"] = genre_lists(columns["genres"].cast(pa.large_string()))
    if "age" in columns:
        derived["age_group"] = _age_groups(columns["age"].cast(pa.large_string()), problems)
    return derived


def release_years(titles: pa.Array) -> pa.Array:
    """The last year in parentheses of each title, int64 `[rows]`; null where there is none."""
    found = pc.extract_regex(titles, _LAST_YEAR)
    return pc.struct_field(found, "year").cast(pa.int64())


def decades(years: pa.Array) -> pa.Array:
    """Decades such as `1990s`, large_binary `[rows]`; `unknown` for null."""
    starts = pc.multiply(pc.divide(years, 10), 10).cast(pa.string())
    return pc.fill_null(pc.binary_join_element_wise(starts, "s", ""), "unknown").cast(pa.large_binary())


def genre_lists(genres: pa.Array) -> pa.Array:
    """Lists of genres from fields such as `Comedy|Drama`, large lists of large_binary `[rows]`, never null."""
    is_absent = pc.fill_null(pc.equal(genres, NO_GENRES), True)
    parts = pc.split_pattern(pc.if_else(is_absent, "", genres), "|").cast(pa.large_list(pa.large_string()))
    counts = np.where(_flags(is_absent), 0, pc.list_value_length(parts).to_numpy(zero_copy_only=False))
    tokens = pc.list_flatten(parts)
    kept = tokens.filter(pc.not_equal(tokens, ""))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), kept.cast(pa.large_binary()))


def _age_groups(ages: pa.Array, problems: Problems) -> pa.Array:
    codes = pa.array(list(AGE_GROUPS), pa.large_string())
    found = pc.index_in(ages, codes)
    problems.add(
        _flags(found.is_null()),
        lambda row: f"column 'age': {shown(ages[row])} is no code of an age; expected one of {', '.join(AGE_GROUPS)}",
    )
    names = pa.array([name.encode() for name in AGE_GROUPS.values()], pa.large_binary())
    return names.take(found)


def _flags(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False).astype(bool)
