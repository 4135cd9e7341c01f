"""Columns, roles, links and warnings of invented tables."""

import polars as pl
import pytest

from pipeline.inspection.columns import describe, words_of
from pipeline.inspection.facts import spread
from pipeline.inspection.inspect import inspect_files
from pipeline.inspection.risks import auc
from pipeline.inspection.roles import guess_roles


def described(**columns: list) -> dict:
    found, _ = describe(pl.DataFrame(columns))
    return {column.name: column for column in found}


def roles_of(columns: dict[str, list]) -> dict[str, str]:
    found, frame = describe(pl.DataFrame(columns))
    return {role: guess.column for role, guess in guess_roles(found, frame, {}).items()}


def test_text_is_cast_to_the_narrowest_type():
    columns = described(
        whole=["1", "2", None],
        broken=["1.5", "2", None],
        padded=["007", "012", "7"],
        large=["18446744073709551615", "1", "2"],
        day=["2024-01-31", "2024-02-01", None],
        moment=["2024-01-31T10:00:00Z", "2024-02-01 11:30", None],
        word=["a", "b", "1"],
        nothing=[None, None, None],
    )
    kinds = [column.kind for column in columns.values()]
    assert kinds == ["integer", "float", "text", "text", "time", "time", "text", "empty"]
    assert columns["whole"].missing == 1
    assert (columns["broken"].minimum, columns["broken"].maximum) == (1.5, 2.0)


def test_lists_in_cells_are_found_by_tokens_that_repeat():
    columns = described(
        tags=["a|b", "b|c", "a|c", "a"] * 5,
        titles=["Red, a film", "Blue, another", "White, last", "Heat"] * 5,
    )
    assert (columns["tags"].separator, columns["tags"].tokens) == ("|", 3)
    assert described(titles=[f"Film {n}, part {n}" for n in range(40)])["titles"].separator is None


@pytest.mark.parametrize(
    ("values", "unit"),
    [([1.7e9, 1.71e9], "s"), ([1.7e12, 1.71e12], "ms"), ([1.7e15, 1.71e15], "us"), ([5, 9], None)],
)
def test_unix_times_are_told_by_their_magnitude(values, unit):
    assert described(t=[int(value) for value in values])["t"].time_unit == unit


def test_words_of_a_name():
    for name in ("user_id", "userId", "USER-ID", "user_id:token"):
        assert words_of(name) == ("user", "id")


def test_names_give_roles(ratings):
    renamed = dict(zip(("user_id", "movie_id", "rating", "timestamp"), ratings.values(), strict=True))
    assert roles_of(renamed) == {
        "user": "user_id",
        "item": "movie_id",
        "label": "rating",
        "time": "timestamp",
    }


def test_without_a_header_values_give_roles(ratings):
    unnamed = {f"column_{n}": values for n, values in enumerate(ratings.values(), start=1)}
    assert roles_of(unnamed) == {"user": "column_1", "item": "column_2", "label": "column_3", "time": "column_4"}


def test_a_count_within_each_user_is_an_order_and_a_split_is_told_by_its_values():
    rows = [(user, item, item, "test" if item == 4 else "train") for user in range(9) for item in range(5)]
    columns = {
        name: list(values)
        for name, values in zip(("user", "item", "position", "part"), zip(*rows, strict=True), strict=True)
    }
    assert roles_of(columns) == {"user": "user", "item": "item", "time": "position", "split": "part"}


def test_counts_are_weights():
    columns = {"user": [1, 1, 2, 3], "artist": ["a", "b", "a", "b"], "plays": [1, 20, 300, 4]}
    assert roles_of(columns) == {"user": "user", "item": "artist", "weight": "plays"}


def test_spread_by_hand():
    found = spread(pl.Series(["a"] * 6 + ["b"] * 2 + ["c"]))
    assert found is not None
    assert (found.entities, found.minimum, found.median, found.maximum) == (3, 1, 2.0, 6)
    assert found.top_share == pytest.approx(6 / 9)
    assert found.below_three == pytest.approx(2 / 3)


