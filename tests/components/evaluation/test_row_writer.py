"""The rows that the Evaluator keeps, from a batch to the file."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma

from components.evaluation.extractors import naive_feature
from components.evaluation.row_files import read_rows
from components.evaluation.row_writer import KeepRows, KeptRows, keeping, ranks, rows_to_keep

BYTES, NUMBERS = pa.large_list(pa.large_binary()), pa.large_list(pa.float32())


def kept(task, directory="", **options) -> KeptRows:
    keys = ("user",) if task == "retrieval" else ("user", "item", "rating")
    return KeptRows(str(directory), task, keys, ("age",), naive={"naive": naive_feature("baseline")}, **options)


def rating_extracts(predictions) -> dict:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([[b"a"], [b"b"]], BYTES),
            pa.array([[b"x"], [b"x"]], BYTES),
            pa.array([[4.0], [1.0]], NUMBERS),
        ],
        ["user", "item", "rating"],
    )
    return {
        tfma.ARROW_RECORD_BATCH_KEY: batch,
        tfma.FEATURES_KEY: {naive_feature("baseline"): np.array([3.0, 3.0]), "age": np.array([[20], [30]])},
        tfma.LABELS_KEY: np.array([[4.0], [1.0]]),
        tfma.PREDICTIONS_KEY: predictions,
    }


def table(rows: KeptRows, extracts: dict) -> dict[str, list]:
    return rows.table(rows.keyed(extracts)).to_pydict()


def test_ratings_by_hand():
    found = table(kept("rating"), rating_extracts(np.array([3.5, 3.0])))
    assert found["loss"] == [0.25, 4.0]
    assert found["naive"] == [3.0, 3.0]
    assert found["blessed"] == [None, None]
    assert found["slice.age"] == ["20", "30"]
    assert len(set(found["row"])) == 2


def test_the_last_blessed_model_stands_beside_the_candidate():
    predictions = {"candidate": np.array([3.5, 3.0]), "baseline": np.array([4.0, 1.0])}
    found = table(kept("rating"), rating_extracts(predictions))
    assert found["prediction"] == [3.5, 3.0]
    assert found["blessed"] == [4.0, 1.0]


def test_queries_by_hand():
    batch = pa.RecordBatch.from_arrays(
        [pa.array([[b"u"], [b"v"]], BYTES), pa.array([[b"s", b"t"], []], BYTES)], ["user", "seen"]
    )
    answers = {
        "ids": np.array([[b"x", b"y", b"z"], [b"z", b"", b""]]),
        "popular_ids": np.array([[b"y", b"x", b"q"], [b"q", b"z", b""]]),
        "relevant": np.array([[b"z", b"q"], [b"z", b""]]),
        "relevant_train_counts": np.array([[5, 0], [5, 0]]),
    }
    extracts = {
        tfma.ARROW_RECORD_BATCH_KEY: batch,
        tfma.FEATURES_KEY: {"age": np.array([20, 30])},
        tfma.PREDICTIONS_KEY: answers,
    }
    found = table(kept("retrieval", user_key="user"), extracts)
    assert found["user"] == [b"u", b"v"]
    assert found["seen"] == [2, 0]
    assert found["train_counts"] == [[5, 0], [5]]
    assert found["ranks"] == [[3, 0], [1]]
    assert found["popular_ranks"] == [[0, 3], [2]]
    assert found["listed"] == [[b"x", b"y", b"z"], [b"z"]]


def test_the_first_place_is_1_and_what_is_not_listed_has_0():
    assert ranks(np.array([[b"a", b"b"]]), [[b"b", b"c", b"a"]]) == [[2, 0, 1]]


def test_files_hold_the_rows_and_batches_pass_on(tmp_path):
    rows = kept("rating", tmp_path / "rows")
    extracts = rows.keyed(rating_extracts(np.array([3.5, 3.0])))
    with beam.Pipeline() as pipeline:
        passed = pipeline | beam.Create([extracts]) | KeepRows(rows)
        _ = passed | beam.Map(_check)
    found = read_rows(str(tmp_path))
    assert (found.task, found.keys, found.slices) == ("rating", ("item", "rating", "user"), ("age",))
    assert sorted(found.column("loss")) == [0.25, 4.0]
    assert found.table["slice.age"].to_pylist() == ["20", "30"]
    assert read_rows(str(tmp_path), ("loss", "ranks"), at_most=1).table.to_pydict() == {"loss": [0.25]}


def _check(extracts: dict) -> None:
    assert len(extracts[tfma.LABELS_KEY]) == 2


def test_rows_are_kept_only_where_it_is_said():
    assert rows_to_keep() is None
    with keeping(kept("rating")) as _:
        assert rows_to_keep() == kept("rating")
    assert rows_to_keep() is None


def test_a_slice_needs_one_value_for_each_row():
    extracts = rating_extracts(np.array([3.5, 3.0]))
    extracts[tfma.FEATURES_KEY]["age"] = np.ones((2, 2))
    with pytest.raises(ValueError, match="slice column 'age' has shape"):
        table(kept("rating"), extracts)
