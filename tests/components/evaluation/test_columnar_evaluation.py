import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error, roc_auc_score
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation import extractors
from components.evaluation.added_features import ROW_WEIGHT, label_feature, naive_feature
from components.evaluation.click_metrics import auc_sums, click_metrics, click_sums
from components.evaluation.extractors import (
    PredictNaively,
    as_requests,
    custom_extractors,
    naive_baseline_directory,
    slice_batch,
)
from components.evaluation.rating_metrics import error_sums, regression_metrics
from components.evaluation.row_metrics import ClickMetric, RegressionMetric
from components.evaluation.slicing import group_by_slice
from components.retrieval_index.layout import REPORT_FILE
from trainer_module.errors import ModelError
from trainer_module.training.naive_baseline import NaiveBaseline

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


@settings(deadline=None)
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
    assert metrics == {"rmse": pytest.approx((5 / 3) ** 0.5), "mae": 1.0, "calibration": 7 / 6, "example_count": 3.0}


@settings(deadline=None)
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
        tfma.FEATURES_KEY: {"gender": GENDER, naive_feature("baseline"): np.arange(4.0) + 3},
        tfma.LABELS_KEY: np.arange(4.0),
        tfma.PREDICTIONS_KEY: {"candidate": np.arange(4.0) + 1, "baseline": np.arange(4.0) + 2},
    }
    overall, women, men = slice_batch(extracts, [[], ["gender"]])
    assert overall[tfma.SLICE_KEY_TYPES_KEY] == [()]
    assert women[tfma.LABELS_KEY].tolist() == [0.0, 2.0]
    assert men[tfma.PREDICTIONS_KEY]["baseline"].tolist() == [3.0, 5.0]
    assert {key: of.tolist() for key, of in men[tfma.FEATURES_KEY].items()} == {naive_feature("baseline"): [4.0, 6.0]}


def metric(computations, labels, predictions, naive, weights=None) -> float:
    """One metric over two batches."""
    (computation,) = computations(model_names=[""])
    inputs = [
        metric_types.StandardMetricInputs(
            {
                tfma.LABELS_KEY: labels[rows],
                tfma.PREDICTIONS_KEY: predictions[rows],
                tfma.FEATURES_KEY: {naive_feature(source): values[rows] for source, values in naive.items()}
                | {ROW_WEIGHT: (np.ones(len(labels)) if weights is None else weights)[rows]},
            }
        )
        for rows in (slice(0, 1), slice(1, None))
    ]
    combiner = computation.combiner
    parts = [combiner.add_input(combiner.create_accumulator(), each) for each in inputs]
    (value,) = combiner.extract_output(combiner.merge_accumulators(parts)).values()
    return value


