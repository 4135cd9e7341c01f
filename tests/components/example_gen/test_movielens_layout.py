"""Columns that are computed for MovieLens 1M and later, from invented rows of the same layout."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.example_gen.readers import layouts, movielens, movielens_100k
from components.example_gen.readers.problems import Problems
from trainer_module.data.datasets.movielens import FAMILY, MOVIELENS_1M


def raw(*values: str | None) -> pa.Array:
    return pa.array([None if value is None else value.encode() for value in values], pa.large_binary())


def derived(problems: Problems | None = None, **columns: pa.Array) -> dict[str, list]:
    count = len(next(iter(columns.values())))
    found = movielens.derive(columns, problems or Problems("movies.dat", count))
    return {name: column.to_pylist() for name, column in found.items()}


def test_titles_give_years_decades_and_words():
    columns = derived(title=raw("Étoile Rouge (1987)", "Heat (1995) (V)", "Nameless", "2001: A Trip (1968)"))
    assert columns["release_year"] == [1987, 1995, None, 1968]
    assert columns["release_decade"] == [b"1980s", b"1990s", b"unknown", b"1960s"]
    assert columns["title_words"] == [
        ["étoile".encode(), b"rouge"],
        [b"heat", b"v"],
        [b"nameless"],
        [b"2001", b"a", b"trip"],
    ]


def test_the_first_year_of_a_range_is_the_year():
    assert derived(title=raw("Some Series (2007-2010)", "Another (2011\u2013)"))["release_year"] == [2007, 2011]


def test_genres_are_lists_and_may_be_absent():
    genres = derived(genres=raw("Comedy|Drama", "(no genres listed)", None, "Sci-Fi"))["genres"]
    assert genres == [[b"Comedy", b"Drama"], [], [], [b"Sci-Fi"]]


def test_ages_are_codes_of_groups():
    problems = Problems("users.dat", 3)
    assert derived(problems, age=raw("1", "56", "17"))["age_group"] == [b"0-17", b"56+", None]
    assert list(problems.of_row) == [2]
    assert "'17' is no code of an age; expected one of 1, 18, 25, 35, 45, 50, 56" in problems.of_row[2]


def test_a_missing_title_is_a_problem_of_its_row():
    problems = Problems("movies.dat", 2)
    derived(problems, title=raw("A (1990)", None))
    assert problems.of_row == {1: "column 'title': expected a title, found none"}


@given(st.lists(st.sampled_from(["Wild Geese", "O'Hara's", "A.I.", "(500) Days"]), min_size=1), st.integers(1900, 2030))
def test_the_values_are_those_of_the_layout_of_100k(names, year):
    titles = raw(*(f"{name} ({year})" for name in names))
    dates = raw(*([f"01-Jan-{year}"] * len(names)))
    ours = movielens.derive({"title": titles}, Problems("movies.dat", len(names)))
    known = movielens_100k.derive({"title": titles, "release_date": dates}, Problems("u.item", len(names)))
    assert set(ours) == set(known)
    for name, column in ours.items():
        assert column.type == known[name].type
        assert column.to_pylist() == known[name].to_pylist()


@pytest.mark.parametrize("dataset", FAMILY, ids=lambda dataset: dataset.name)
def test_every_column_of_the_description_has_a_source_in_its_file(dataset):
    header = {"ratings.csv": ("userId", "movieId", "rating", "timestamp"), "movies.csv": ("movieId", "title", "genres")}
    for _, table in dataset.tables.named():
        names = table.column_names or header[table.files[0]]
        wanted = {source for entry in table.entries() for source in layouts.sources(dataset.layout, entry.name)}
        assert wanted <= set(names)


def test_the_features_of_the_family_have_the_names_of_100k():
    first = {column.name for column in FAMILY[0].spec().features.columns}
    for dataset in FAMILY:
        extra = {column.name for column in dataset.spec().features.columns} - first
        assert extra == ({"zip_code"} if dataset is MOVIELENS_1M else set())
