"""The component as TFX runs it: driver, Beam, metadata; artifacts are read back with TensorFlow."""

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.components.util import examples_utils
from tfx.orchestration.metadata import Metadata
from tfx_bsl.coders import example_coder

from components.example_gen import transforms
from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.generated.ratings import write_synthetic
from components.example_gen.joins.compose import joins_of
from components.example_gen.loading import load
from components.example_gen.output.examples import Examples
from components.example_gen.output.writer import ExampleWriter
from components.example_gen.rows import LABEL, SPLITS
from pipeline.beam import in_process_args
from tests.examples_on_disk import read_split
from trainer_module.errors import DataError

NUM_ROWS = 3000
NUM_USERS = 120
FIRST_FOLD = {"dataset": "movielens-100k", "split": "u1"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("component") / "data"
    write_synthetic(path, NUM_ROWS, NUM_USERS, 150, seed=0)
    return path


@pytest.fixture(scope="module")
def folded_dir(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("folded") / "data"
    write_synthetic(path, 100_000, 900, 1600, seed=0)
    return path


class Run:
    """Runs a pipeline of the component in a directory, and reads what it published."""

    def __init__(self, root: Path):
        self.root = root
        self.connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))

    def run(self, data_dir: Path, **config) -> None:
        component = TablesExampleGen(str(data_dir), DataConfig.model_validate({"dataset": "synthetic"} | config))
        pipeline = tfx.dsl.Pipeline(
            "test",
            str(self.root),
            components=[component],
            metadata_connection_config=self.connection,
            enable_cache=True,
            beam_pipeline_args=list(in_process_args()),
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)

    def artifacts(self) -> list[metadata_store_pb2.Artifact]:
        with Metadata(self.connection) as handle:
            published = [a for a in handle.store.get_artifacts() if a.state == metadata_store_pb2.Artifact.LIVE]
        return [artifact for artifact in published if Path(artifact.uri).exists()]

    def states(self) -> list[int]:
        with Metadata(self.connection) as handle:
            return [execution.last_known_state for execution in handle.store.get_executions()]

    def examples(self) -> dict[str, list[dict[str, list]]]:
        (artifact,) = self.artifacts()
        names = json.loads(artifact.properties["split_names"].string_value)
        return {split: read_split(Path(artifact.uri, f"Split-{split}")) for split in names}


def key(row: dict[str, list]) -> tuple:
    return (
        row["user_id"][0].decode(),
        row["movie_id"][0].decode(),
        round(row["rating"][0], 4),
        row["timestamp"][0],
    )


def file_keys(data_dir: Path) -> list[tuple]:
    lines = [line.split("\t") for line in (data_dir / "u.data").read_text().splitlines()]
    return [(user, item, float(rating), int(time)) for user, item, rating, time in lines]


@pytest.mark.parametrize("protocol", ["random", "user", "time", "leave-last-out"])
def test_every_row_arrives_once_in_the_split_of_its_protocol(protocol, data_dir, tmp_path):
    run = Run(tmp_path)
    fraction = {} if protocol == "leave-last-out" else {"eval_fraction": 0.1}
    run.run(data_dir, split={"by": protocol} | fraction)
    examples = run.examples()
    assert sorted(key(row) for rows in examples.values() for row in rows) == sorted(file_keys(data_dir))
    (artifact,) = run.artifacts()
    assert json.loads(artifact.properties["split_names"].string_value) == list(SPLITS)
    custom = artifact.custom_properties
    assert {split: custom[f"rows_{split}"].int_value for split in SPLITS} == {s: len(r) for s, r in examples.items()}
    assert custom["bad_rows"].int_value == 0
    assert custom[examples_utils.example_gen_utils.PAYLOAD_FORMAT_PROPERTY_NAME].string_value == "FORMAT_PARQUET"
    assert not Path(artifact.uri, "outcome.json").exists()
    assert_promise(protocol, examples)
    # Counted here from the examples themselves: a user's activity is that of the training split, in every split.
    activity = Counter(row["user_id"][0] for row in examples["train"])
    bounds = {b"0": (0, 0), b"1-19": (1, 19), b"20-49": (20, 49), b"50-99": (50, 99), b"100-199": (100, 199)}
    for row in (row for rows in examples.values() for row in rows):
        low, high = bounds.get(row["user_activity"][0], (200, NUM_ROWS))
        assert low <= activity[row["user_id"][0]] <= high


def assert_promise(protocol: str, examples: dict[str, list[dict[str, list]]]) -> None:
    users = {split: {row["user_id"][0] for row in rows} for split, rows in examples.items()}
    times = {split: [row["timestamp"][0] for row in rows] for split, rows in examples.items()}
    if protocol == "user":
        assert sum(len(found) for found in users.values()) == len(set.union(*users.values())) == NUM_USERS
    if protocol == "time":
        assert max(times["train"]) < min(times["eval"]) <= max(times["eval"]) < min(times["test"])
    if protocol == "leave-last-out":
        assert len(examples["test"]) == len(examples["eval"]) == NUM_USERS
        last = {row["user_id"][0]: row["timestamp"][0] for row in examples["test"]}
        assert all(row["timestamp"][0] <= last[row["user_id"][0]] for rows in examples.values() for row in rows)


