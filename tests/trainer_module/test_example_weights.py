"""Weights of examples, from Transform to a training step."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from trainer_module.data import example_files
from trainer_module.data.example_files import ExampleFiles, read_file
from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Table
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.errors import DataError
from trainer_module.training.config import TrainingConfig

from .conftest import transform_graph, write_examples

SPEC = FeatureSpec(
    columns=(Categorical(name="user", table="user"), Label(name="rating"), ExampleWeight(name="plays")),
    tables=(Table(name="user"),),
)
# Their mean is 4, so that Transform makes 1/4, 2 and 3/4 of them.
PLAYS = (1.0, 8.0, 3.0)
ONE_HOST = tf.distribute.InputContext()


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> ExampleReader:
    directory: Path = tmp_path_factory.mktemp("weights")
    examples = [
        {"user": [f"u{number}".encode()], "rating": [float(number)], "plays": [plays]}
        for number, plays in enumerate(PLAYS)
    ]
    transform = transform_graph(directory, examples, SPEC).transform_features_layer()
    return ExampleReader(SPEC, ModelInputs(SPEC, transform), [write_examples(directory / "examples.gz", examples)])


@pytest.mark.parametrize("cache", ["features", "records", "none"])
def test_training_batches_hold_weights_whose_mean_is_1(reader, cache):
    ((features, labels),) = reader.training_batches(TrainingConfig(batch_size=3, cache=cache), ONE_HOST).take(1)
    assert features["plays"].shape == (3, 1)
    by_label = dict(zip(labels.numpy(), features["plays"].numpy()[:, 0], strict=True))
    assert by_label == pytest.approx({0.0: 0.25, 1.0: 2.0, 2.0: 0.75})


@pytest.mark.parametrize("cache", ["features", "records", "none"])
def test_batches_of_evaluation_hold_the_weight_of_each_row_and_0_for_what_fills_them_up(reader, cache):
    ((features, labels, weights),) = reader.evaluation_batches(4, TrainingConfig(cache=cache), ONE_HOST)
    assert set(features) == {"user"}
    np.testing.assert_array_equal(labels[:3], [0, 1, 2])
    np.testing.assert_allclose(weights, [0.25, 2.0, 0.75, 0.0])


def test_rows_without_weights_are_read_by_a_spec_without_them(tmp_path, reader):
    files = [write_examples(tmp_path / "sample.gz", [{"user": [b"u0"], "rating": [1.0], "plays": []}])]
    sample = ExampleReader(SPEC.without(["plays"]), reader._model_inputs, files)
    ((features, _, weights),) = sample.evaluation_batches(2, TrainingConfig(), ONE_HOST)
    assert set(features) == {"user"}
    np.testing.assert_array_equal(weights, [1.0, 0.0])


def test_requests_have_none(reader):
    assert set(reader.features(reader.head(1))) == {"user"}
    assert [column.name for column in SPEC.inputs] == ["user"]


def test_the_range_of_labels_is_that_of_the_split(reader):
    assert reader.label_range() == (0.0, 2.0)


def test_the_spec_knows_its_column_and_keeps_it():
    assert SPEC.example_weight == ExampleWeight(name="plays")
    assert SPEC.for_preprocessing().example_weight == SPEC.example_weight
    assert FeatureSpec.model_validate_json(SPEC.model_dump_json()) == SPEC
    assert SPEC.arrow_schema().names == ["user", "rating", "plays"]
    other = (Categorical(name="item", table="item"),)
    both = FeatureSpec(columns=(*SPEC.columns, *other), tables=(*SPEC.tables, Table(name="item")))
    assert both.without(["item"]) == SPEC


@pytest.mark.parametrize(
    ("plays", "message"),
    [((1.0, -2.0), "go from -2 to 1"), ((0.0, 0.0), "not all of them 0"), ((1.0, math.nan), "nan")],
)
def test_what_cannot_weigh_examples_is_refused(tmp_path, plays, message):
    examples = [{"user": [b"u"], "rating": [1.0], "plays": [each]} for each in plays]
    files = [write_examples(tmp_path / "examples.gz", examples)]
    with pytest.raises(DataError, match=f"column plays weighs the examples.*{message}"):
        ExampleReader(SPEC, ModelInputs(SPEC, dict), files).check_example_weights()


def test_a_weight_that_is_no_number_is_found_in_every_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(ExampleFiles, "batches", lambda self, schema, every: read_file(self.files[0], schema))
    monkeypatch.setattr(example_files, "BATCH_ROWS", 1)
    examples = [{"user": [b"u"], "rating": [1.0], "plays": [each]} for each in (1.0, math.nan, 2.0)]
    files = [write_examples(tmp_path / "examples.gz", examples)]
    with pytest.raises(DataError, match="go from nan to nan"):
        ExampleReader(SPEC, ModelInputs(SPEC, dict), files).check_example_weights()


def test_weights_from_0_up_pass(reader):
    reader.check_example_weights()


def test_two_columns_of_weights_are_refused():
    columns = (*SPEC.columns, ExampleWeight(name="hours"))
    with pytest.raises(ValidationError, match=r"one column weighs the examples, got \['plays', 'hours'\]"):
        FeatureSpec(columns=columns, tables=SPEC.tables)
