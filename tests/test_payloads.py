"""What is learned and measured does not depend on how examples lie on disk, nor on who measures it."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_metadata.proto.v0 import statistics_pb2
from tensorflow_model_analysis.proto import config_pb2

from tests.workspace import Workspace
from trainer_module.export import parity

EXPERIMENT = """\
name: shop
data:
  interactions: {files: ratings.csv, user: user, item: item, label: stars, numeric: [hour]}
  items: {files: items.csv, key: item, categorical: [brand, {name: tags, separator: "|"}], numeric: [price]}
  task: rating
  split: {by: random, test_fraction: 0.2, eval_fraction: 0.1}
training: {epochs: 2, batch_size: 128}
evaluation: {beat_baseline: false}
"""
NUM_ROWS, NUM_USERS, NUM_ITEMS = 2000, 60, 30


def write_tables(directory: Path) -> None:
    """With missing values and lists of every length."""
    random = np.random.default_rng(0)
    with open(directory / "ratings.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "item", "stars", "hour"])
        for _ in range(NUM_ROWS):
            user, item = random.integers(NUM_USERS), random.integers(NUM_ITEMS)
            hour = random.choice(["", str(random.integers(24))])
            rows.writerow([f"u{user}", f"i{item}", 1 + (user % 3) + (item % 2), hour])
    with open(directory / "items.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item", "brand", "tags", "price"])
        for item in range(NUM_ITEMS):
            tags = "|".join(f"t{tag}" for tag in range(item % 4))
            rows.writerow([f"i{item}", f"b{item % 5}" if item % 7 else "", tags, item * 1.5 if item % 3 else ""])


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[Path, dict]]:
    """By payload, the directory of a run and its summary."""
    found = {}
    for payload in ("parquet", "tfrecord"):
        directory = tmp_path_factory.mktemp(payload)
        write_tables(directory)
        workspace = Workspace.create(directory, EXPERIMENT)
        process, summary = workspace.run("--set", f"data.payload={payload}")
        assert process.returncode == 0, process.stdout + process.stderr
        found[payload] = (directory, summary)
    return found


def one(directory: Path, pattern: str) -> Path:
    (path,) = directory.rglob(pattern)
    return path


def test_the_files_are_of_the_format_that_was_asked_for(runs):
    names = {payload: {p.suffix for p in d.rglob("Split-*/data_*")} for payload, (d, _) in runs.items()}
    assert names == {"parquet": {".parquet"}, "tfrecord": {".gz"}}


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_statistics_are_the_same(runs, split):
    def read(directory: Path) -> dict[str, statistics_pb2.FeatureNameStatistics]:
        file = one(directory, f"StatisticsGen/statistics/*/Split-{split}/FeatureStats.pb")
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
        return {".".join(feature.path.step): feature for feature in dataset.features}

    columnar, by_row = (read(directory) for directory, _ in runs.values())
    assert set(columnar) == set(by_row) > {"user", "tags", "price"}
    for name, of_column in columnar.items():
        kind = of_column.WhichOneof("stats")
        common = [getattr(each, kind) for each in (of_column, by_row[name])]
        for field in ("num_non_missing", "tot_num_values", "max_num_values"):
            assert len({getattr(each.common_stats, field) for each in common}) == 1, (name, field)
        if of_column.HasField("string_stats"):
            for field in ("unique", "avg_length", "top_values", "rank_histogram"):
                assert getattr(common[0], field) == getattr(common[1], field), (name, field)
        else:
            for field in ("mean", "std_dev", "min", "max", "median", "num_zeros"):
                values = [getattr(each, field) for each in common]
                assert math.isclose(*values, rel_tol=1e-6, abs_tol=1e-9), (name, field, values)


def test_the_transform_graph_is_the_same(runs):
    def assets(directory: Path) -> dict[str, bytes]:
        folder = one(directory, "Transform/transform_graph/*/transform_fn/assets")
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    columnar, by_row = (assets(directory) for directory, _ in runs.values())
    assert columnar == by_row
    assert {"user", "item", "brand", "tags"} <= set(columnar)


def test_the_model_answers_alike(runs):
    columnar, by_row = (
        parity.load_expected(str(one(directory, "Trainer/model/*/parity")))[0]["predict"]["rating"]
        for directory, _ in runs.values()
    )
    np.testing.assert_allclose(columnar[:128], by_row[:128], rtol=1e-6)


def test_metrics_are_the_same_in_every_slice(runs):
    columnar, by_row = ([dict(each) for each in summary["evaluation"]["slices"]] for _, summary in runs.values())
    assert len(columnar) == len(by_row) > 1
    for one_slice, other in zip(columnar, by_row, strict=True):
        assert one_slice.pop("slice") == other.pop("slice")
        assert one_slice == pytest.approx(other, rel=1e-6)


def test_metrics_are_those_of_the_stock_evaluation(runs, tmp_path):
    directory, summary = runs["tfrecord"]
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(signature_name="serving_default", label_key="stars", prediction_key="rating")
        ],
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=["user_activity"])],
        metrics_specs=tfma.metrics.specs_from_metrics(
            [tf.keras.metrics.RootMeanSquaredError(name="rmse"), tf.keras.metrics.MeanAbsoluteError(name="mae")]
        ),
    )
    model = tfma.default_eval_shared_model(summary["pushed_to"], eval_config=config)
    files = one(directory, "ExampleGen/examples/*/Split-test") / "data_*"
    found = tfma.run_model_analysis(model, config, str(files), output_path=str(tmp_path / "stock"))
    stock = {key: values[""][""] for key, values in found.slicing_metrics}
    for of_slice in summary["evaluation"]["slices"]:
        name, _, value = of_slice["slice"].partition("=")
        metrics = stock[() if not value else ((name, value),)]
        for metric in ("rmse", "mae"):
            assert of_slice[metric] == pytest.approx(metrics[metric]["doubleValue"], rel=1e-6)