def test_auc_by_hand():
    # Of the pairs (positive, negative) the scores order 3 of 4, and ties count half.
    positive = pl.Series([True, True, False, False])
    assert auc(pl.Series([0.9, 0.4, 0.5, 0.1]), positive) == pytest.approx(3 / 4)
    assert auc(pl.Series([1.0, 1.0, 1.0, 1.0]), positive) == pytest.approx(1 / 2)
    assert auc(pl.Series([1.0, 2.0]), pl.Series([True, True])) is None


def test_tables_are_told_apart_and_joined(shop):
    _, files = shop
    for order in (files, files[::-1]):
        findings = inspect_files(order)
        assert findings.interactions.files[0].endswith("events.csv")
        links = {link.role: link for link in findings.links}
        assert (links["item"].key, links["item"].column) == ("sku", "sku")
        assert (links["user"].key, links["user"].column) == ("customer", "customer")
        assert links["item"].rows_without == 0
        assert links["item"].unused >= 10
    assert any("have no interaction" in warning for warning in findings.warnings)


def test_a_table_that_matches_nothing_is_named(shop, write):
    _, files = shop
    stray = write("weather.csv", {"station": [f"s{n}" for n in range(5)], "rain": [1.5] * 5})
    ((table, reason),) = inspect_files([*files, stray]).unused
    assert table.files == (stray,)
    assert "no column is unique" in reason


def test_a_key_of_items_does_not_describe_users(shop, write):
    _, files = shop
    links = write("links.csv", {"sku": list(range(1, 51)), "code": [f"c{n}" for n in range(50)]})
    findings = inspect_files([files[0], files[1], links])
    assert [link.role for link in findings.links] == ["item"]
    assert len(findings.unused) == 1


def test_interactions_without_an_item_row_are_counted(shop, write):
    folder, files = shop
    lines = (folder / "items.csv").read_text().splitlines()
    (folder / "items.csv").write_text("\n".join(lines[:21]) + "\n")
    findings = inspect_files(files)
    link = findings.link("item")
    assert link is not None
    expected = sum(value > 20 for value in findings.interactions.frame["sku"])
    assert link.rows_without == expected > 0
    assert any(f"{expected:,} interactions of the sample have an item without" in w for w in findings.warnings)


def test_faults_of_columns_are_warned_of(write):
    count = 200
    clicked = [n % 4 == 0 for n in range(count)]
    columns = {
        "user_id": [f"{n % 20}.0" for n in range(count)],
        "item_id": [n % 30 for n in range(count)],
        "clicked": [int(c) for c in clicked],
        "revenue": [5 if c else None for c in clicked],
        "dwell": [(100 if c else 1) + n % 7 for n, c in enumerate(clicked)],
        "state": ["bought" if c else "left" for c in clicked],
        "site": ["x"] * count,
        "request": [f"r{n}" for n in range(count)],
        "device": ["phone" if n % 3 else "desk" for n in range(count)],
    }
    findings = inspect_files([write("clicks.csv", columns)])
    assert set(findings.leaks) == {"revenue", "dwell", "state"}
    assert "only where clicked is 1" in findings.leaks["revenue"]
    assert "AUC of 1.000" in findings.leaks["dwell"]
    text = "\n".join(findings.warnings)
    assert "site has the value x in every row" in text
    assert "user_id identifies the user but is written as a float" in text
    assert "request has a new value in nearly every row" in text
    assert "device" not in text


def test_users_that_only_the_test_rows_have_are_counted(write):
    columns = {
        "user": ["a", "a", "b", "c", "c"] * 4,
        "item": [f"i{n % 5}" for n in range(20)],
        "fold": ["train", "train", "train", "test", "test"] * 4,
    }
    findings = inspect_files([write("events.csv", columns)])
    assert any("1 of the 1 users in the test rows are in no train row" in warning for warning in findings.warnings)


def test_few_rows_per_user_are_warned_of(write):
    columns = {
        "user": [f"u{n}" for n in range(60)] + ["u0", "u0"],
        "item": [f"i{n % 9}" for n in range(62)],
        "ts": [1_700_000_000 + n for n in range(62)],
    }
    findings = inspect_files([write("events.csv", columns)])
    assert any("fewer than three rows" in warning for warning in findings.warnings)
