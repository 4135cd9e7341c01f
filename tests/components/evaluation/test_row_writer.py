"""The rows that the Evaluator keeps, from a batch to the file."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma

from components.evaluation.added_features import ROW_WEIGHT, label_feature, naive_feature
from components.evaluation.row_files import read_rows
from components.evaluation.row_writer import KeepRows, KeptRows, ranks
from trainer_module.errors import ModelError

BYTES, NUMBERS = pa.large_list(pa.large_binary()), pa.large_list(pa.float32())


def kept(task, directory="", **options) -> KeptRows:
    keys = ("user",) if task == "retrieval" else ("user", "item", "rating")
    return KeptRows(str(directory), task, keys, ("age",), **options)


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
        tfma.FEATURES_KEY: {
            naive_feature("baseline"): np.array([3.0, 3.0]),
            ROW_WEIGHT: np.array([1.0, 2.0]),
            "age": np.array([[20], [30]]),
        },
        tfma.LABELS_KEY: np.array([[4.0], [1.0]]),
        tfma.PREDICTIONS_KEY: predictions,
    }


def table(rows: KeptRows, extracts: dict) -> dict[str, list]:
    return rows.table(rows.keyed(extracts)).to_pydict()


def test_ratings_by_hand():
    found = table(kept("rating"), rating_extracts(np.array([3.5, 3.0])))
    assert found["loss"] == [0.25, 4.0]
    assert found["naive"] == [3.0, 3.0]
    assert found["weight"] == [1.0, 2.0]
    assert found["blessed"] == [None, None]
    assert found["slice.age"] == ["20", "30"]
    assert len(set(found["row"])) == 2


def test_the_last_blessed_model_stands_beside_the_candidate():
    predictions = {"candidate": np.array([3.5, 3.0]), "baseline": np.array([4.0, 1.0])}
    found = table(kept("rating"), rating_extracts(predictions))
    assert found["prediction"] == [3.5, 3.0]
    assert found["blessed"] == [4.0, 1.0]


HEADS = {"clicked": "click", "dwell": "rating"}


def head_extracts(predictions) -> dict:
    """Two rows of a model of two goals; the second lacks its dwell."""
    features = {
        label_feature("clicked"): np.array([1.0, 0.0]),
        label_feature("dwell"): np.array([4.0, np.nan]),
        naive_feature("baseline", "dwell"): np.array([3.0, 3.0]),
        naive_feature("logistic", "clicked"): np.array([0.25, 0.5]),
    }
    extracts = rating_extracts(predictions)
    extracts[tfma.FEATURES_KEY] = extracts[tfma.FEATURES_KEY] | features
    return extracts | {tfma.LABELS_KEY: None}


def test_heads_have_columns_of_their_own_and_rows_without_a_label_no_loss():
    predictions = {"clicked": np.array([0.5, 0.5]), "dwell": np.array([6.0, 7.0])}
    found = table(kept("rating", heads=HEADS), head_extracts(predictions))
    assert found["head.clicked.loss"] == pytest.approx([np.log(2), np.log(2)])
    assert found["head.clicked.logistic"] == [0.25, 0.5]
    assert found["head.dwell.label"] == [4.0, None]
    assert found["head.dwell.prediction"] == [6.0, 7.0]
    assert found["head.dwell.naive"] == [3.0, 3.0]
    assert found["head.dwell.loss"] == [4.0, None]
    assert found["head.dwell.blessed"] == [None, None]
    assert "loss" not in found and "head.dwell.logistic" not in found


def test_heads_of_the_last_blessed_model_stand_beside_the_candidates():
    of_model = {"clicked": np.array([0.5, 0.5]), "dwell": np.array([6.0, 7.0])}
    of_blessed = of_model | {"dwell": np.array([5.0, 5.0])}
    both = {"candidate": of_model, "baseline": of_blessed}
    found = table(kept("rating", heads=HEADS), head_extracts(both))
    assert found["head.dwell.prediction"] == [6.0, 7.0]
    assert found["head.dwell.blessed"] == [5.0, 5.0]
    without = {"clicked": np.array([0.5, 0.5])}
    with pytest.raises(ModelError, match="no head 'dwell' to compare with"):
        table(kept("rating", heads=HEADS), head_extracts({"candidate": of_model, "baseline": without}))


def test_the_rows_of_a_head_are_read_as_those_of_a_model_of_one_goal(tmp_path):
    rows = kept("rating", tmp_path / "rows", heads=HEADS)
    predictions = {"clicked": np.array([0.5, 0.5]), "dwell": np.array([6.0, 7.0])}
    with beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create([rows.keyed(head_extracts(predictions))]) | KeepRows(rows)
    found = read_rows(str(tmp_path), ("row", "loss"))
    assert list(found.heads.items()) == list(HEADS.items())
    assert set(found.table.schema.names) == {"row", "head.clicked.loss", "head.dwell.loss"}
    dwell = found.of_head("dwell")
    assert (dwell.task, dwell.label, dwell.heads) == ("rating", "dwell", {})
    assert dwell.table.select(["loss"]).to_pydict() == {"loss": [4.0]}
    assert found.of_head("clicked").table.num_rows == 2


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


def test_a_slice_needs_one_value_for_each_row():
    extracts = rating_extracts(np.array([3.5, 3.0]))
    extracts[tfma.FEATURES_KEY]["age"] = np.ones((2, 2))
    with pytest.raises(ValueError, match="slice column 'age' has shape"):
        table(kept("rating"), extracts)