@pytest.mark.parametrize(
    ("name", "value"), [("rmse", 1.0), ("baseline_rmse", 2.0), ("rmse_lift", 1.0), ("mae", 1.0), ("example_count", 3.0)]
)
def test_ratings_stand_beside_their_baseline(name, value):
    labels = np.array([1.0, 2.0, 3.0])
    computations = RegressionMetric(name).computations
    assert metric(computations, labels, labels + 1, {"baseline": labels - 2}) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_loss", np.log(4 / 3)),
        ("baseline_log_loss", np.log(2)),
        ("log_loss_lift", np.log(3 / 2)),
        ("logistic_log_loss", np.log(4)),
        ("auc", 1.0),
        ("logistic_auc", 0.0),
        ("click_count", 2.0),
    ],
)
def test_clicks_stand_beside_their_baseline_and_a_logistic_regression(name, value):
    labels = np.array([1.0, 0.0, 1.0, 0.0])
    sure = np.where(labels == 1, 0.75, 0.25)
    naive = {"baseline": np.full(4, 0.5), "logistic": 1 - sure}
    assert metric(ClickMetric(name).computations, labels, sure, naive) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("log_loss", "model", log_loss),
        ("baseline_log_loss", "baseline", log_loss),
        ("logistic_log_loss", "logistic", log_loss),
        ("auc", "model", roc_auc_score),
        ("logistic_auc", "logistic", roc_auc_score),
        ("calibration", "model", lambda y, p, sample_weight: (sample_weight @ p) / (sample_weight @ y)),
        ("click_count", "model", lambda y, p, sample_weight: y.sum()),
        ("example_count", "model", lambda y, p, sample_weight: len(y)),
    ],
)
def test_clicks_are_weighed_as_scikit_learn_weighs_them(name, source, expected):
    random = np.random.default_rng(0)
    labels, weights = random.integers(0, 2, 200).astype(float), random.exponential(size=200)
    predictions = {each: random.uniform(0.01, 0.99, 200) for each in ("model", "baseline", "logistic")}
    naive = {each: predictions[each] for each in ("baseline", "logistic")}
    found = metric(ClickMetric(name).computations, labels, predictions["model"], naive, weights)
    # Predictions within 0.001 of log odds are ties in the AUC.
    assert found == pytest.approx(expected(labels, predictions[source], sample_weight=weights), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("rmse", "model", lambda y, p, sample_weight: mean_squared_error(y, p, sample_weight=sample_weight) ** 0.5),
        (
            "baseline_rmse",
            "baseline",
            lambda y, p, sample_weight: np.average((y - p) ** 2, weights=sample_weight) ** 0.5,
        ),
        ("mae", "model", mean_absolute_error),
        ("calibration", "model", lambda y, p, sample_weight: (sample_weight @ p) / (sample_weight @ y)),
        ("example_count", "model", lambda y, p, sample_weight: len(y)),
    ],
)
def test_ratings_are_weighed_as_scikit_learn_weighs_them(name, source, expected):
    random = np.random.default_rng(0)
    labels, weights = random.uniform(1, 5, 50), random.exponential(size=50)
    predictions = {each: random.uniform(1, 5, 50) for each in ("model", "baseline")}
    naive = {"baseline": predictions["baseline"]}
    found = metric(RegressionMetric(name).computations, labels, predictions["model"], naive, weights)
    assert found == pytest.approx(expected(labels, predictions[source], sample_weight=weights))


@pytest.mark.parametrize(
    ("weights", "message"), [([1.0], "2 examples but 1 weights"), ([1.0, -1.0], "negative"), ([1.0, np.nan], "finite")]
)
def test_what_cannot_weigh_is_an_error(weights, message):
    for sums in (error_sums, click_sums, auc_sums):
        with pytest.raises(ValueError, match=message):
            sums(np.array([0.0, 1.0]), np.array([0.5, 0.5]), np.array(weights))


def test_rows_without_any_weight_have_no_loss():
    nothing = np.zeros(2)
    assert np.isnan(regression_metrics(error_sums(np.ones(2), np.ones(2), nothing))["rmse"])
    assert np.isnan(click_metrics(click_sums(np.ones(2), np.ones(2), nothing))["log_loss"])


HEADS = ("clicked", "dwell")
# Of four rows; the second one lacks its dwell.
OF_HEADS = {
    tfma.PREDICTIONS_KEY: {"clicked": np.array([0.75, 0.25, 0.75, 0.25]), "dwell": np.array([5.0, 9.0, 7.0, 9.0])},
    tfma.FEATURES_KEY: {
        label_feature("clicked"): np.array([1.0, 0.0, 1.0, 0.0]),
        label_feature("dwell"): np.array([4.0, np.nan, 8.0, 10.0]),
        naive_feature("baseline", "clicked"): np.full(4, 0.5),
        naive_feature("baseline", "dwell"): np.array([6.0, 1.0, 6.0, 12.0]),
        ROW_WEIGHT: np.ones(4),
    },
}


def metric_of_head(computations, head: str, rows: slice = slice(None)) -> float:
    (computation,) = computations(model_names=[""], output_names=[head])
    inputs = {key: {name: values[rows] for name, values in of.items()} for key, of in OF_HEADS.items()}
    combiner = computation.combiner
    accumulator = combiner.add_input(combiner.create_accumulator(), metric_types.StandardMetricInputs(inputs))
    ((key, value),) = combiner.extract_output(accumulator).items()
    assert key.output_name == head
    return value


@pytest.mark.parametrize(
    ("kind", "name", "head", "value"),
    [
        (ClickMetric, "log_loss", "clicked", np.log(4 / 3)),
        (ClickMetric, "log_loss_lift", "clicked", np.log(3 / 2)),
        (ClickMetric, "auc", "clicked", 1.0),
        (ClickMetric, "example_count", "clicked", 4.0),
        (RegressionMetric, "rmse", "dwell", 1.0),
        (RegressionMetric, "baseline_rmse", "dwell", 2.0),
        (RegressionMetric, "rmse_lift", "dwell", 1.0),
        (RegressionMetric, "calibration", "dwell", 21 / 22),
        (RegressionMetric, "example_count", "dwell", 3.0),
    ],
)
def test_each_head_is_measured_on_the_rows_that_have_its_label(kind, name, head, value):
    assert metric_of_head(kind(name).computations, head) == pytest.approx(value)


