"""What `recspan explain` prints of an explanation."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from components.example_gen.config import DataConfig
from pipeline.ask import explanations
from pipeline.ask.leave_one_out import Contribution, Explanation
from trainer_module.data.datasets.movielens import MOVIELENS_100K

GOALS = Explanation(
    score=1.5,
    without_any=1.0,
    heads={"clicked": 0.25, "seconds": 125.0},
    contributions=(
        Contribution("device", "phone", 0.3, {"clicked": 0.05, "seconds": 25.0}),
        Contribution("user", "u1", 0.2, {"clicked": 0.2, "seconds": 0.0}),
        # Heads may cancel out in the score.
        Contribution("item", "i1", 0.0, {"clicked": -0.1, "seconds": 10.0}),
        Contribution("ignored", "x", 0.0, {"clicked": 0.0, "seconds": 0.0}),
    ),
)
OF_RATING = (Contribution("user_id", "1", 0.5, {}), Contribution("movie_id", "2", 0.25, {}))
RATING = Explanation(3.5, 3.0, {}, OF_RATING)
NOTHING = Explanation(3.0, 3.0, {}, (Contribution("user_id", "unheard of", 0.0, {}),))


class Requests:
    """Knows every user and the titles of no item."""

    dataset = MOVIELENS_100K

    def is_known(self, what: str, token: str) -> bool:
        return True

    def title(self, item: str) -> str | None:
        return None


@pytest.fixture
def shown(monkeypatch):
    """From an explanation to what is printed."""
    monkeypatch.setattr(explanations, "read_summary", lambda version: {})
    monkeypatch.setattr(explanations, "data_config", lambda summary: DataConfig(dataset="movielens-100k"))

    def show(explanation: Explanation, top: int = 15, as_json: bool = False) -> str:
        monkeypatch.setattr(explanations, "_prediction", lambda *arguments: (Requests(), explanation))
        console = Console(width=200)
        with console.capture() as captured:
            explanations.explain_one(console, Path("model/1"), None, "1", "2", (), None, top, as_json)
        return captured.get()

    return show


def test_heads_have_columns_of_their_own(shown):
    text = shown(GOALS)
    assert "score 1.5000 (clicked 0.2500, seconds 125.0000); 1.0000 without any value" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["adds", "clicked", "seconds", "column", "value"] in rows
    assert ["+0.3000", "+0.0500", "+25.0000", "device", "phone"] in rows
    assert ["+0.0000", "-0.1000", "+10.0000", "item", "i1"] in rows
    assert "ignored" not in text
    assert "the values add up to +0.5000, what they add together: each acts on its own" in text


def test_heads_are_in_the_json(shown):
    answer = json.loads(shown(GOALS, top=1, as_json=True))
    assert answer["heads"] == {"clicked": 0.25, "seconds": 125.0} and answer["adds_up"] is True
    assert answer["contributions"] == [
        {"column": "device", "value": "phone", "amount": 0.3, "heads": {"clicked": 0.05, "seconds": 25.0}}
    ]


def test_a_model_of_one_goal_has_no_heads(shown):
    text = shown(RATING)
    assert "score 3.5000; 3.0000 without any value" in text
    assert "one by one the values add +0.7500, together +0.5000: they act together" in text
    answer = json.loads(shown(RATING, as_json=True))
    assert "heads" not in answer
    assert answer["contributions"][0] == {"column": "user_id", "value": "1", "amount": 0.5}


def test_values_that_change_nothing_are_said_to(shown):
    text = shown(NOTHING)
    assert "no value of this request changes the answer" in text and "add up" not in text


def test_values_that_are_left_out_are_counted(shown):
    assert "2 values with smaller contributions are not shown; -n shows more" in shown(GOALS, top=1)
