import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation.extractors import custom_extractors, slice_batch
from components.evaluation.metrics import error_sums, regression_metrics
from components.evaluation.slicing import group_by_slice

GENDER = np.array([b"F", b"M", b"F", b"M"])
AGE = np.array([[20], [30], [20], [20]])


def groups(features, columns):
    return {key: rows.tolist() for key, rows in group_by_slice(features, columns)}


def test_rows_are_grouped_by_one_column():
    assert groups({"gender": GENDER}, ["gender"]) == {(("gender", "F"),): [0, 2], (("gender", "M"),): [1, 3]}


def test_rows_are_grouped_by_two_columns_named_in_alphabetical_order():
    assert groups({"gender": GENDER, "age": AGE}, ["gender", "age"]) == {
        (("age", 20), ("gender", "F")): [0, 2],
        (("age", 20), ("gender", "M")): [3],
        (("age", 30), ("gender", "M")): [1],
    }


def test_no_column_is_the_overall_slice():
    assert groups({"gender": GENDER}, []) == {(): [0, 1, 2, 3]}


def test_an_empty_batch_has_no_slices():
    assert groups({"gender": GENDER[:0]}, []) == groups({"gender": GENDER[:0]}, ["gender"]) == {}


def test_a_column_with_several_values_per_row_is_refused():
    with pytest.raises(ValueError, match="slice column 'genres' has shape"):
        groups({"genres": np.ones((4, 2))}, ["genres"])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1))
def test_every_row_is_in_just_the_slice_of_its_values(rows):
    features = {"x": np.array([x for x, _ in rows]), "y": np.array([y for _, y in rows])}
    found = groups(features, ["x", "y"])
    assert sorted(row for members in found.values() for row in members) == list(range(len(rows)))
    for key, members in found.items():
        assert {rows[row] for row in members} == {(dict(key)["x"], dict(key)["y"])}


def test_metrics_by_hand():
    # Errors -1, 0 and 2.
    metrics = regression_metrics(error_sums(np.array([[2.0], [3.0], [1.0]]), np.array([1.0, 3.0, 3.0])))
    assert metrics == {"rmse": pytest.approx((5 / 3) ** 0.5), "mae": 1.0, "example_count": 3.0}


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2), st.data())
def test_sums_add_up_over_batches(pairs, data):
    cut = data.draw(st.integers(1, len(pairs) - 1))
    labels, predictions = np.array(pairs).T
    whole = error_sums(labels, predictions)
    parts = error_sums(labels[:cut], predictions[:cut]) + error_sums(labels[cut:], predictions[cut:])
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [([1.0, 2.0], [1.0], "2 labels but 1 predictions"), ([1.0], [np.nan], "not finite")],
)
def test_what_cannot_be_measured_is_an_error(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        error_sums(np.array(labels), np.array(predictions))


def test_a_batch_is_sliced_with_the_predictions_of_both_models():
    extracts = {
        tfma.FEATURES_KEY: {"gender": GENDER},
        tfma.LABELS_KEY: np.arange(4.0),
        tfma.PREDICTIONS_KEY: {"candidate": np.arange(4.0) + 1, "baseline": np.arange(4.0) + 2},
    }
    overall, women, men = slice_batch(extracts, [[], ["gender"]])
    assert overall[tfma.SLICE_KEY_TYPES_KEY] == [()]
    assert women[tfma.LABELS_KEY].tolist() == [0.0, 2.0]
    assert men[tfma.PREDICTIONS_KEY]["baseline"].tolist() == [3.0, 5.0]


def test_slicing_by_fixed_values_is_refused_rather_than_ignored():
    config = config_pb2.EvalConfig(slicing_specs=[config_pb2.SlicingSpec(feature_values={"gender": "F"})])
    with pytest.raises(ValueError, match="feature_values"):
        custom_extractors(None, config, None)
