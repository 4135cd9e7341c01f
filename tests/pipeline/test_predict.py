"""Requests to pushed ranking models, from the raw files."""

import json

import pytest

from components.example_gen.generated.ratings import write_synthetic
from pipeline.ask.predict import Predictor
from pipeline.ask.requests import Given
from trainer_module.errors import ConfigError


def predictor(tmp_path, data: dict, **asked) -> Predictor:
    write_synthetic(tmp_path / "data", 1000, 30, 40, seed=0)
    model = tmp_path / "model"
    model.mkdir()
    config = {"data": {"dataset": "synthetic"} | data, "model": {"type": "rating"}}
    (model / "summary.json").write_text(json.dumps({"config": config, "data_dir": str(tmp_path / "data")}))
    return Predictor(model, **asked)


def test_a_pair_comes_with_all_that_its_user_and_item_did_elsewhere(tmp_path):
    asks = predictor(tmp_path, {"neighbours": 1000})
    rows = [line.split()[:2] for line in (tmp_path / "data" / "u.data").read_text().splitlines()]
    user, item = rows[0]
    (example,) = asks.requests.pairs([user], [item]).select(["rated", "raters"]).to_pylist()
    assert {token.decode() for token in example["rated"]} == {i for u, i in rows if u == user} - {item}
    assert {token.decode() for token in example["raters"]} == {u for u, i in rows if i == item} - {user}


def test_other_datasets_need_no_ratings(tmp_path):
    asks = predictor(tmp_path, {})
    (tmp_path / "data" / "u.data").unlink()
    assert asks.requests.pairs(["1"], ["2"])["movie_id"].to_pylist() == [[b"2"]]


def test_unknown_users_are_what_is_given_of_them(tmp_path):
    asks = predictor(tmp_path, {"neighbours": 1000}, users=["nobody"], items=["3", "4"])
    given = Given({"gender": " F", "age": "30", "occupation": " \u3000"}, history=("3", "4"))
    (example,) = asks.requests.pairs([" nobody "], ["2\t"], given).to_pylist()
    assert example["movie_id"] == [b"2"]
    assert (example["user_id"], example["gender"], example["age"]) == ([b"nobody"], [b"F"], [30.0])
    assert (example["rated"], example["occupation"]) == ([b"3", b"4"], [])
    assert not asks.requests.is_known("user", "nobody")
    assert asks.requests.is_known("user", "1")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gendr": "F"}, "--value gendr: no such input. Did you mean gender?"),
        ({"age": "old"}, "--value age=old: column 'age': expected a number, found 'old'"),
    ],
)
def test_a_given_value_that_no_input_takes_is_refused(tmp_path, values, message):
    asks = predictor(tmp_path, {})
    with pytest.raises(ConfigError) as caught:
        asks.requests.pairs(["1"], ["2"], Given(values))
    assert str(caught.value).startswith(message)


def test_a_pair_needs_both_sides(tmp_path):
    with pytest.raises(ConfigError, match="name the item with --item"):
        predictor(tmp_path, {}).predict(["1"], [])
