"""What a pushed rating model is asked, from the raw files."""

import json

from components.example_gen.generated.ratings import write_synthetic
from pipeline.ask.predict import RatingPredictor


def predictor(tmp_path, dataset: str) -> RatingPredictor:
    write_synthetic(tmp_path / "data", 1000, 30, 40, seed=0)
    model = tmp_path / "model"
    model.mkdir()
    config = {"data": {"dataset": dataset, "neighbours": 1000}, "model": {"type": "rating"}}
    (model / "summary.json").write_text(json.dumps({"config": config, "data_dir": str(tmp_path / "data")}))
    return RatingPredictor(model)


def test_a_pair_comes_with_all_that_its_user_and_item_did_elsewhere(tmp_path):
    asks = predictor(tmp_path, "synthetic-neighbours")
    rows = [line.split()[:2] for line in (tmp_path / "data" / "u.data").read_text().splitlines()]
    user, item = rows[0]
    (example,) = asks.examples([user], [item]).select(["rated", "raters"]).to_pylist()
    assert {token.decode() for token in example["rated"]} == {i for u, i in rows if u == user} - {item}
    assert {token.decode() for token in example["raters"]} == {u for u, i in rows if i == item} - {user}


def test_other_datasets_need_no_ratings(tmp_path):
    asks = predictor(tmp_path, "synthetic")
    (tmp_path / "data" / "u.data").unlink()
    assert asks.examples(["1"], ["2"])["movie_id"].to_pylist() == [[b"2"]]
