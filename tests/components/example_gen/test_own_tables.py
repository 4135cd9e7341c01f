"""Interactions, items and users of a shop in files of several formats, through the executor."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs

from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.executor import Executor
from components.example_gen.loading import load
from components.example_gen.rows import ITEM, TOKEN, USER
from tests.examples_on_disk import read_split
from trainer_module.errors import DataError

USERS, ITEMS, ROWS = 20, 12, 400


def row(number: int) -> dict:
    """An event: every user takes items in turn, one an hour, none of them twice in 15 events."""
    return {
        "customer": number % USERS,
        "sku": f"s{(number * 7 + number // USERS * 2) % (ITEMS + 3)}",  # three items that the table does not know
        "ts": f"2024-05-{1 + number // 24:02d}T{number % 24:02d}:00:00Z",
        "plays": number % 5,
        "device": "phone" if number % 3 else "",
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    (directory / "events").mkdir()
    # The same customers as integers in one file and, after one of them is missing, as floats in another.
    half = ROWS // 2
    lines = ["customer,sku,ts,plays,device"]
    lines += [",".join(str(row(number)[name]) for name in row(0)) for number in range(half)]
    (directory / "events" / "a.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    records = [json.dumps({**row(number), "customer": float(row(number)["customer"])}) for number in range(half, ROWS)]
    (directory / "later.jsonl").write_text("\n".join(records) + "\n")
    items = {
        "sku": [f"s{number}" for number in range(ITEMS)],
        "name": ["Red Shoes", "Blue Hat", *(f"Thing {number}" for number in range(2, ITEMS))],
        "tags": [["new", "red"], [], *([["old"]] * (ITEMS - 2))],
        "price": [19.5, None, *map(float, range(2, ITEMS))],
    }
    pq.write_table(pa.table(items), directory / "items.parquet")
    lines = ["customer;country"] + [f"{user};{'de' if user % 2 else ''}" for user in range(USERS)]
    (directory / "users.csv").write_text("\n".join(lines) + "\n")
    return directory


def described(shop: Path, **changes) -> dict:
    events = {"files": str(shop / "events" / "*.csv.gz"), "user": "customer", "item": "sku", "time": "ts"}
    items = {
        "files": str(shop / "items.parquet"),
        "key": "sku",
        "title": "name",
        "text": ["name"],
        "numeric": ["price"],
    }
    items["categorical"] = [{"name": "tags", "multivalent": True}]
    users = {"files": str(shop / "users.csv"), "delimiter": ";", "key": "customer", "categorical": ["country"]}
    tables = {"interactions": events, "items": items, "users": users}
    for name in tables:
        tables[name] = tables[name] | changes.pop(name, {})
    return tables | {"task": "retrieval", "split": "leave-last-out"} | changes


def ingest(to: Path, settings: dict):
    config = DataConfig.model_validate(settings)
    component = TablesExampleGen(config.directory, config.portable())
    artifact = standard_artifacts.Examples()
    artifact.uri = str(to)
    Executor().Do({}, {standard_component_specs.EXAMPLES_KEY: [artifact]}, component.exec_properties)
    return artifact


def examples(artifact) -> dict[str, list[dict]]:
    return {
        split: read_split(Path(artifact.uri, f"Split-{split}"))
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


@pytest.fixture(scope="module")
def retrieval(shop, tmp_path_factory) -> dict[str, list[dict]]:
    return examples(ingest(tmp_path_factory.mktemp("retrieval"), described(shop)))


def test_every_user_is_held_out_once_and_knows_its_past(retrieval):
    half = ROWS // 2
    assert {split: len(retrieval[split]) for split in ("train", "eval", "test")} == {
        "train": half - 2 * USERS,
        "eval": USERS,
        "test": USERS,
    }
    for query in retrieval["queries"]:
        mine = [
            row(number)["sku"].encode()
            for number in range(half)
            if str(row(number)["customer"]).encode() in query["customer"]
        ]
        # The query knows train and eval rows; the last one is what it must find.
        assert query["history"] == mine[:-1]
        assert query["relevant"] == [mine[-1]]
        assert set(query["seen"]) == set(mine[:-1])


def test_without_times_a_row_knows_the_other_items_of_its_user(shop, tmp_path):
    settings = described(shop, interactions={"time": None}, split="random", history=50)
    found = examples(ingest(tmp_path, settings))
    mine: dict[bytes, set[bytes]] = {}
    for example in found["train"]:
        mine.setdefault(example["customer"][0], set()).add(example["sku"][0])
    for example in (*found["train"], *found["eval"]):
        assert "history_targets" not in example
        assert set(example["history"]) == mine.get(example["customer"][0], set()) - set(example["sku"])
        assert len(set(example["history"])) == len(example["history"])
    for query in found["queries"]:
        assert set(query["history"]) == set(query["seen"])


def test_attributes_are_joined_and_unmatched_items_have_none(retrieval):
    by_item = {example["sku"][0]: example for example in retrieval["train"]}
    assert by_item[b"s0"]["tags"] == [b"new", b"red"]
    assert (by_item[b"s0"]["name_words"], by_item[b"s0"]["price"]) == ([b"red", b"shoes"], [19.5])
    assert (by_item[b"s1"]["tags"], by_item[b"s1"]["price"]) == ([], [])
    assert (by_item[b"s13"]["name_words"], by_item[b"s13"]["price"]) == ([], [])
    countries = {example["customer"][0]: example["country"] for example in retrieval["train"]}
    assert (countries[b"1"], countries[b"2"]) == ([b"de"], [])


def test_candidates_are_the_rows_of_the_items_table(retrieval):
    counts = Counter(example["sku"][0] for example in retrieval["train"])
    found = {candidate["sku"][0]: candidate["train_count"][0] for candidate in retrieval["candidates"]}
    assert found == {f"s{number}".encode(): counts[f"s{number}".encode()] for number in range(ITEMS)}


def test_without_a_table_the_items_that_were_seen_are_candidates(shop, tmp_path):
    settings = described(shop)
    del settings["items"]
    found = examples(ingest(tmp_path, settings))["candidates"]
    assert sorted(candidate["sku"][0] for candidate in found) == sorted(f"s{n}".encode() for n in range(ITEMS + 3))


def test_unmatched_rows_may_be_malformed(shop, tmp_path):
    settings = described(shop, items={"unmatched": "bad_row"})
    with pytest.raises(
        DataError, match=r"events/a\.csv\.gz, line \d+: column 'sku': item 's1[234]' is not in the table items"
    ):
        ingest(tmp_path, settings)


def test_an_identifier_is_one_token_whatever_the_type_of_its_column(shop):
    csv, jsonl = (
        load(
            str(shop),
            DataConfig.model_validate(described(shop, interactions={"files": str(shop / files)})).portable(),
            {},
            True,
        )
        for files in ("events/*.csv.gz", "later.jsonl")
    )
    assert csv.entities.users[TOKEN].to_pylist() == jsonl.entities.users[TOKEN].to_pylist()
    assert csv.entities.users.num_rows == USERS
    assert set(csv.rows.column(USER)) == set(jsonl.rows.column(USER)) == set(range(USERS))
    assert csv.rows.column(ITEM).max() < ITEMS + 3


def test_a_threshold_leaves_rows_out_and_counts_them(shop, tmp_path):
    label = {"label": {"name": "plays", "positive_from": 2}}
    artifact = ingest(tmp_path, described(shop, interactions=label, split={"by": "random", "test_fraction": 0.3}))
    kept = [number for number in range(ROWS // 2) if row(number)["plays"] >= 2]
    assert artifact.get_int_custom_property("dropped_rows") == ROWS // 2 - len(kept)
    assert sum(artifact.get_int_custom_property(f"rows_{split}") for split in ("train", "eval", "test")) == len(kept)


def test_clicks_come_from_a_threshold_with_weights_and_context(shop, tmp_path):
    said = {
        "label": {"name": "plays", "positive_from": 3, "feature": "liked"},
        "weight": {"name": "plays", "transform": "log1p", "feature": "times"},
        "categorical": ["device"],
    }
    artifact = ingest(tmp_path, described(shop, interactions=said, task="click", split="random"))
    for example in (example for split in examples(artifact).values() for example in split):
        plays = round(2.718281828 ** example["times"][0] - 1)
        assert example["liked"] == [float(plays >= 3)]
        assert example["device"] in ([], [b"phone"])


def test_the_items_of_a_history_have_the_weights_of_their_rows(shop, tmp_path):
    weight = {"weight": {"name": "plays", "transform": "log1p"}}
    found = examples(ingest(tmp_path, described(shop, interactions=weight, history=3)))
    by_row = {
        (example["customer"][0], example["sku"][0]): example["plays"][0]
        for split in ("train", "eval", "test")
        for example in found[split]
    }
    for split in ("train", "eval", "test"):
        weights = [
            (example["history_weights"], [by_row[example["customer"][0], item] for item in example["history"]])
            for example in found[split]
        ]
        assert all(of_example == expected for of_example, expected in weights)
        assert any(len(of_example) == 3 for of_example, _ in weights)
    assert "history_weights" not in found["queries"][0]


def test_a_split_of_all_rows_holds_out_what_that_of_another_task_does(shop, tmp_path):
    label, split = {"label": {"name": "plays", "positive_from": 2}}, {"by": "time", "test_fraction": 0.3}
    later, all_rows = (
        ingest(tmp_path / name, described(shop, interactions=label, split=split, **keys))
        for name, keys in (("clicks", {"task": "click"}), ("all", {"split_all_rows": True}))
    )
    clicks, kept = examples(later), examples(all_rows)
    for name in ("train", "eval", "test"):
        of_clicks = {(row["customer"][0], row["ts"][0]) for row in clicks[name] if row["plays"] == [1.0]}
        assert {(row["customer"][0], row["ts"][0]) for row in kept[name]} == of_clicks
    assert all_rows.get_int_custom_property("dropped_rows") == sum(row(n)["plays"] < 2 for n in range(ROWS // 2))
    # The activity of users counts the rows that are left.
    counts = Counter(row["customer"][0] for row in kept["train"])
    assert {row["user_activity"][0] for row in kept["test"] if 0 < counts[row["customer"][0]] < 20} <= {b"1-19"}


def test_slices_name_what_is_missing(shop, tmp_path):
    artifact = ingest(tmp_path, described(shop, slices=["country", "user_activity"]))
    assert {example["country"][0] for example in examples(artifact)["queries"]} == {b"de", b"<missing>"}


def test_a_key_that_stands_twice_is_malformed(shop, tmp_path):
    lines = (shop / "users.csv").read_text()
    (tmp_path / "users.csv").write_text(lines + "7;fr\n")
    settings = described(shop, users={"files": str(tmp_path / "users.csv")})
    with pytest.raises(DataError, match=r"users\.csv, line 22: users: key '7' already stands in line 9"):
        ingest(tmp_path / "out", settings)


def test_a_test_split_of_one_class_is_refused_with_the_counts(tmp_path):
    lines = ["user,clicked,fold"] + [f"u{n},{n % 2},train" for n in range(8)] + ["u1,1,eval", "u2,0,eval"]
    (tmp_path / "clicks.csv").write_text("\n".join([*lines, *(f"u{n},0,test" for n in range(4))]) + "\n")
    clicks = {"files": str(tmp_path / "clicks.csv"), "label": "clicked", "categorical": ["user"]}
    split = {"by": "column", "column": "fold"}
    with pytest.raises(DataError, match=r"all 4 rows of test have the label 0.*both 0 and 1 are needed"):
        ingest(tmp_path / "out", {"interactions": clicks, "task": "click", "split": split})


def test_eval_is_drawn_where_no_value_says_so(tmp_path):
    lines = [f"u{n % 9},i{n},{'test' if n % 4 == 0 else 'train'}" for n in range(400)]
    (tmp_path / "events.csv").write_text("\n".join(["user,item,split", *lines]) + "\n")
    events = {"files": str(tmp_path / "events.csv"), "user": "user", "item": "item"}
    split = {"by": "column", "column": "split", "eval": None, "eval_fraction": 0.2}
    found = examples(ingest(tmp_path / "out", {"interactions": events, "task": "retrieval", "split": split}))
    assert len(found["test"]) == 100
    assert 30 <= len(found["eval"]) <= 90
    assert all(len(query["seen"]) + len(query["relevant"]) >= 44 for query in found["queries"])


def test_columns_of_any_name_are_read(tmp_path):
    lines = [f"u{n % 5},{n % 2},{n}" for n in range(400)]
    (tmp_path / "a.csv").write_text("\n".join(["user id,clicked?,Price (EUR)", *lines]) + "\n")
    table = {
        "files": str(tmp_path / "a.csv"),
        "label": "clicked?",
        "categorical": ["user id"],
        "numeric": ["Price (EUR)"],
    }
    found = examples(ingest(tmp_path / "out", {"interactions": table, "task": "click"}))
    assert set(found["train"][0]) == {"user_id", "clicked", "Price_EUR"}
