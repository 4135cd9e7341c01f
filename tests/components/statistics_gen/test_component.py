"""The files of statistics are those of TFX's own executor."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen import executor as stock
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import decode_split_names, encode_split_names

from components.example_gen.output.writer import describe
from components.statistics_gen.component import Executor
from pipeline.beam import in_process_args
from trainer_module.data.example_files import write_parquet

NUM_ROWS, NUM_FILES = 3000, 3
SPLITS = ("train", "test", "empty", "candidates")


def rows(random: np.random.Generator) -> pa.Table:
    """Columns with over a thousand distinct values, ties, invalid UTF-8, several values a row, and missing values."""
    words = np.array([b"plain", b"\xff\xfe", "größer".encode(), b""], dtype=object)
    columns = {
        "user": [[b"u%d" % user] for user in random.zipf(1.3, NUM_ROWS) % 5000],
        "words": [list(words[random.integers(4, size=random.integers(4))]) for _ in range(NUM_ROWS)],
        "sometimes": [None if random.random() < 0.5 else [b"%d" % random.integers(10)] for _ in range(NUM_ROWS)],
        "never": [[]] * NUM_ROWS,
    }
    lists = {name: pa.array(values, pa.large_list(pa.large_binary())) for name, values in columns.items()}
    numbers = pa.array([[number] for number in random.normal(size=NUM_ROWS)], pa.large_list(pa.float32()))
    ids = pa.array([[number] for number in random.integers(3, size=NUM_ROWS)], pa.large_list(pa.int64()))
    return pa.table({**lists, "number": numbers, "id": ids})


@pytest.fixture(scope="module")
def statistics(tmp_path_factory) -> dict[str, standard_artifacts.ExampleStatistics]:
    """By executor, the statistics of the same examples."""
    directory, random = tmp_path_factory.mktemp("statistics"), np.random.default_rng(0)
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names, examples.span = str(directory / "examples"), encode_split_names(SPLITS), 7
    describe(examples, "parquet")
    for split in SPLITS:
        (directory / "examples" / f"Split-{split}").mkdir(parents=True)
        for number in range(NUM_FILES):
            file = directory / "examples" / f"Split-{split}" / f"data_parquet-{number}.parquet"
            write_parquet(str(file), rows(random).slice(0, 0 if split == "empty" else None))
    made = {}
    for name, executor in (("own", Executor), ("stock", stock.Executor)):
        made[name] = standard_artifacts.ExampleStatistics()
        made[name].uri = str(directory / name)
        context = BaseBeamExecutor.Context(list(in_process_args()), tmp_dir=str(directory / "scratch"), unique_id="1")
        executor(context).Do(
            {"examples": [examples]}, {"statistics": [made[name]]}, {"exclude_splits": '["candidates"]'}
        )
    return made


def features(artifact: standard_artifacts.ExampleStatistics, split: str) -> dict[str, dict]:
    file = Path(artifact.uri, f"Split-{split}", "FeatureStats.pb")
    (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
    assert dataset.num_examples == NUM_ROWS * NUM_FILES
    return {".".join(feature.path.step): MessageToDict(feature) for feature in dataset.features}


@pytest.mark.parametrize("split", ["train", "test"])
def test_statistics_are_those_of_tfx(statistics, split):
    own, expected = (features(statistics[name], split) for name in ("own", "stock"))
    assert set(own) == set(expected) == {"user", "words", "sometimes", "never", "number", "id"}
    for name in ("user", "words", "sometimes", "never"):
        assert own[name] == expected[name], name
    for name in ("number", "id"):
        numeric, expected_numeric = (found[name]["numStats"] for found in (own, expected))
        for field in ("mean", "stdDev", "min", "max", "median"):
            assert numeric.get(field, 0) == pytest.approx(expected_numeric.get(field, 0), rel=1e-6), (name, field)


def test_a_split_without_rows_has_the_statistics_of_tfx(statistics):
    own, expected = (Path(statistics[name].uri, "Split-empty", "FeatureStats.pb") for name in ("own", "stock"))
    assert own.read_bytes() == expected.read_bytes()


def test_ranks_are_of_a_thousand_users_and_uniques_of_all(statistics):
    user = features(statistics["own"], "train")["user"]["stringStats"]
    assert len(user["topValues"]) == 20
    assert len(user["rankHistogram"]["buckets"]) == 1000
    assert int(user["unique"]) > 1000


def test_the_artifact_has_the_splits_but_the_excluded_and_the_span(statistics):
    for artifact in statistics.values():
        assert decode_split_names(artifact.split_names) == ["train", "test", "empty"]
        assert artifact.span == 7
    assert not Path(statistics["own"].uri, "Split-candidates").exists()