def test_a_last_blessed_model_without_the_head_is_refused():
    (computation,) = RegressionMetric("rmse").computations(model_names=["baseline"], output_names=["dwell"])
    only_clicks = {"clicked": OF_HEADS[tfma.PREDICTIONS_KEY]["clicked"]}
    for of_baseline in (only_clicks, only_clicks["clicked"]):
        inputs = OF_HEADS | {
            tfma.PREDICTIONS_KEY: {"candidate": OF_HEADS[tfma.PREDICTIONS_KEY], "baseline": of_baseline}
        }
        with pytest.raises(ModelError, match="no head 'dwell' to compare with; give the pipeline another name"):
            computation.combiner.add_input(
                computation.combiner.create_accumulator(), metric_types.StandardMetricInputs(inputs)
            )


@pytest.mark.parametrize(("kind", "name"), [(RegressionMetric, "rmse"), (ClickMetric, "log_loss")])
def test_where_no_row_has_the_label_there_is_no_value(kind, name):
    assert np.isnan(metric_of_head(kind(name).computations, "dwell", slice(1, 2)))


@pytest.mark.parametrize(("relative", "lead"), [(2e-7, 0.0), (-2e-7, 0.0), (1e-5, 1e-5), (-1e-5, -1e-5)])
def test_losses_that_are_equal_in_float32_are_equal(relative, lead):
    labels = np.array([1000.0, 2000.0, 3000.0])
    naive = {"baseline": labels - 500}
    value = metric(RegressionMetric("rmse_lift").computations, labels, labels + 500 * (1 - relative), naive)
    assert value == pytest.approx(500 * lead, rel=1e-3)


def test_the_baseline_lies_beside_the_candidate():
    candidate, earlier = (
        tfma.types.EvalSharedModel(model_path=f"runs/{name}/Format-Serving", is_baseline=name == "earlier")
        for name in ("candidate", "earlier")
    )
    assert naive_baseline_directory([candidate, earlier]) == naive_baseline_directory(candidate)
    assert naive_baseline_directory(candidate) == "runs/candidate/naive_baseline"


def test_batches_get_the_predictions_of_the_baseline(tmp_path):
    NaiveBaseline("mean of the training split", 2.5, (1.0, 5.0)).save(str(tmp_path))
    predict = PredictNaively(str(tmp_path))
    predict.setup()
    batch = pa.RecordBatch.from_pydict({"user": [[b"a"], [b"b"]]})
    (extracts,) = predict.process({tfma.ARROW_RECORD_BATCH_KEY: batch})
    assert extracts[tfma.FEATURES_KEY][naive_feature("baseline")].tolist() == [2.5, 2.5]
    assert extracts[tfma.FEATURES_KEY][ROW_WEIGHT].tolist() == [1.0, 1.0]
    assert extracts[tfma.ARROW_RECORD_BATCH_KEY] is batch


def test_batches_get_the_weights_that_the_baseline_names(tmp_path):
    NaiveBaseline("mean of the training split", 2.5, (1.0, 5.0), weight="plays").save(str(tmp_path))
    predict = PredictNaively(str(tmp_path))
    predict.setup()
    batch = pa.RecordBatch.from_pydict({"user": [[b"a"], [b"b"]], "plays": [[2.0], [0.5]]})
    (extracts,) = predict.process({tfma.ARROW_RECORD_BATCH_KEY: batch})
    assert extracts[tfma.FEATURES_KEY][ROW_WEIGHT].tolist() == [2.0, 0.5]


