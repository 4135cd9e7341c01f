"""The proposed experiment is read by the configuration as it stands."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from components.example_gen.config import DataConfig
from pipeline.cli import app
from pipeline.inspection.inspect import inspect_files
from pipeline.inspection.proposal import propose
from trainer_module.errors import ConfigError, DataError


def proposed(*files: str) -> dict:
    tree = yaml.safe_load(propose(inspect_files(files)))
    DataConfig.model_validate(tree["data"]).described().spec()
    return tree


def test_a_shop_of_three_files(shop):
    _, files = shop
    tree = proposed(*files)
    data = tree["data"]
    assert data["interactions"] == {"files": files[0], "user": "customer", "item": "sku", "time": "ts"}
    assert data["items"] == {
        "files": files[1],
        "key": "sku",
        "title": "name",
        "categorical": ["brand", {"name": "tags", "separator": "|"}],
        "numeric": ["price"],
        "text": ["name"],
    }
    assert data["users"] == {"files": files[2], "key": "customer", "categorical": ["country"]}
    assert data["task"] == "retrieval"
    assert data["split"] == {"by": "leave-last-out"}
    assert tree["model"] == {"type": "two_tower"}


def test_ratings_are_predicted(write, ratings):
    data = proposed(write("ratings.csv", {"user_id": ratings["userId"], **ratings}))["data"]
    assert data["task"] == "rating"
    assert data["label_range"] == [1, 5]
    assert data["interactions"]["label"] == "stars"


def test_a_file_without_header_and_with_a_long_delimiter(write, ratings):
    file = write("ratings.dat", ratings, delimiter="::", header=False)
    data = proposed(file)["data"]
    assert data["interactions"]["delimiter"] == "::"
    assert data["interactions"]["quoted"] is False
    assert data["interactions"]["column_names"] == ["column_1", "column_2", "column_3", "column_4"]
    assert data["interactions"]["user"] == "column_1"


def test_files_without_header_are_joined_by_their_values(write, ratings):
    events = write("ratings.dat", ratings | {"userId": [int(u[1:]) for u in ratings["userId"]]}, "::", header=False)
    films = {"id": [f"f{n}" for n in range(30)], "title": [f"Invented film {n} ({1960 + n})" for n in range(30)]}
    people = {"id": list(range(40)), "group": [f"g{n % 3}" for n in range(40)]}
    data = proposed(write("movies.dat", films, "::", header=False), events, write("users.dat", people, "::", False))[
        "data"
    ]
    assert data["interactions"]["user"] == data["users"]["key"] == data["items"]["key"] == "column_1"
    assert data["interactions"]["item"] == "column_2"
    assert data["items"]["title"] == "column_2"
    assert data["users"]["categorical"] == [{"name": "column_2", "feature": "user_column_2"}]


def test_clicks_with_numbers_are_for_dlrm_and_leaks_are_left_out(write):
    columns = {
        "user": [f"u{n % 20}" for n in range(200)],
        "item": [f"i{n % 30}" for n in range(200)],
        "click": [int(n % 4 == 0) for n in range(200)],
        "price": [(n * 37 % 100) / 7 for n in range(200)],
        "device": ["phone" if n % 3 else "desk" for n in range(200)],
        "paid": [1.5 if n % 4 == 0 else None for n in range(200)],
    }
    tree = proposed(write("clicks.csv", columns))
    assert tree["data"]["task"] == "click"
    assert tree["data"]["interactions"]["categorical"] == ["device"]
    assert tree["data"]["interactions"]["numeric"] == ["price"]
    assert tree["model"] == {"type": "dlrm"}
    columns["click"] = [2 * click - 1 for click in columns["click"]]
    del columns["price"], columns["paid"]
    tree = proposed(write("votes.csv", columns))
    assert tree["data"]["interactions"]["label"] == {"name": "click", "positive_from": 1}
    assert tree["model"] == {"type": "dcn"}


@pytest.mark.parametrize(("third", "expected"), [("valid", {"eval": "valid"}), (None, {"eval": None})])
def test_a_split_column_is_taken_over(write, third, expected):
    values = ["train", "train", "test", third or "train"]
    columns = {
        "user": [n % 5 for n in range(40)],
        "item": [n % 8 for n in range(40)],
        "fold": [values[n // 5 % 4] for n in range(40)],
    }
    assert proposed(write("events.csv", columns))["data"]["split"] == {"by": "column", "column": "fold"} | expected


def test_plays_weigh_rows(write):
    columns = {
        "user": [n % 10 for n in range(100)],
        "artist": [f"a{n % 13}" for n in range(100)],
        "plays": [1 + n * n % 97 for n in range(100)],
    }
    data = proposed(write("plays.csv", columns))["data"]
    assert data["interactions"]["weight"] == {"name": "plays", "transform": "log1p"}
    assert data["split"] == {"by": "stratified"}


def test_names_that_two_tables_share_become_two_features(shop):
    folder, files = shop
    for name, column in (("items.csv", "sku"), ("customers.csv", "customer")):
        frame = pl.read_csv(folder / name)
        frame.with_columns(group=pl.col(column) % 3).write_csv(folder / name)
    data = proposed(*files)["data"]
    assert "group" in data["items"]["categorical"]
    assert {"name": "group", "feature": "user_group"} in data["users"]["categorical"]


def test_words_that_yaml_reads_as_booleans_are_quoted(write):
    columns = {
        "user": [n % 10 for n in range(100)],
        "item": [f"a{n % 13}" for n in range(100)],
        "click": [n * 7 % 3 % 2 for n in range(100)],
        "on": [f"v{n * n % 7}" for n in range(100)],
        "a: b #c": [f"v{n * n % 5}" for n in range(100)],
    }
    assert proposed(write("clicks.csv", columns))["data"]["interactions"]["categorical"] == ["on", "a: b #c"]


def test_words_for_missing_numbers_are_named(write):
    columns = {
        "user": [n % 10 for n in range(100)],
        "item": [f"a{n % 13}" for n in range(100)],
        "click": [n * 7 % 3 % 2 for n in range(100)],
        "price": ["NULL" if n % 9 == 0 else n * 1.5 for n in range(100)],
        "word": ["NA" if n % 9 == 0 else "DE" if n % 2 else "FR" for n in range(100)],
    }
    interactions = proposed(write("clicks.csv", columns))["data"]["interactions"]
    assert interactions["missing_values"] == ["", "NULL"]
    assert interactions["numeric"] == ["price"]
    assert interactions["categorical"] == ["word"]


def test_several_files_of_one_layout_are_one_table(tmp_path, ratings):
    frame = pl.DataFrame(ratings)
    for number in range(2):
        part = frame.slice(300 * number, 300).write_csv()
        (tmp_path / f"day-{number}.csv.gz").write_bytes(gzip.compress(part.encode()))
    files = [str(tmp_path / f"day-{number}.csv.gz") for number in range(2)]
    assert proposed(*files)["data"]["interactions"]["files"] == files
    assert proposed(f"{tmp_path}/day-*.csv.gz")["data"]["interactions"]["files"] == f"{tmp_path}/day-*.csv.gz"


def test_data_that_fits_no_task_is_refused(write):
    file = write("weather.csv", {"station": ["a", "b", "a"], "rain": [1.25, 2.5, 0.125]})
    with pytest.raises(DataError, match=r"weather\.csv: no task fits"):
        propose(inspect_files([file]))


def test_the_command_writes_once(shop, tmp_path):
    _, files = shop
    output = tmp_path / "out" / "experiment.yaml"
    run = CliRunner().invoke
    result = run(app, ["data", "inspect", *files, "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "warning:" in result.output
    assert "leave-last-out" in output.read_text()
    again = run(app, ["data", "inspect", *files, "-o", str(output)])
    assert isinstance(again.exception, ConfigError)
    assert "--force" in str(again.exception)
    assert run(app, ["data", "inspect", *files, "-o", str(output), "--force"]).exit_code == 0


def test_json_holds_the_findings_and_the_experiment(shop):
    _, files = shop
    result = CliRunner().invoke(app, ["data", "inspect", *files, "--json"])
    found = json.loads(result.stdout)
    assert found["roles"]["user"]["column"] == "customer"
    assert found["facts"]["items"]["entities"] == 40
    assert found["interactions"]["columns"][0]["name"] == "customer"
    assert yaml.safe_load(found["experiment"])["data"]["task"] == "retrieval"


def test_a_missing_file_is_a_data_error():
    result = CliRunner().invoke(app, ["data", "inspect", str(Path("nowhere.csv"))])
    assert isinstance(result.exception, DataError)
