"""Columns that MovieLens 100K's layout holds in other words: genre flags, release dates, ages.

Layout: GroupLens' README of ml-100k. The module also computes what evaluation slices by.
"""

import re
from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.readers.problems import Problems, shown
from components.example_gen.readers.values import numbers, words
from trainer_module.data.datasets.movielens import GENRES

_YEAR_IN_TITLE = r"\([0-9]{4}\)"
_OLDEST = 150

# The columns of the files that each computed column comes from.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "genres": GENRES,
    "release_year": ("release_date",),
    "release_decade": ("release_date",),
    "title_words": ("title",),
    "age_group": ("age",),
}


def derive(columns: Mapping[str, pa.Array], problems: Problems) -> dict[str, pa.Array]:
    """The computed columns whose sources are there, `[rows]` each.

    Args:
        columns: Raw columns, large_binary, null where a field is empty.
        problems: Notes rows whose title is missing, whose date is none, whose age is out of range and whose genre flags
            are neither 0 nor 1.
    """
    derived: dict[str, pa.Array] = {}
    if "title" in columns:
        _check_title(columns["title"], problems)
        without_year = pc.replace_substring_regex(columns["title"].cast(pa.large_string()), _YEAR_IN_TITLE, "")
        derived["title_words"] = words(without_year)
    if "release_date" in columns:
        years = _years(columns["release_date"], problems)
        derived["release_year"] = years
        derived["release_decade"] = _decades(years)
    if GENRES[0] in columns:
        derived["genres"] = _genres([columns[genre] for genre in GENRES], problems)
    if "age" in columns:
        derived["age_group"] = _age_groups(columns["age"], problems)
    return derived


def title_words(title: str) -> list[str]:
    """The words of a title in lower case, without its year: `Toy Story (1995)` becomes `toy`, `story`."""
    return [word.decode() for word in words(pa.array([re.sub(_YEAR_IN_TITLE, "", title)]))[0].as_py()]


def _check_title(titles: pa.Array, problems: Problems) -> None:
    problems.add(
        titles.is_null().to_numpy(zero_copy_only=False), lambda row: "column 'title': expected a title, found none"
    )


def _years(dates: pa.Array, problems: Problems) -> pa.Array:
    encoded = dates.dictionary_encode()
    distinct = [_year(date) for date in encoded.dictionary.to_pylist()]
    wrong = np.array([year is None for year in distinct], bool)
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    known = ~np.isnan(indices.astype(float))
    found = np.where(known, np.nan_to_num(indices.astype(float)), 0).astype(int)
    problems.add(
        known & (wrong[found] if len(wrong) else False),
        lambda row: (
            f"column 'release_date': {dates[row].as_py().decode('utf-8', 'replace')!r} is not a date; expected one "
            "like '01-Jan-1995', or nothing"
        ),
    )
    return pa.array([distinct[code] if there else None for code, there in zip(found, known, strict=True)], pa.int64())


def _year(date: bytes) -> int | None:
    try:
        return datetime.strptime(date.decode(), "%d-%b-%Y").year
    except ValueError:
        return None


def _decades(years: pa.Array) -> pa.Array:
    decades = pc.multiply(pc.divide(years, 10), 10).cast(pa.string())
    return pc.fill_null(pc.binary_join_element_wise(decades, "s", ""), "unknown").cast(pa.large_binary())


def _genres(flags: list[pa.Array], problems: Problems) -> pa.Array:
    """Names of the genres whose flag is 1, `large_list`s."""
    for genre, column in zip(GENRES, flags, strict=True):
        wrong = ~pc.is_in(column, pa.array([b"0", b"1"], column.type)).to_numpy(zero_copy_only=False)
        problems.add(wrong, lambda row, g=genre, c=column: f"genre flag {g!r} is {shown(c[row])}; expected 0 or 1")
    is_set = np.stack([pc.fill_null(pc.equal(c, b"1"), False).to_numpy(zero_copy_only=False) for c in flags], axis=1)
    offsets = np.concatenate([[0], np.cumsum(is_set.sum(axis=1))])
    names = pa.array([genre.encode() for genre in GENRES], pa.large_binary())
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), names.take(pa.array(np.nonzero(is_set)[1])))


def _age_groups(ages: pa.Array, problems: Problems) -> pa.Array:
    """Decades of ages, such as `20-29`."""
    values = numbers(ages, "age", problems).to_numpy(zero_copy_only=False)
    wrong = ~((values >= 0) & (values <= _OLDEST))
    problems.add(wrong, lambda row: f"column 'age': {shown(ages[row])} is no age; expected 0 to {_OLDEST}")
    decades = (np.where(wrong, 0, values) // 10 * 10).astype(int)
    return pa.array([f"{decade}-{decade + 9}".encode() for decade in decades.tolist()], pa.large_binary())
