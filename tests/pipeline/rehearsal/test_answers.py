"""Answers of a rehearsed pipeline's queries."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from pipeline.rehearsal.answers import find_answers
from pipeline.rehearsal.bigquery import Query, as_bigquery
from pipeline.rehearsal.buckets import Buckets, link_data
from pipeline.rehearsal.spec import parse_plan
from trainer_module.errors import ConfigError, DataError

from .jobs import JobBuilder

DATA = {
    "interactions": {"query": "SELECT * FROM shop.orders", "user": "customer", "item": "sku", "label": "stars"},
    "bigquery": {"project": "my-project"},
    "task": "rating",
}


@pytest.fixture
def tasks(tmp_path):
    """ExampleGen of an experiment whose interactions are a query, as TFX compiles it."""
    data = DataConfig.model_validate(DATA)
    properties = TablesExampleGen(data.directory, data.portable()).exec_properties
    builder = JobBuilder().reader()
    (task,) = builder.spec["root"]["dag"]["tasks"].values()
    for name in ("input_base", "custom_config"):
        task["inputs"]["parameters"][name] = {"runtimeValue": {"constantValue": {"stringValue": properties[name]}}}
    (executor,) = builder.spec["deploymentSpec"]["executors"].values()
    arguments = executor["container"].setdefault("args", [])
    arguments[:0] = ["--executor_class_path", "components.example_gen.executor.Executor"]
    return parse_plan(Buckets(tmp_path / "buckets").local(json.loads(json.dumps(builder.job)))).tasks


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "answers"
    directory.mkdir()
    return directory


def ask(answers, table: str) -> pa.Table:
    return answers(Query(table, "SELECT 1", {}, None, False))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_file_answers_the_query_of_its_table(tasks, directory, suffix):
    rows = {"customer": ["u1", "u2"], "stars": [1, 2]}
    file = directory / f"interactions.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table(rows).cast(pa.schema([("customer", pa.large_string()), ("stars", pa.int8())])), file)
    elif suffix == "csv":
        file.write_text("customer,stars\nu1,1\nu2,2\n")
    else:
        file.write_text('{"customer": "u1", "stars": 1}\n{"customer": "u2", "stars": 2}\n')
    answers = find_answers(tasks, directory)
    assert answers.files == (file,)
    assert ask(answers, "interactions").equals(pa.table(rows))


def test_no_raw_file_is_linked(tasks, directory):
    assert link_data(tasks, None) is None
    with pytest.raises(ConfigError, match=r"--data-dir: all tables of the pipeline are queries"):
        link_data(tasks, directory)


def test_missing_answers(tasks, directory):
    with pytest.raises(ConfigError, match=r"name the directory of their answers with --answers. It holds interactions"):
        find_answers(tasks, None)
    with pytest.raises(ConfigError, match=r"expected one file interactions.parquet or .*, found 0"):
        find_answers(tasks, directory)
    for suffix in ("csv", "jsonl"):
        (directory / f"interactions.{suffix}").write_text("a\n1\n")
    with pytest.raises(ConfigError, match=r"found 2"):
        find_answers(tasks, directory)


def test_damaged_answers(tasks, directory):
    (directory / "interactions.parquet").write_text("no Parquet")
    with pytest.raises(DataError, match=r"interactions.parquet: cannot be read"):
        find_answers(tasks, directory)


def test_answers_without_a_query(tmp_path, directory):
    tasks = parse_plan(Buckets(tmp_path / "buckets").local(JobBuilder().reader().job)).tasks
    assert find_answers(tasks, None) is None
    with pytest.raises(ConfigError, match=r"--answers: no table of the pipeline is a query"):
        find_answers(tasks, directory)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (pa.int8(), pa.int64()),
        (pa.uint64(), pa.int64()),
        (pa.float32(), pa.float64()),
        (pa.large_string(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.timestamp("ns"), pa.timestamp("us")),
        (pa.timestamp("s", "Europe/Berlin"), pa.timestamp("us", "UTC")),
        (pa.decimal128(10, 2), pa.decimal128(38, 9)),
        (pa.decimal128(38, 20), pa.decimal256(76, 38)),
        (pa.large_list(pa.int32()), pa.list_(pa.int64())),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int64())])),
        (pa.null(), pa.string()),
    ],
    ids=str,
)
def test_columns_get_the_types_that_bigquery_sends(kind, sent):
    assert as_bigquery(pa.table({"a": pa.array([None], kind)})).schema.types == [sent]


def test_a_type_that_bigquery_does_not_have():
    with pytest.raises(DataError, match=r"column 'a' is of type duration"):
        as_bigquery(pa.table({"a": pa.array([None], pa.duration("s"))}))
