"""Candidates of policies, and the importance weights that a batch gets."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from components.evaluation.added_features import ROW_WEIGHT
from components.evaluation.policies import WeighPolicies, candidates_directory, weight_feature
from components.evaluation.row_metrics import ClickMetric
from trainer_module.data.dataset import Dataset
from trainer_module.errors import DataError
from trainer_module.training import policy_candidates
from trainer_module.training.policy_candidates import POLICY_CANDIDATES, PolicyCandidates, collect_candidates

CLICKS = {"files": "clicks.csv", "item": "item", "label": "clicked", "propensity": "p", "categorical": ["segment"]}
ITEMS = {"files": "items.csv", "key": "item", "numeric": ["price"]}
DATASET = Dataset.model_validate({"task": "click", "tables": {"interactions": CLICKS, "items": ITEMS}}).spec()


class Split:
    """Two batches of training rows."""

    num_examples = 4

    def batches(self, columns, every: int = 1):
        rows = {"item": [[b"a"], [b"b"], [b"a"], [b"c"]], "price": [[1.0], [2.0], [1.0], []]}
        types = DATASET.features.arrow_schema()
        named = {column.name: pa.array(rows[column.name], types.field(column.name).type) for column in columns}
        whole = pa.RecordBatch.from_pydict(named)
        yield whole.slice(0, 3)
        yield whole.slice(3)


@pytest.fixture
def candidates() -> PolicyCandidates:
    found = collect_candidates(DATASET, DATASET.features, Split())
    assert found is not None
    return found


def test_candidates_are_the_items_of_the_training_split(candidates, tmp_path):
    assert candidates.items.to_pydict() == {"item": [[b"a"], [b"b"], [b"c"]], "price": [[1.0], [2.0], []]}
    candidates.save(str(tmp_path / POLICY_CANDIDATES))
    loaded = PolicyCandidates.load(candidates_directory(str(tmp_path / "Format-Serving")) or "")
    assert (loaded.propensity, loaded.item_key) == ("p", "item")
    assert loaded.items.to_pydict() == candidates.items.to_pydict()
    assert candidates_directory(str(tmp_path / "elsewhere" / "Format-Serving")) is None


def test_there_are_none_without_propensities_and_not_too_many(monkeypatch):
    without = Dataset.model_validate(
        {"task": "click", "tables": {"interactions": {k: v for k, v in CLICKS.items() if k != "propensity"}}}
    ).spec()
    assert collect_candidates(without, without.features, Split()) is None
    monkeypatch.setattr(policy_candidates, "MOST_CANDIDATES", 2)
    with pytest.raises(DataError, match=r"the training split has 3 items, .* it takes up to 2"):
        collect_candidates(DATASET, DATASET.features, Split())


class Model(tf.Module):
    """Segment x likes cheap items, segment y expensive ones; a price that is missing is 1.5."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def predict(self, examples):
        spec = {"price": tf.io.VarLenFeature(tf.float32), "segment": tf.io.FixedLenFeature([], tf.string)}
        parsed = tf.io.parse_example(examples, spec)
        price = tf.sparse.to_dense(parsed["price"], default_value=1.5)[:, 0]
        return {"probability": tf.where(parsed["segment"] == "x", 0.9 - 0.4 * price, 0.4 * price)}


def test_a_batch_gets_the_weights_of_both_policies(candidates, tmp_path, monkeypatch):
    # Rows in blocks of one: three candidates each.
    monkeypatch.setattr("components.evaluation.policies._PREDICTIONS_AT_ONCE", 3)
    model_dir, directory = str(tmp_path / "model"), str(tmp_path / POLICY_CANDIDATES)
    module = Model()
    tf.saved_model.save(module, model_dir, {"serving_default": module.predict})
    candidates.save(directory)
    weigh = WeighPolicies(model_dir, directory)
    weigh.setup()
    lists = pa.large_list(pa.large_binary())
    columns = {
        "segment": pa.array([[b"x"], [b"y"], [b"y"], [b"x"]], lists),
        # The last item is not in the training split. Prices are those of the logged items.
        "item": pa.array([[b"a"], [b"a"], [b"b"], [b"z"]], lists),
        "price": pa.array([[1.0], [1.0], [2.0], [9.0]], pa.large_list(pa.float32())),
        "p": pa.array([[0.5], [0.25], [0.2], [0.1]], pa.large_list(pa.float32())),
        tfma.ARROW_INPUT_COLUMN: pa.array([[b""]] * 4, lists),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    (extracts,) = weigh.process({tfma.ARROW_RECORD_BATCH_KEY: batch})
    weights = extracts[tfma.FEATURES_KEY]
    # Best are a in segment x and b in segment y.
    np.testing.assert_allclose(weights[weight_feature("greedy")], [1 / 0.5, 0, 1 / 0.2, 0], rtol=1e-6)
    odds_x, odds_y = (np.array(p) / (1 - np.array(p)) for p in ([0.5, 0.1, 0.3], [0.4, 0.8, 0.6]))
    expected = [odds_x[0] / odds_x.sum() / 0.5, odds_y[0] / odds_y.sum() / 0.25, odds_y[1] / odds_y.sum() / 0.2, 0]
    np.testing.assert_allclose(weights[weight_feature("softmax")], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("logged_value", 0.5), ("greedy_ips_value", 0.75), ("greedy_snips_value", 0.75), ("softmax_snips_value", 0.5)],
)
def test_metrics_read_the_weights_of_their_policy(name, value):
    (computation,) = ClickMetric(name).computations(model_names=[""])
    combiner = computation.combiner
    # Rows count alike, whatever they weigh elsewhere.
    features = {weight_feature("greedy"): np.array([1.5, 0.5]), weight_feature("softmax"): np.ones(2)}
    features[ROW_WEIGHT] = np.array([3.0, 1.0])
    inputs = metric_types.StandardMetricInputs(
        {
            tfma.LABELS_KEY: np.array([1.0, 0.0]),
            tfma.PREDICTIONS_KEY: np.array([0.5, 0.5]),
            tfma.FEATURES_KEY: features,
        }
    )
    (found,) = combiner.extract_output(combiner.add_input(combiner.create_accumulator(), inputs)).values()
    assert found == pytest.approx(value)
