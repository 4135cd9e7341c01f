"""Attribute files, and rows that point into them."""

import numpy as np
import pyarrow as pa
import pytest
from components.example_gen.catalog import parse_catalog, resolve
from components.example_gen.examples import ExampleBuilder
from components.example_gen.ratings import parse_ratings, split_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_gen.layout import GENRES
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.features import Context, FeatureSpec
from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import ConfigError

FLAGS = {name: "|".join("1" if genre in name.split() else "0" for genre in GENRES) for name in ("Drama War", "unknown")}
USERS = b"1|24|M|technician|85711\n2|53|F|other|94043\n"
ITEMS = (
    f"10|Mis\xe9rables, Les (1995)|01-Jan-1995||http://x|{FLAGS['Drama War']}\n20|unknown||||{FLAGS['unknown']}\n"
).encode("iso-8859-1")
DATA = b"2\t10\t4.5\t100\n1\t20\t1\t200\n2\t20\t5\t300\n"


def test_examples_hold_the_spec_columns_with_derived_values():
    catalog, bad = parse_catalog(USERS, ITEMS)
    assert bad == []
    dataset = dataset_spec("movielens-100k")
    rows, bad = resolve(parse_ratings(DATA, 1, dataset.label_range)[0], catalog, DATA, 1)
    assert bad == []
    batch = ExampleBuilder(dataset, catalog).build(rows, np.array([19, 200])).to_batch()
    assert batch.schema == dataset.features.arrow_schema()
    assert batch.slice(0, 2).to_pydict() == {
        "user_id": [[b"2"], [b"1"]],
        "movie_id": [[b"10"], [b"20"]],
        "gender": [[b"F"], [b"M"]],
        "occupation": [[b"other"], [b"technician"]],
        "genres": [[b"Drama", b"War"], [b"unknown"]],
        "age": [[53.0], [24.0]],
        "release_year": [[1995.0], []],
        "rating": [[4.5], [1.0]],
        "timestamp": [[100], [200]],
        "title": [["Misérables, Les (1995)".encode()], [b"unknown"]],
        "age_group": [[b"50-59"], [b"20-29"]],
        "user_activity": [[b"200+"], [b"1-19"]],
        "release_decade": [[b"1990s"], [b"unknown"]],
    }


@pytest.mark.parametrize(
    ("count", "bucket"),
    [(0, b"0"), (1, b"1-19"), (20, b"20-49"), (50, b"50-99"), (199, b"100-199"), (200, b"200+")],
)
def test_activity_buckets(count: int, bucket: bytes):
    catalog, _ = parse_catalog(USERS, ITEMS)
    rows, _ = resolve(parse_ratings(DATA, 1, (1, 5))[0], catalog, DATA, 1)
    batch = ExampleBuilder(dataset_spec("synthetic"), catalog).build(rows, np.array([count, count])).to_batch()
    assert batch.column("user_activity").to_pylist() == [[bucket]] * 3


def test_a_rating_of_an_unknown_user_or_item_is_a_bad_row():
    catalog, _ = parse_catalog(USERS, ITEMS)
    data = b"9999\t10\t4\t100\n1\t10\t4\t200\n1\t77\t4\t300\n"
    rows, bad = resolve(parse_ratings(data, 41, (1, 5))[0], catalog, data, 41)
    assert [(row.line, row.raw) for row in bad] == [(41, "9999\t10\t4\t100"), (43, "1\t77\t4\t300")]
    assert "user '9999' is not in u.user" in bad[0].problem
    assert "item '77' is not in u.item" in bad[1].problem
    assert rows.column("line").to_pylist() == [42]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"3|x|M|other|1", "age 'x' is not a number of years"),
        (b"3|151|M|other|1", "age '151'"),
        (b"3|20||other|1", "gender is empty"),
        (b"3|20|M||1", "occupation is empty"),
        (b"|20|M|other|1", "user is empty"),
        (b"3|20|M|other", "4 column(s); expected 5"),
        (b"3|20|M|\xff|1", "not in encoding utf-8"),
        (b"1|20|M|other|1", "user '1' already stands in line 1"),
    ],
)
def test_a_bad_user_is_named(line: bytes, problem: str):
    catalog, (bad,) = parse_catalog(USERS + line + b"\n", ITEMS)
    assert (bad.file, bad.line) == ("u.user", 3)
    assert problem in bad.problem
    assert catalog.users.num_rows == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"30|A|1995-01-01|||{FLAGS['unknown']}", "release date '1995-01-01' is not a date"),
        (f"30||01-Jan-1995|||{FLAGS['unknown']}", "title is empty"),
        (f"30|A|01-Jan-1995|||{FLAGS['unknown']}".replace("|1|", "|2|"), "genre flag unknown is '2'"),
        (f"30|A|01-Jan-1995|||{FLAGS['unknown']}|0", "25 column(s); expected 24"),
    ],
)
def test_a_bad_item_is_named(line: str, problem: str):
    _, (bad,) = parse_catalog(USERS, ITEMS + line.encode() + b"\n")
    assert (bad.file, bad.line) == ("u.item", 3)
    assert problem in bad.problem


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.lists(st.binary(max_size=6), max_size=30).map(b"|".join))
def test_no_bytes_crash_the_attribute_parser(noise: bytes, fields: bytes):
    for data in (noise, fields, USERS + noise):
        catalog, bad = parse_catalog(data, data)
        assert catalog.users.num_rows + catalog.items.num_rows + len(bad) == 2 * len(split_lines(data))


def test_a_column_that_the_layout_cannot_fill_is_refused():
    known = dataset_spec("movielens-100k")
    features = FeatureSpec(columns=(*known.features.columns, Context(name="director")), tables=known.features.tables)
    spec = DatasetSpec(**{**vars(known), "features": features})
    with pytest.raises(ConfigError, match=r"director.*known: age"):
        ExampleBuilder(spec, parse_catalog(USERS, ITEMS)[0])


def test_normalized_examples_repeat_nothing():
    catalog, _ = parse_catalog(USERS, ITEMS)
    rows, _ = resolve(parse_ratings(DATA, 1, (1, 5))[0], catalog, DATA, 1)
    users, items, own = ExampleBuilder(dataset_spec("synthetic"), catalog).build(rows, np.array([1, 2])).parts
    assert (users.columns.num_rows, items.columns.num_rows, own.columns.num_rows) == (2, 2, 3)
    assert users.columns.column("user_id").take(pa.array(users.index)).to_pylist() == [[b"2"], [b"1"], [b"2"]]
