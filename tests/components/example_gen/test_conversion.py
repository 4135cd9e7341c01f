"""What becomes of the cells of a row."""

import numpy as np
import pyarrow as pa
import pytest

from components.example_gen.config import DataConfig
from components.example_gen.conversion import convert_interactions
from components.example_gen.readers.raw_rows import RawRows
from components.example_gen.readers.time_units import ColumnUnit
from components.example_gen.rows import LABEL, PROPENSITY


def converted(labels: pa.Array):
    """The labels of the good rows, and the problems of the others."""
    table = {"files": "r.csv", "user": "user", "item": "item", "label": "stars"}
    config = DataConfig(interactions=table, task="rating")
    columns = {"user": pa.array(["u"] * len(labels)), "item": pa.array(["i"] * len(labels)), "stars": labels}
    raw = RawRows("r.csv", 0, columns, np.arange(len(labels)) + 2, lambda row: b"")
    batch, bad, _ = convert_interactions(raw, config.described(), config.split, None, {}, ColumnUnit())
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
    batch, bad, _ = convert_interactions(raw, config.described(), config.split, None, {}, ColumnUnit())
    assert batch.column(PROPENSITY).to_pylist() == [1.0, 0.25]
    problems = {row.line: row.problem for row in bad}
    assert set(problems) == {4, 5, 6, 7, 8, 9}
    assert problems[6] == "column 'p': expected a probability above 0 and at most 1, found 1.01"