def test_neighbours_are_of_the_training_split(data_dir, tmp_path):
    run = Run(tmp_path)
    run.run(data_dir, split={"eval_fraction": 0.1}, neighbours=NUM_ROWS)
    examples = run.examples()
    train = {(row["user_id"][0], row["movie_id"][0]) for row in examples["train"]}
    items, users = defaultdict(set), defaultdict(set)
    for user, item in train:
        items[user].add(item)
        users[item].add(user)
    for row in (row for rows in examples.values() for row in rows):
        (user,), (item,) = row["user_id"], row["movie_id"]
        assert set(row["rated"]) == items[user] - {item} and len(set(row["rated"])) == len(row["rated"])
        assert set(row["raters"]) == users[item] - {user}


def test_an_official_fold_is_its_lines(folded_dir, tmp_path):
    run = Run(tmp_path)
    run.run(folded_dir, dataset="movielens-100k", split="u2")
    assert sorted(key(row) for row in read_split(Path(run.artifacts()[0].uri, "Split-test"))) == sorted(
        file_keys(folded_dir)[20_000:40_000]
    )


def test_several_blocks_give_the_same_examples_as_one(data_dir, tmp_path, monkeypatch):
    keys = []
    for name, block_bytes in (("one", 1 << 20), ("many", 9000)):
        monkeypatch.setattr("components.example_gen.readers.blocks._BLOCK_BYTES", block_bytes)
        run = Run(tmp_path / name)
        run.run(data_dir, split="leave-last-out")
        keys.append({split: sorted(map(key, rows)) for split, rows in run.examples().items()})
        files = list(Path(run.artifacts()[0].uri, "Split-train").iterdir())
        assert (len(files) == 1) == (name == "one")
    assert keys[0] == keys[1]


def test_a_second_run_is_cached_until_data_config_or_code_change(data_dir, tmp_path, monkeypatch):
    changing = tmp_path / "data"
    shutil.copytree(data_dir, changing)
    run = Run(tmp_path)
    executed, cached = metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED
    run.run(changing)
    run.run(changing)
    assert run.states() == [executed, cached]
    (changing / "manifest.json").write_text("{}")
    run.run(changing)
    assert run.states()[-1] == cached, "the manifest is no input"
    run.run(changing, split={"seed": 1})
    assert run.states()[-1] == executed
    with monkeypatch.context() as patch:
        patch.setattr("components.example_gen.packed_config.source_hash", lambda module: "other sources")
        run.run(changing)
    assert run.states()[-1] == executed
    with (changing / "u.data").open("a") as file:
        file.write("1\t1\t3\t880000000\n")
    run.run(changing)
    assert run.states()[-1] == executed


@pytest.fixture
def spoiled(data_dir, tmp_path) -> Path:
    """Three bad rows: line 7 of u.data, one rating by an unknown user, one malformed item that nobody rated."""
    path = tmp_path / "spoiled"
    shutil.copytree(data_dir, path)
    lines = (path / "u.data").read_text().splitlines(keepends=True)
    lines[6] = "1\t1\tgood\t880000000\n"
    lines[99] = "9999\t1\t3\t880000000\n"
    (path / "u.data").write_text("".join(lines))
    with (path / "u.item").open("ab") as file:
        file.write(b"151|Half an item\n")
    return path


@pytest.mark.parametrize("allowed", [0, 2])
def test_too_many_bad_rows_publish_nothing(allowed, spoiled, tmp_path):
    run = Run(tmp_path)
    with pytest.raises(DataError) as error:
        run.run(spoiled, max_bad_rows=allowed)
    message = str(error.value)
    assert f"data.max_bad_rows allows {allowed}" in message
    assert "u.item, line 151: expected 24 fields, found 2" in message
    if allowed:
        assert "3 bad row(s)" in message
        assert "u.data, line 7: column 'rating': expected a number, found 'good'" in message
        assert "u.data, line 100: column 'user_id': user '9999' is not in the table users, or its row is bad" in message
    assert run.artifacts() == []
    assert run.states() == [metadata_store_pb2.Execution.FAILED]


