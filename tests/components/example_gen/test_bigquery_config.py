"""What an experiment file alone tells about tables that are queries."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from components.example_gen.config import DataConfig

PINNED = "SELECT * FROM shop.orders FOR SYSTEM_TIME AS OF @as_of"
PLAIN = "SELECT * FROM shop.orders"
PROJECT = {"project": "my-project"}


def section(query: str = PLAIN, interactions: dict | None = None, **changes) -> dict:
    table = {"query": query, "user": "customer", "item": "sku", "label": "stars"} | (interactions or {})
    return {"interactions": table, "bigquery": PROJECT, "task": "rating"} | changes


def test_a_query_survives_the_way_to_the_executor():
    config = DataConfig.model_validate(section(PINNED, as_of="2026-05-01T00:00:00Z"))
    assert DataConfig.model_validate_json(config.portable().model_dump_json()) == config
    assert config.queries == {"interactions": PINNED}
    assert not config.unpinned_queries and not config.reads_files and not config.has_spans


def test_a_query_in_a_file(tmp_path):
    (tmp_path / "orders.sql").write_text(f"{PLAIN}\n")
    config = DataConfig.model_validate(section(str(tmp_path / "orders.sql")))
    # The text travels, not the path of this machine.
    assert config.queries == {"interactions": PLAIN}
    assert str(tmp_path) not in config.portable().model_dump_json()


def test_files_beside_a_query(tmp_path):
    items = {"files": str(tmp_path / "items.csv"), "key": "sku", "categorical": ["brand"]}
    config = DataConfig.model_validate(section(items=items))
    assert config.directory == str(tmp_path)
    portable = config.portable()
    assert portable.items.files == ("items.csv",)
    read = portable.with_results("gs://bucket/examples/1")
    assert read.items == portable.items
    assert read.interactions.files == ("gs://bucket/examples/1/query-results/interactions/*.parquet",)
    assert not read.queries


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (section(interactions={"files": "a.csv"}), "files and query: a table has one of the two"),
        (section(""), "files: this key is missing; name files, .* or a query"),
        (section(interactions={"delimiter": ";"}), "delimiter: only files have such keys"),
        (section(interactions={"format": "parquet"}), "format: only files have such keys"),
        (section("DROP TABLE shop.orders"), "a query begins with SELECT, WITH or FROM"),
        (
            section("no/such.sql"),
            "no/such.sql: cannot be read .no such file or directory.; expected a file with a query",
        ),
        (section(bigquery=None), "interactions.query: data.bigquery.project is missing"),
        (section(interactions={"query": "", "files": "a.csv"}), "bigquery: no table is a query"),
        (section(PINNED), "names @as_of, and data.as_of is missing"),
        (section(as_of="2026-05-01T00:00:00Z"), "as_of: no query names @as_of"),
        (section(PINNED, as_of="2026-05-01T00:00:00"), "as_of\n.*expected a time with its offset from UTC"),
        (section(PINNED, as_of=datetime.now(UTC) + timedelta(days=1)), "as_of: .* is in the future"),
        (section(window=7), "window: interactions.query has no spans; restrict the query"),
        (section(last_span=7, leave_out=[3]), "last_span, leave_out: interactions.query has no spans"),
        (section(bigquery=PROJECT | {"max_gb": 0}), "greater than 0"),
        (section(bigquery={"project": "My Project"}), "expected a project id"),
        (section(bigquery=PROJECT | {"location": "EU; DROP"}), "should match pattern"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValidationError, match=message):
        DataConfig.model_validate(changes)
