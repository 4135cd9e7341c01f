"""The stage that samples rows and asks the model, from batches to the file."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.extras import Extras, extras_to_write, writing
from components.evaluation.importance import read_importance
from components.evaluation.importance_stage import MeasureImportance, SampleRows, keyed_columns
from components.evaluation.permutation import Plan
from components.evaluation.row_writer import KEY_FEATURE, KeptRows
from trainer_module.data.dataset import Dataset

CLICKS = {"files": "clicks.csv", "item": "item", "label": "clicked", "numeric": ["price"]}
DATASET = Dataset.model_validate({"task": "click", "tables": {"interactions": CLICKS}}).spec()
PLAN = Plan(DATASET, {}, 10)
BYTES, NUMBERS = pa.large_list(pa.large_binary()), pa.large_list(pa.float32())


class Model(tf.Module):
    """Cheap items are clicked."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def predict(self, examples):
        parsed = tf.io.parse_example(examples, {"price": tf.io.FixedLenFeature([], tf.float32)})
        return {"probability": tf.where(parsed["price"] < 5, 0.9, 0.1)}


def extracts(prices: list[float], first_key: int) -> dict:
    count = len(prices)
    columns = {
        "item": pa.array([[b"x"]] * count, BYTES),
        "price": pa.array([[price] for price in prices], NUMBERS),
        "clicked": pa.array([[float(price < 5)] for price in prices], NUMBERS),
        "day": pa.array([[b"1"]] * count, BYTES),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    keys = np.arange(first_key, first_key + count, dtype=np.uint64)
    return {tfma.ARROW_RECORD_BATCH_KEY: batch, tfma.FEATURES_KEY: {KEY_FEATURE: keys}}


def test_the_importance_is_written_and_batches_pass_on(tmp_path):
    module = Model()
    tf.saved_model.save(module, str(tmp_path / "model"), {"serving_default": module.predict})
    loader = tfma.types.ModelLoader(_Load(str(tmp_path / "model")))
    stage = MeasureImportance(PLAN, loader, KEY_FEATURE, str(tmp_path), size=8)
    batches = [extracts([1, 2, 9], 0), extracts([8, 7, 3], 3)]
    with beam.Pipeline() as pipeline:
        passed = pipeline | beam.Create(batches) | stage
        _ = passed | beam.Map(_check)
    found = read_importance(str(tmp_path))
    assert found.rows == 6
    assert [metric.name for metric in found.metrics] == ["log_loss", "auc"]
    by_unit = {each.unit.name: np.mean(each.changes["log_loss"]) for each in found.units}
    assert by_unit["item"] == 0 and by_unit["price"] > 0.5


class _Load:
    def __init__(self, directory: str):
        self._directory = directory

    def __call__(self):
        return tf.saved_model.load(self._directory)


def _check(batch: dict) -> None:
    assert batch[tfma.ARROW_RECORD_BATCH_KEY].num_rows == 3


def test_columns_that_no_row_has_a_value_of_are_empty():
    without = extracts([1.0], 0)
    without[tfma.ARROW_RECORD_BATCH_KEY] = pa.RecordBatch.from_pydict({"price": pa.array([[1.0]], NUMBERS)})
    keys, columns = keyed_columns(without, PLAN.schema, KEY_FEATURE)
    assert keys.tolist() == [0]
    assert columns.to_pydict() == {"item": [[]], "price": [[1.0]], "clicked": [[]]}


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, unique=True), st.integers(1, 8), st.data())
def test_the_sample_does_not_depend_on_how_rows_are_cut_into_batches(keys, size, data):
    order = data.draw(st.permutations(keys))
    cut, shard = (data.draw(st.integers(0, len(keys))) for _ in range(2))
    sampler = SampleRows(size)
    accumulators = [sampler.create_accumulator() for _ in range(2)]
    for number, part in enumerate((order[:cut], order[cut:])):
        if part:
            rows = pa.RecordBatch.from_pydict({"key": pa.array([[key] for key in part], pa.large_list(pa.uint64()))})
            which = number if shard % 2 else 0
            accumulators[which] = sampler.add_input(accumulators[which], (np.array(part, np.uint64), rows))
    found = sampler.extract_output(sampler.merge_accumulators(accumulators))
    assert [key for (key,) in found.column("key").to_pylist()] == sorted(keys)[:size]


def test_extras_are_written_only_where_it_is_said():
    assert extras_to_write() is None
    extras = Extras("out", KeptRows("out/rows", "click", ("item",), ()), PLAN)
    with writing(extras):
        assert extras_to_write() == extras
    assert extras_to_write() is None