def test_tolerated_bad_rows_go_to_quarantine(spoiled, tmp_path):
    run = Run(tmp_path)
    run.run(spoiled, max_bad_rows=3)
    (artifact,) = run.artifacts()
    assert artifact.custom_properties["bad_rows"].int_value == 3
    quarantine = Path(artifact.uri, "quarantine", "bad_rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in quarantine]
    assert [(row["file"], row["line"], row["raw"]) for row in rows] == [
        ("u.data", 7, "1\t1\tgood\t880000000"),
        ("u.data", 100, "9999\t1\t3\t880000000"),
        ("u.item", 151, "151|Half an item"),
    ]
    assert sum(len(split) for split in run.examples().values()) == NUM_ROWS - 2


@pytest.mark.parametrize(
    ("spoil", "config", "message"),
    [
        (lambda path: (path / "u.item").unlink(), {}, r"items: no file matches .*u\.item"),
        (lambda path: (path / "u.data").write_bytes(b""), {}, r"u\.data .*empty file"),
        (
            lambda path: (path / "u.data").write_text("1,1,3,880000000\n" * 30),
            {"split": "time", "max_bad_rows": 30},
            r"leaves train and eval and test without a row",
        ),
        (
            lambda path: (path / "u.user").write_text("9999|20|M|other|1\n"),
            {},
            r"3,000 bad row\(s\).*\n.*line 1: column 'user_id': user .* is not in the table users",
        ),
        (lambda path: None, FIRST_FOLD, r"exactly 100,000 lines; this u\.data has 3,000"),
        (lambda path: None, {"split": {"eval_fraction": 1e-9}}, "leaves eval without a row"),
        (
            # Every pair stands there five times and more, so fold u1 tests on pairs that it trains on.
            lambda path: (path / "u.data").write_text(
                "".join(f"{1 + i // 150 % 120}\t{1 + i % 150}\t3\t{i}\n" for i in range(100_000))
            ),
            FIRST_FOLD,
            r"by u1.*leak.*\n.*same \(user, item\) pair is in train and in test: u\.data lines",
        ),
    ],
)
def test_unusable_data_is_refused(spoil, config, message, data_dir, tmp_path):
    path = tmp_path / "data"
    shutil.copytree(data_dir, path)
    spoil(path)
    run = Run(tmp_path)
    with pytest.raises(DataError, match=message):
        run.run(path, **config)
    assert run.artifacts() == []


def test_composed_records_equal_those_of_the_library_encoder(data_dir, tmp_path):
    config = DataConfig(dataset="synthetic")
    dataset = config.described()
    loaded = load(str(data_dir), config, {}, with_interactions=True)
    rows, schema = loaded.rows, dataset.spec().features.arrow_schema()
    parts = []
    for join in joins_of(dataset):
        known = join.merge([join.summarize(rows, loaded.entities)]) if join.needs_summary else None
        parts += join.parts(rows, known, loaded.entities)
    examples = Examples(tuple(parts), schema)
    ExampleWriter("tfrecord").write([str(tmp_path)], np.zeros(NUM_ROWS, np.int8), 0, examples)
    files = [str(path) for path in tmp_path.iterdir()]
    written = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    expected = example_coder.RecordBatchToExamplesEncoder().encode(examples.to_batch())
    parse = tf.train.Example.FromString
    assert [parse(record) for record in written] == [parse(record) for record in expected]
    assert [len(record) for record in written] == [len(record) for record in expected]
    # The readers of the pipeline, too, see one well-formed message.
    decoded = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(written)
    assert set(decoded.schema.names) == set(schema.names)
    parsed = tf.io.parse_example(written, {"rating": tf.io.FixedLenFeature([], tf.float32)})
    np.testing.assert_allclose(parsed["rating"], rows.column(LABEL))


def test_interactions_come_with_histories_candidates_and_queries(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(transforms, "ROWS_PER_PARTITION", 1000)  # several partitions
    run = Run(tmp_path)
    config = {"task": "retrieval", "split": {"by": "time", "eval_fraction": 0.1}, "history": 3}
    run.run(data_dir, **config)
    examples = run.examples()
    assert list(examples) == [*SPLITS, "candidates", "queries"]
    rows = {split: examples[split] for split in SPLITS}
    chosen = [(row["user_id"][0].decode(), row["movie_id"][0].decode()) for each in rows.values() for row in each]
    assert sorted(chosen) == sorted((user, item) for user, item, _, _ in file_keys(data_dir))

    dataset = DataConfig.model_validate({"dataset": "synthetic"} | config).described().spec()
    known = {"train": ("train",), "eval": ("train",), "test": ("train", "eval")}
    earlier = {split: [row for name in known[split] for row in rows[name]] for split in SPLITS}
    for split, of_split in rows.items():
        for row in of_split[:50]:
            before = [
                (other["timestamp"][0], other["movie_id"][0])
                for other in earlier[split]
                if other["user_id"] == row["user_id"] and other["timestamp"] < row["timestamp"]
            ]
            assert {item for _, item in sorted(before)[-3:]} >= set(row["history"]) or len(before) > 3
            assert len(row["history"]) == min(3, len(before))

    counts = Counter(row["movie_id"][0] for row in rows["train"])
    assert len(examples["candidates"]) == 150
    assert {row["movie_id"][0]: row["train_count"][0] for row in examples["candidates"]} == {
        row["movie_id"][0]: counts[row["movie_id"][0]] for row in examples["candidates"]
    }
    assert set(examples["candidates"][0]) == set(dataset.candidate_schema().names)

    assert {row["user_id"][0] for row in examples["queries"]} == {row["user_id"][0] for row in rows["test"]}
    assert set(examples["queries"][0]) == set(dataset.query_schema().names)
    for query in examples["queries"]:
        mine = {
            split: {row["movie_id"][0] for row in rows[split] if row["user_id"] == query["user_id"]} for split in SPLITS
        }
        assert set(query["seen"]) == mine["train"] | mine["eval"]
        assert set(query["relevant"]) == mine["test"]
