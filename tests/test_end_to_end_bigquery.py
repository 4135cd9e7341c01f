"""Tables that are queries, from lines of YAML to a pushed model; a service of this machine stands for BigQuery."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipeline.rehearsal.bigquery import LocalBigQuery
from tests.workspace import Workspace

EXPERIMENT = """
name: small
data:
  bigquery: {project: my-project, location: EU}
  as_of: 2026-05-01T00:00:00Z
  interactions:
    query: |
      SELECT customer, sku, clicked, price FROM shop.orders FOR SYSTEM_TIME AS OF @as_of
      WHERE NOT STARTS_WITH(page, '/shop/test/page')
    user: customer
    item: sku
    label: clicked
    numeric: [price]
  items: {query: items.sql, key: sku, title: name, categorical: [brand]}
  task: click
model: {type: dlrm}
training: {epochs: 3, batch_size: 256}
evaluation: {beat_baseline: false, min_auc: 0.6}
vertex:
  project: my-project
  region: us-central1
  bucket: gs://my-bucket/recspan
  image: us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0
"""
NUM_ROWS = 4000


def tables() -> dict[str, pa.Table]:
    random = np.random.default_rng(0)
    users, items = random.integers(50, size=NUM_ROWS), random.integers(20, size=NUM_ROWS)
    clicked = random.random(NUM_ROWS) < np.where(items % 2 == 0, 0.8, 0.2)
    interactions = {
        "customer": [f"u{user}" for user in users],
        "sku": [f"i{item}" for item in items],
        "clicked": clicked,
        "price": random.random(NUM_ROWS),
    }
    listed = {"sku": [f"i{item}" for item in range(20)], "name": [f"Item {item}" for item in range(20)]}
    return {"interactions": pa.table(interactions), "items": pa.table(listed | {"brand": ["acme", "apex"] * 10})}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("workspace"), EXPERIMENT)
    query = "SELECT * FROM shop.items FOR SYSTEM_TIME AS OF @as_of\n"
    (workspace.directory / "items.sql").write_text(query)
    return workspace


@pytest.fixture(scope="module")
def run_twice(workspace) -> tuple[LocalBigQuery, list[dict]]:
    """The service, which has ended, and the summaries of two equal runs."""
    answers = tables()
    with LocalBigQuery(lambda query: answers[query.table]).running() as service, pytest.MonkeyPatch.context() as patch:
        for name, value in service.environment.items():
            patch.setenv(name, value)
        summaries = []
        for _ in range(2):
            process, summary = workspace.run()
            assert process.returncode == 0, process.stdout + process.stderr
            summaries.append(summary)
    return service, summaries


def test_a_run_reads_each_query_once_and_an_equal_one_none(run_twice):
    service, (first, second) = run_twice
    assert [query.table for query in service.asked] == ["interactions", "items"]
    assert all(component["cached"] for component in second["components"])
    assert sum(first["examples"]["rows"].values()) == NUM_ROWS
    read = first["examples"]["query_results"]
    assert (read["as_of"], read["tables"]["interactions"]["rows"]) == ("2026-05-01T00:00:00+00:00", NUM_ROWS)
    assert read["tables"]["items"]["query"].startswith("SELECT * FROM shop.items")
    assert "query of interactions" in Path(first["report"]).read_text()


def test_questions_are_answered_from_the_rows_that_were_read(workspace, run_twice):
    assert not os.environ.get("BIGQUERY_EMULATOR_HOST")
    answers = [
        json.loads(process.stdout)["prediction"]
        for process in (
            workspace.recspan("predict", "--user", "u1", "--item", item, "--value", "price=0.5", "--json")
            for item in ("i2", "i3")
        )
    ]
    assert answers[0] > 0.5 > answers[1]
    refused = workspace.recspan("predict", "--user", "u1", "--item", "i2", "--data-dir", ".")
    assert refused.returncode == 1
    assert "--data-dir: all tables of the model are queries" in refused.stderr


@pytest.fixture(scope="module")
def rehearsed(workspace) -> str:
    """What a rehearsal prints, with an answer in each of two formats."""
    answers = workspace.directory / "answers"
    answers.mkdir()
    pq.write_table(tables()["interactions"], answers / "interactions.parquet")
    pyarrow.csv.write_csv(tables()["items"], answers / "items.csv")
    process = workspace.recspan("pipeline", "rehearse", "--config", "small.yaml", "--answers", "answers")
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_the_compiled_pipeline_is_rehearsed_with_answers_from_files(workspace, rehearsed, run_twice):
    _, (local, _) = run_twice
    files = "answers/interactions.parquet, answers/items.csv"
    assert f"replaced: BigQuery, by a service on this machine that answers with {files}" in rehearsed
    assert "raw files" not in rehearsed
    (version,) = (workspace.directory / "runs/rehearsal/buckets/my-bucket/recspan/serving/small").iterdir()
    summary = json.loads(Path(version, "summary.json").read_text())
    assert summary["examples"]["rows"] == local["examples"]["rows"]
    assert summary["training"]["vocabularies"] == local["training"]["vocabularies"]
