"""What becomes of the cells of a row."""

import numpy as np
import pyarrow as pa
import pytest

from components.example_gen.config import DataConfig
from components.example_gen.conversion import convert_interactions, interaction_columns
from components.example_gen.joins.attributes import OwnColumns
from components.example_gen.readers.raw_rows import RawRows
from components.example_gen.readers.time_units import ColumnUnit
from components.example_gen.rows import LABEL, PROPENSITY, Entities, Rows


def converted(labels: pa.Array):
    """The labels of the good rows, and the problems of the others."""
    table = {"files": "r.csv", "user": "user", "item": "item", "label": "stars"}
    config = DataConfig(interactions=table, task="rating")
    columns = {"user": pa.array(["u"] * len(labels)), "item": pa.array(["i"] * len(labels)), "stars": labels}
    raw = RawRows("r.csv", 0, columns, np.arange(len(labels)) + 2, lambda row: b"")
    batch, bad = convert_interactions(raw, config.described(), config.split, None, {}, ColumnUnit())
    return batch.column(LABEL).to_pylist(), {row.line: row.problem for row in bad}


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([5, 2**53 + 1, -(2**60)]),
        pa.array([5.0, 1e17, -3.4e38]),
        pa.array(["5", "9007199254740993", "-9999999999999999999"]),
        pa.array([5, 2**63, 2**64 - 1], pa.uint64()),
    ],
    ids=lambda labels: str(labels.type),
)
def test_a_label_that_loses_digits_or_whose_square_overflows_is_a_bad_row(labels):
    found, bad = converted(labels)
    assert found == [5.0]
    assert set(bad) == {3, 4}
    for problem in bad.values():
        assert problem.startswith("column 'stars': expected a label below 9,007,199,254,740,992 in size, found ")
        assert problem.endswith("Divide the column, or take its logarithm")


def test_what_is_no_probability_of_having_been_shown_is_a_bad_row():
    table = {"files": "r.csv", "item": "item", "label": "click", "propensity": "p"}
    config = DataConfig(interactions=table, task="click")
    propensities = pa.array(["1", "0.25", "0", "-0.1", "1.01", "", "often", "1e-60"])
    columns = {
        "item": pa.array(["i"] * len(propensities)),
        "click": pa.array([1] * len(propensities)),
        "p": propensities,
    }
    raw = RawRows("r.csv", 0, columns, np.arange(len(propensities)) + 2, lambda row: b"")
    batch, bad = convert_interactions(raw, config.described(), config.split, None, {}, ColumnUnit())
    assert batch.column(PROPENSITY).to_pylist() == [1.0, 0.25]
    problems = {row.line: row.problem for row in bad}
    assert set(problems) == {4, 5, 6, 7, 8, 9}
    assert problems[6] == "column 'p': expected a probability above 0 and at most 1, found 1.01"


def test_further_labels_may_be_missing_and_are_held_against_their_own_task():
    table = {"files": "r.csv", "user": "user", "label": "clicked"}
    table["labels"] = [
        {"name": "dwell", "task": "rating", "label_range": [0, 100]},
        {"name": "dwell", "feature": "long", "task": "click", "positive_from": 50},
        {"name": "bought", "task": "click"},
    ]
    config = DataConfig(interactions=table, task="click")
    described = config.described()
    columns = {
        "user": pa.array(["u"] * 5),
        "clicked": pa.array([1, 0, 1, 1, None]),
        "dwell": pa.array([70.0, None, 101.0, 20.0, 1.0]),
        "bought": pa.array([1, None, 0, 2, 1]),
    }
    raw = RawRows("r.csv", 0, columns, np.arange(5) + 2, lambda row: b"")
    batch, bad = convert_interactions(raw, described, config.split, None, {}, ColumnUnit())
    # Only the label itself must be there.
    assert {row.line: row.problem.split(";")[0] for row in bad} == {
        4: "column 'dwell': expected a number from 0 to 100, found 101",
        5: "column 'bought': expected 0 or 1, found 2",
        6: "column 'clicked': expected a value, found none",
    }
    assert batch.column("dwell").to_pylist() == [70.0, None]
    assert batch.column("long").to_pylist() == [1.0, None]
    assert batch.column("bought").to_pylist() == [1.0, None]
    (part,) = OwnColumns(described).parts(Rows(0, batch), None, Entities(None, None, ("r.csv",)))
    assert part.columns.column("dwell").to_pylist() == [[70.0], []]


def test_retrieval_leaves_further_labels_unread():
    table = {"files": "r.csv", "user": "user", "item": "item", "labels": [{"name": "dwell", "task": "rating"}]}
    described = DataConfig(interactions=table, task="retrieval").described()
    assert interaction_columns(described, None) == ["user", "item"]
    assert described.spec().labels == described.spec().features.further_labels == ()
