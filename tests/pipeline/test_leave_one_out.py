"""What a value adds to a score, by arithmetic that can be redone by hand."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.ask.leave_one_out import leave_one_out

WEIGHTS = {b"ann": 1.0, b"tea": -4.0, b"cup": 0.5}


def lists(values, of=None) -> pa.Array:
    return pa.array([values], of or pa.large_list(pa.large_binary()))


ROW = pa.RecordBatch.from_pydict(
    {
        "user": lists([b"ann"]),
        "history": lists([b"tea", b"cup", b"tea"]),
        "price": lists([2.5], pa.large_list(pa.float32())),
        "country": lists([]),
        "untouched": lists([b"x"]),
    }
)


def additive(requests: pa.RecordBatch) -> dict[str, np.ndarray]:
    assert requests.column("untouched").to_pylist() == [[b"x"]] * requests.num_rows
    rows = requests.to_pylist()
    tokens = [sum(WEIGHTS[token] for name in ("user", "history") for token in row[name]) for row in rows]
    return {"score": 10 + np.array(tokens, np.float32) + np.array([sum(row["price"]) for row in rows], np.float32)}


def test_contributions_to_an_additive_score_add_up_to_it():
    found = leave_one_out(ROW, ["user", "history", "price", "country"], additive)
    assert (found.score, found.without_any) == (6.0, 10.0)
    assert [(each.column, each.value, each.amount) for each in found.contributions] == [
        ("history", "tea", -4.0),
        ("history", "tea", -4.0),
        ("price", "2.5", 2.5),
        ("user", "ann", 1.0),
        ("history", "cup", 0.5),
    ]
    assert found.together == pytest.approx(found.score - found.without_any)
    assert found.adds_up


def test_values_that_act_together_count_each():
    def product(requests: pa.RecordBatch) -> dict[str, np.ndarray]:
        return {"score": np.array([len(row["user"]) * len(row["history"]) for row in requests.to_pylist()], np.float32)}

    found = leave_one_out(ROW, ["user", "history"], product)
    assert [(each.column, each.amount) for each in found.contributions] == [("user", 3.0), *[("history", 1.0)] * 3]
    assert found.together == 6 and found.score - found.without_any == 3 and not found.adds_up


def test_each_head_of_a_model_of_several_goals_has_its_own_amounts():
    def goals(requests: pa.RecordBatch) -> dict[str, np.ndarray]:
        rows = requests.to_pylist()
        clicked, seconds = (np.array([len(row[name]) for row in rows], np.float32) for name in ("user", "history"))
        return {"clicked": clicked, "seconds": 10 * seconds, "score": clicked + 0.5 * seconds}

    found = leave_one_out(ROW, ["user", "history"], goals)
    assert (found.score, found.without_any, found.heads) == (2.5, 0, {"clicked": 1, "seconds": 30})
    assert [(each.column, each.amount, each.heads) for each in found.contributions] == [
        ("user", 1.0, {"clicked": 1, "seconds": 0}),
        *[("history", 0.5, {"clicked": 0, "seconds": 10})] * 3,
    ]


def test_all_questions_are_asked_at_once():
    sizes = []

    def counting(requests: pa.RecordBatch) -> dict[str, np.ndarray]:
        sizes.append(requests.num_rows)
        return {"score": np.zeros(requests.num_rows)}

    leave_one_out(ROW, ["user", "history"], counting)
    assert sizes == [2 + 1 + 3]
