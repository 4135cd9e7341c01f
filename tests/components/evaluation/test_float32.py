"""The float32 model beside a quantized one: where it lies, its predictions, its metrics."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from components.evaluation.added_features import ROW_WEIGHT
from components.evaluation.extractors import slice_batch
from components.evaluation.float32 import FLOAT32_FEATURE, PredictInFloat32, float32_directory, float32_feature
from components.evaluation.retrieval_metrics import MetricName, RetrievalMetric, with_places
from components.evaluation.row_metrics import ClickMetric, RegressionMetric

EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """The directory of a model that predicts the length of its request, and lists it."""
    module, directory = tf.Module(), tmp_path_factory.mktemp("model")

    @tf.function(input_signature=[EXAMPLES])
    def predict(examples):
        return {"rating": tf.cast(tf.strings.length(examples), tf.float32)}

    @tf.function(input_signature=[EXAMPLES])
    def evaluate(examples):
        return {"ids": examples[:, tf.newaxis], "train_counts": tf.ones_like(examples, tf.int64)}

    @tf.function(input_signature=[EXAMPLES])
    def of_heads(examples):
        length = tf.cast(tf.strings.length(examples), tf.float32)
        return {"clicked": length / 10, "dwell": length * 10, "score": length}

    tf.saved_model.save(module, str(directory / "heads"), signatures={"serving_default": of_heads})
    signatures = {"serving_default": predict, "evaluate": evaluate}
    tf.saved_model.save(module, str(directory / "float32"), signatures=signatures)
    return directory


def test_it_lies_beside_a_quantized_model_alone(artifact, tmp_path):
    assert float32_directory(f"{artifact}/Format-Serving/") == str(artifact / "float32")
    assert float32_directory(str(tmp_path / "Format-Serving")) is None


@pytest.mark.parametrize(
    ("is_retrieval", "expected"), [(False, [1.0, 3.0]), (True, [[b"a"], [b"ccc"]])], ids=["rows", "retrieval"]
)
def test_batches_get_its_predictions_and_slices_keep_them(artifact, is_retrieval, expected):
    predict = PredictInFloat32(str(artifact / "float32"), is_retrieval)
    predict.setup()
    columns = {"user": [[b"x"], [b"y"]], tfma.ARROW_INPUT_COLUMN: [[b"a"], [b"ccc"]]}
    (extracts,) = predict.process({tfma.ARROW_RECORD_BATCH_KEY: pa.RecordBatch.from_pydict(columns)})
    assert extracts[tfma.FEATURES_KEY][FLOAT32_FEATURE].tolist() == expected
    extracts[tfma.FEATURES_KEY]["sex"] = np.array([b"f", b"m"])
    answers = {tfma.LABELS_KEY: np.arange(2.0), tfma.PREDICTIONS_KEY: np.arange(2.0)}
    _, men = slice_batch(extracts | answers, [["sex"]])
    assert men[tfma.FEATURES_KEY][FLOAT32_FEATURE].tolist() == expected[1:]


def test_heads_have_predictions_of_their_own(artifact):
    predict = PredictInFloat32(str(artifact / "heads"), False, ["clicked", "dwell"])
    predict.setup()
    batch = pa.RecordBatch.from_pydict({tfma.ARROW_INPUT_COLUMN: [[b"a"], [b"ccc"]]})
    (extracts,) = predict.process({tfma.ARROW_RECORD_BATCH_KEY: batch})
    found = {name: values.tolist() for name, values in extracts[tfma.FEATURES_KEY].items()}
    assert found.keys() == {float32_feature("clicked"), float32_feature("dwell")}
    assert found[float32_feature("dwell")] == [10.0, 30.0]


def value_of(metric: tfma.metrics.Metric, labels, predictions, of_float32) -> float:
    (computation,) = metric.computations(model_names=[""])
    element = metric_types.StandardMetricInputs(
        {
            tfma.LABELS_KEY: labels,
            tfma.PREDICTIONS_KEY: predictions,
            tfma.FEATURES_KEY: {FLOAT32_FEATURE: np.asarray(of_float32), ROW_WEIGHT: np.ones(len(of_float32))},
        }
    )
    combiner = computation.combiner
    (value,) = combiner.extract_output(combiner.add_input(combiner.create_accumulator(), element)).values()
    return value


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (RegressionMetric("rmse"), 2.0),
        (RegressionMetric("float32_rmse"), 1.0),
        (RegressionMetric("float32_mae"), 1.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_ratings(metric, expected):
    labels = np.array([1.0, 2.0])
    assert value_of(metric, labels, labels + 2, labels - 1) == pytest.approx(expected)


def test_clicks():
    labels = np.array([1.0, 0.0])
    sure, unsure = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    assert value_of(ClickMetric("log_loss"), labels, unsure, sure) == pytest.approx(np.log(2))
    assert value_of(ClickMetric("float32_log_loss"), labels, unsure, sure) == pytest.approx(np.log(4 / 3))
    assert value_of(ClickMetric("float32_auc"), labels, unsure, sure) == 1
    assert value_of(ClickMetric("float32_calibration"), labels, unsure, sure) == 1


def test_lists():
    answers = with_places({"ids": np.array([[b"a", b"b"]], object), "relevant": np.array([[b"b", b"c"]], object)})
    ids = np.array([[b"c", b"b"]], object)
    assert value_of(RetrievalMetric("recall_at_2"), None, answers, ids) == 0.5
    assert value_of(RetrievalMetric("float32_recall_at_2"), None, answers, ids) == 1
    assert value_of(RetrievalMetric("float32_ndcg_at_2"), None, answers, ids) == 1


@pytest.mark.parametrize("name", ["popularity_float32_ndcg_at_10", "float32_ndcg_at_10_lift", "float32_coverage_at_10"])
def test_other_metrics_of_it_do_not_exist(name):
    with pytest.raises(ValueError, match="is no retrieval metric: float32_ goes with"):
        MetricName.parse(name)
