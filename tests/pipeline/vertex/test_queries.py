"""Experiments whose tables are queries to BigQuery, on Vertex AI."""

import json

import pytest

from components.example_gen.packed_config import unpack
from pipeline.config import load_config
from pipeline.vertex.compile import compile_job
from pipeline.vertex.submit import prepare_schedule
from tests.pipeline.vertex.experiments import SECTION
from trainer_module.errors import ConfigError

PINNED = "SELECT * FROM shop.orders FOR SYSTEM_TIME AS OF @as_of WHERE page != '/srv/shop/page'"
PLAIN = "SELECT * FROM shop.orders"
VERTEX = {key: value for key, value in SECTION.items() if key != "data"}


def experiment(query: str, vertex: dict | None = None, **changes):
    data = {
        "interactions": {"query": query, "user": "customer", "item": "sku", "label": "stars"},
        "bigquery": {"project": "my-project"},
        "task": "rating",
    }
    if "@as_of" in query:
        data["as_of"] = "2026-05-01T00:00:00Z"
    # The preset's sections are those of another dataset.
    sections = {"data": data, "model": {}, "training": {}, "embeddings": {}, "evaluation": {}}
    return load_config(overrides={"name": "small"} | sections | {"vertex": VERTEX | (vertex or {})} | changes)


def test_the_compiled_job_holds_the_query_and_no_directory_of_files():
    job = compile_job(experiment(PINNED))
    parameters = job["pipelineSpec"]["root"]["dag"]["tasks"]["ExampleGen"]["inputs"]["parameters"]
    values = {name: each["runtimeValue"]["constantValue"].get("stringValue") for name, each in parameters.items()}
    assert values["input_base"] == "no-raw-files"
    section = json.loads(unpack(values["custom_config"]))
    assert section["interactions"]["query"] == PINNED
    assert section["as_of"] == "2026-05-01T00:00:00Z"
    assert "tables_state" not in values


def test_a_query_that_may_change_is_refused_unless_nothing_is_cached():
    with pytest.raises(
        ConfigError, match=r"data.interactions.query: on Vertex AI, nothing asks BigQuery.*cache: false"
    ):
        compile_job(experiment(PLAIN))
    compile_job(experiment(PLAIN, cache=False))


def test_a_schedule_of_the_same_rows_is_refused():
    schedule = {"schedule": {"cron": "0 3 * * *"}}
    with pytest.raises(ConfigError, match=r"vertex.schedule: data.as_of fixes the rows"):
        prepare_schedule(experiment(PINNED, schedule), [])
    prepare_schedule(experiment(PLAIN, schedule, cache=False), [])


def test_the_directory_of_raw_files_belongs_to_files():
    with pytest.raises(ConfigError, match=r"vertex.data: all tables are queries"):
        experiment(PLAIN, {"data": "gs://my-bucket/raw"})
    with pytest.raises(ConfigError, match=r"vertex.data: this key is missing"):
        load_config(overrides={"data.dataset": "synthetic", "vertex": VERTEX})