def test_batches_get_the_labels_and_baselines_of_all_heads(tmp_path):
    for head, mean in zip(HEADS, (0.2, 50.0), strict=True):
        NaiveBaseline("mean of the training split", mean, (0.0, 100.0)).save(str(tmp_path / head))
    predict = PredictNaively(str(tmp_path), HEADS)
    predict.setup()
    columns = {"user": [[b"a"], [b"b"]], "clicked": [[1.0], [0.0]], "dwell": [[70.0], []]}
    (extracts,) = predict.process({tfma.ARROW_RECORD_BATCH_KEY: pa.RecordBatch.from_pydict(columns)})
    features = extracts[tfma.FEATURES_KEY]
    assert features[naive_feature("baseline", "clicked")].tolist() == [0.2, 0.2]
    assert features[naive_feature("baseline", "dwell")].tolist() == [50.0, 50.0]
    np.testing.assert_array_equal(features[label_feature("dwell")], [70.0, np.nan])
    # A batch in which no row has the label may lack its column.
    without = pa.RecordBatch.from_pydict({"user": [[b"a"]], "clicked": [[1.0]]})
    (extracts,) = predict.process({tfma.ARROW_RECORD_BATCH_KEY: without})
    np.testing.assert_array_equal(extracts[tfma.FEATURES_KEY][label_feature("dwell")], [np.nan])


def test_columns_become_the_requests_of_the_model_in_batches_that_it_can_take():
    users = pa.array([[b"a"], [], [b"c"]], pa.large_list(pa.large_binary()))
    parts = list(as_requests({tfma.ARROW_RECORD_BATCH_KEY: pa.RecordBatch.from_arrays([users], ["user"])}, 2))
    batches = [part[tfma.ARROW_RECORD_BATCH_KEY] for part in parts]
    assert [batch.num_rows for batch in batches] == [2, 1]
    requests = [request for batch in batches for (request,) in batch.column(tfma.ARROW_INPUT_COLUMN).to_pylist()]
    values = [tf.train.Example.FromString(each).features.feature["user"].bytes_list.value for each in requests]
    assert [list(value) for value in values] == [[b"a"], [], [b"c"]]


def test_requests_that_came_with_the_columns_are_kept():
    columns = {"user": [[b"a"], [b"b"]], tfma.ARROW_INPUT_COLUMN: [[b"first"], [b"second"]]}
    (one, other) = as_requests({tfma.ARROW_RECORD_BATCH_KEY: pa.RecordBatch.from_pydict(columns)}, 1)
    found = [each[tfma.ARROW_RECORD_BATCH_KEY].column(tfma.ARROW_INPUT_COLUMN).to_pylist() for each in (one, other)]
    assert found == [[[b"first"]], [[b"second"]]]


def test_what_was_added_to_a_batch_is_cut_with_it():
    batch = pa.RecordBatch.from_pydict({"user": pa.array([[b"a"], [b"b"], [b"c"]], pa.large_list(pa.large_binary()))})
    features = {"__row__": np.array([7, 8, 9], np.uint64), naive_feature("baseline"): np.array([1.0, 2.0, 3.0])}
    parts = list(as_requests({tfma.ARROW_RECORD_BATCH_KEY: batch, tfma.FEATURES_KEY: features}, 2))
    found = [{name: values.tolist() for name, values in part[tfma.FEATURES_KEY].items()} for part in parts]
    assert found == [
        {"__row__": [7, 8], naive_feature("baseline"): [1.0, 2.0]},
        {"__row__": [9], naive_feature("baseline"): [3.0]},
    ]


def index_of(candidates: int, directory: Path, is_baseline: bool = False) -> tfma.types.EvalSharedModel:
    directory.mkdir()
    (directory / REPORT_FILE).write_text(json.dumps({"candidates": candidates}))
    return tfma.types.EvalSharedModel(model_path=f"{directory}/Format-Serving/", is_baseline=is_baseline)


@pytest.mark.parametrize(
    ("candidates", "expected"), [(1_000, 512), (100_000, 73), (1_000_000, 7), (7_340_032, 1), (100_000_000, 1)]
)
def test_the_scores_of_a_call_take_28_mb_however_many_items_an_index_holds(candidates, expected, tmp_path):
    candidate = index_of(candidates, tmp_path / "candidate")
    assert extractors._queries_at_once(candidate) == expected
    blessed = index_of(10, tmp_path / "blessed", is_baseline=True)
    assert extractors._queries_at_once([candidate, blessed]) == expected
    larger = index_of(2 * candidates, tmp_path / "larger", is_baseline=True)
    assert extractors._queries_at_once([candidate, larger]) == min(512, max(1, (7 << 20) // (2 * candidates)))


def test_slicing_by_fixed_values_is_refused_rather_than_ignored():
    config = config_pb2.EvalConfig(slicing_specs=[config_pb2.SlicingSpec(feature_values={"gender": "F"})])
    with pytest.raises(ValueError, match="feature_values"):
        custom_extractors(None, config, None)
