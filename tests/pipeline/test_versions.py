import json

import pytest
import tensorflow as tf

from pipeline.ask.versions import data_config, load_model, raw_directory, read_summary
from trainer_module.errors import ConfigError, DataError, ModelError

SUMMARY = {"config": {"data": {"dataset": "movielens-100k"}}, "data_dir": "/nowhere"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "its summary.json cannot be read .no such file"),
        ("", "its summary.json cannot be read"),
        ("[" * 100_000, "its summary.json cannot be read"),
        ("5", "its summary.json was not written by recspan"),
        ('{"config": {}}', "its summary.json was not written by recspan"),
    ],
)
def test_a_directory_that_is_no_pushed_version_is_refused(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ModelError, match=f"{tmp_path} is no pushed version: {reason}"):
        read_summary(tmp_path)


def test_only_the_keys_that_are_needed_are_asked_for(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"blessing": 1}))
    assert read_summary(tmp_path, needed=("blessing",)) == {"blessing": 1}


@pytest.mark.parametrize("config", [5, {}, {"data": 5}, {"data": {"dataset": "none"}}, {"data": {"unknown": 1}}])
def test_a_section_data_that_cannot_be_read_is_refused(config):
    with pytest.raises(ModelError, match="section"):
        data_config({"config": config})


def test_raw_files_that_are_gone_or_no_directory_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="/nowhere is not there; name the directory of the raw files with --data-dir"):
        raw_directory(SUMMARY, None)
    with pytest.raises(DataError, match="file is no directory"):
        raw_directory(SUMMARY, tmp_path / "file")


def test_rows_of_queries_are_read_beside_the_examples(tmp_path):
    table = {"query": "SELECT * FROM shop.orders", "user": "customer", "item": "sku", "label": "stars"}
    data = {"interactions": table, "bigquery": {"project": "my-project"}, "task": "rating"}
    examples = {"query_results": {"examples": str(tmp_path)}}
    summary = {"config": {"data": data}, "data_dir": "bigquery://my-project", "examples": examples}
    files = data_config(summary).described().tables.interactions.files
    assert files == (f"{tmp_path}/query-results/interactions/*.parquet",)
    with pytest.raises(DataError, match=f"{tmp_path} is gone, and with it the rows of the model's queries"):
        raw_directory(summary, None)
    (tmp_path / "query-results").mkdir()
    assert raw_directory(summary, None) == "bigquery://my-project"
    with pytest.raises(ConfigError, match="--data-dir: all tables of the model are queries"):
        raw_directory(summary, tmp_path)
    with pytest.raises(ModelError, match="or not where its queries' rows are"):
        data_config({"config": {"data": data}, "examples": {}})


def test_a_model_that_is_missing_damaged_or_of_another_kind_is_refused(tmp_path):
    module = tf.Module()
    module.answer = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"predict": module.answer})
    assert load_model(tmp_path / "1", "predict") is not None
    with pytest.raises(ModelError, match="no signature by_column; it has predict"):
        load_model(tmp_path / "1", "by_column")
    graph = tmp_path / "1" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:100])
    for version in (tmp_path / "1", tmp_path / "2"):
        with pytest.raises(ModelError, match=f"{version}: the SavedModel is damaged or missing"):
            load_model(version, "predict")
