"""Tables that are queries, through ExampleGen's executor and Google's own clients, to a service on this machine."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth import exceptions as auth_exceptions
from google.cloud.bigquery_storage_v1 import types
from tfx.types import standard_artifacts, standard_component_specs

from components.example_gen.bigquery import service as service_module
from components.example_gen.bigquery.layout import DIRECTORY, MANIFEST_FILE, QUERY_RESULTS, described_results
from components.example_gen.bigquery.service import REST_HOST, STORAGE_HOST
from components.example_gen.bigquery.tables_state import tables_state
from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.executor import Executor
from components.example_gen.loading import load
from components.google_cloud.calls import ServiceError
from components.pusher.summary import ingest_summary
from pipeline.rehearsal.bigquery import LocalBigQuery, Query, Refused
from tests.examples_on_disk import read_split
from trainer_module.errors import DataError, SetupError

PROJECT = {"project": "my-project", "location": "EU"}
SQL = "SELECT * FROM shop.orders"
INTERACTIONS = {"query": SQL, "user": "customer", "item": "sku", "label": "clicked", "numeric": ["price"]}
NUM_ROWS = 400


def orders(**columns) -> pa.Table:
    numbers = range(NUM_ROWS)
    plain = {
        "customer": [f"u{i % 9}" for i in numbers],
        "sku": [f"i{i % 40}" for i in numbers],
        "clicked": [i % 2 == 0 for i in numbers],
        "price": [float(i) for i in numbers],
    }
    return pa.table(plain | columns)


def config_of(interactions: dict | None = None, **changes) -> DataConfig:
    described = INTERACTIONS | (interactions or {})
    return DataConfig.model_validate({"interactions": described, "bigquery": PROJECT, "task": "click"} | changes)


@pytest.fixture
def bigquery(monkeypatch):
    """Starts a service that answers with tables, or as a function says."""

    def answer(query: Query) -> pa.Table:
        found = service.rows[query.table]
        if isinstance(found, Exception):
            raise found
        return found

    service = LocalBigQuery(answer)
    service.rows = {"interactions": orders()}
    with service.running():
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


def ingest(to: Path, config: DataConfig, directory: str = ""):
    component = TablesExampleGen(directory or config.directory, config.portable())
    artifact = standard_artifacts.Examples()
    artifact.uri = str(to)
    Executor().Do({}, {standard_component_specs.EXAMPLES_KEY: [artifact]}, component.exec_properties)
    return artifact


def examples(artifact) -> list[dict[str, list]]:
    return [row for split in ("train", "eval", "test") for row in read_split(Path(artifact.uri, f"Split-{split}"))]


def test_all_rows_of_a_query_become_examples(bigquery, tmp_path):
    artifact = ingest(tmp_path / "out", config_of())
    found = examples(artifact)
    assert sorted(row["price"][0] for row in found) == list(range(NUM_ROWS))
    assert {(row["customer"][0], row["price"][0]) for row in found} == {
        (f"u{i % 9}".encode(), i) for i in range(NUM_ROWS)
    }
    (query,) = bigquery.asked
    assert (query.table, query.sql, query.parameters, query.max_bytes) == ("interactions", SQL, {}, None)
    # Where the examples come from.
    manifest = json.loads((tmp_path / "out" / DIRECTORY / MANIFEST_FILE).read_text())
    assert ingest_summary(artifact)[QUERY_RESULTS] == {"examples": artifact.uri} | manifest
    (table,) = manifest["tables"].values()
    (described,) = described_results(ingest_summary(artifact)).items()
    assert described[0] == "query of interactions"
    assert described[1].startswith(f"400 rows, job {table['job']} in EU, ")
    assert (table["query"], table["rows"], table["location"]) == (SQL, NUM_ROWS, "EU")
    assert table["columns"] == {"customer": "STRING", "sku": "STRING", "clicked": "BOOLEAN", "price": "FLOAT"}


def test_only_the_columns_that_are_read_are_fetched(bigquery, tmp_path):
    # A column of a type that cannot be read does no harm as long as it is not named.
    bigquery.rows["interactions"] = orders(size=STRUCT)
    ingest(tmp_path / "out", config_of())
    (request,) = bigquery.opened
    assert list(request.read_session.read_options.selected_fields) == ["customer", "sku", "clicked", "price"]
    assert request.read_session.data_format == types.DataFormat.ARROW
    parts = sorted((tmp_path / "out" / DIRECTORY / "interactions").iterdir())
    assert [part.name for part in parts] == ["part-00000.parquet", "part-00001.parquet"]
    assert pq.read_schema(parts[0]).names == ["customer", "sku", "clicked", "price"]


def test_items_from_files_and_interactions_from_a_query(bigquery, tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [f"i{i},{'acme' if i % 2 else 'apex'}\n" for i in range(40)]
    (tmp_path / "raw" / "items.csv").write_text("sku,brand\n" + "".join(rows))
    items = {"files": str(tmp_path / "raw" / "items.csv"), "key": "sku", "categorical": ["brand"]}
    config = config_of(items=items)
    assert config.directory == str(tmp_path / "raw")
    for row in examples(ingest(tmp_path / "out", config, config.directory)):
        assert row["brand"] == [b"acme" if int(row["sku"][0][1:]) % 2 else b"apex"]


def test_three_queries(bigquery, tmp_path):
    bigquery.rows["items"] = pa.table({"sku": [f"i{i}" for i in range(40)], "tags": [["a", "b"], [], None, ["c"]] * 10})
    bigquery.rows["users"] = pa.table({"customer": [f"u{i}" for i in range(9)], "age": list(range(9))})
    tags = {"name": "tags", "multivalent": True}
    config = config_of(
        items={"query": "SELECT * FROM shop.items", "key": "sku", "categorical": [tags]},
        users={"query": "SELECT * FROM shop.users", "key": "customer", "numeric": ["age"]},
    )
    assert config.directory == "bigquery://my-project"
    artifact = ingest(tmp_path / "out", config)
    # Questions to a pushed model read the same rows again, without a query.
    loaded = load(config.directory, config.with_results(artifact.uri), {"user": ["u1"], "item": []}, True)
    assert (loaded.entities.items.num_rows, loaded.rows.batch.num_rows) == (40, NUM_ROWS)
    assert [query.table for query in bigquery.asked] == ["interactions", "items", "users"]
    for row in examples(artifact):
        number = int(row["sku"][0][1:])
        assert row["tags"] == [[b"a", b"b"], [], [], [b"c"]][number % 4]
        assert row["age"] == [float(row["customer"][0][1:])]


DAY = datetime(2026, 5, 1, 12, tzinfo=UTC)


TOKENS = {
    "numeric": (pa.array([Decimal("7.50")] * NUM_ROWS), [b"7.5"]),
    "bignumeric": (pa.array([Decimal("7.00")] * NUM_ROWS, pa.decimal256(76, 38)), [b"7"]),
    "bool": (pa.array([True] * NUM_ROWS), [b"true"]),
    "int64": (pa.array([7] * NUM_ROWS), [b"7"]),
    "bytes": (pa.array([b" x "] * NUM_ROWS), [b"x"]),
    "date": (pa.array([date(2026, 5, 1)] * NUM_ROWS), [b"2026-05-01"]),
    "null": (pa.array([None] * NUM_ROWS, pa.string()), []),
}
NUMBERS = {
    "decimal": pa.decimal128(38, 9), "bigdecimal": pa.decimal256(76, 38), "integer": pa.int64(), "text": pa.string(),
}  # fmt: skip


def test_types_of_tokens_and_numbers(bigquery, tmp_path):
    texts = pa.array([str(i) for i in range(NUM_ROWS)])
    columns = {name: values for name, (values, _) in TOKENS.items()}
    columns |= {name: texts.cast(kind) for name, kind in NUMBERS.items()}
    bigquery.rows["interactions"] = orders(**columns)
    config = config_of({"categorical": list(TOKENS), "numeric": ["price", *NUMBERS]})
    found = examples(ingest(tmp_path / "out", config))
    assert len(found) == NUM_ROWS
    for row in found:
        assert {name: list(row[name]) for name in TOKENS} == {name: tokens for name, (_, tokens) in TOKENS.items()}
        assert {row[name][0] for name in NUMBERS} == {row["price"][0]}
    kinds = json.loads((tmp_path / "out" / DIRECTORY / MANIFEST_FILE).read_text())["tables"]["interactions"]["columns"]
    assert (kinds["numeric"], kinds["bignumeric"], kinds["date"]) == ("NUMERIC", "BIGNUMERIC", "DATE")


@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32()], ids=str)
def test_types_of_times(bigquery, tmp_path, kind):
    days = [DAY.replace(tzinfo=None) + timedelta(days=i) for i in range(NUM_ROWS)]
    bigquery.rows["interactions"] = orders(at=pa.array(days, pa.timestamp("us")).cast(kind, safe=False))
    config = config_of({"time": "at"}, split={"by": "time", "test_fraction": 0.25})
    artifact = ingest(tmp_path / "out", config)
    latest = {row["price"][0] for row in read_split(Path(artifact.uri, "Split-test"))}
    assert latest == set(range(300, NUM_ROWS))


STRUCT = pa.array([{"width": 1}] * NUM_ROWS)


@pytest.mark.parametrize(
    ("columns", "interactions", "message"),
    [
        (
            {},
            {"numeric": ["prize"]},
            r"no column 'prize'\. Did you mean price\? It has 'customer', 'sku', 'clicked', 'price'",
        ),
        ({"size": STRUCT}, {"categorical": ["size"]}, "'size' is of type RECORD.*size.name AS name"),
        ({"size": pa.array([[{"a": 1}]] * NUM_ROWS)}, {"categorical": ["size"]}, "'size' is of type ARRAY of RECORD"),
        ({"size": [[1, 2]] * NUM_ROWS}, {"categorical": ["size"]}, "'size' is an ARRAY.*multivalent: true"),
        ({"size": [[1, 2]] * NUM_ROWS}, {"numeric": ["size"]}, "'size' is an ARRAY"),
        ({"at": [DAY] * NUM_ROWS}, {"numeric": ["at"]}, "'at' is of type TIMESTAMP, and numeric is a number"),
        ({"clicked": [DAY] * NUM_ROWS}, {}, "'clicked' is of type TIMESTAMP, and label is a number"),
    ],
)
def test_columns_that_cannot_be_read_are_refused_before_a_row_is_read(
    bigquery, tmp_path, columns, interactions, message
):
    bigquery.rows["interactions"] = orders(**columns)
    with pytest.raises(DataError, match=rf"data.interactions.query: .*{message}"):
        ingest(tmp_path / "out", config_of(interactions))
    assert not bigquery.opened


def test_a_query_without_rows(bigquery, tmp_path):
    bigquery.rows["interactions"] = orders().slice(0, 0)
    with pytest.raises(DataError, match=r"data.interactions.query: the query returned no row"):
        ingest(tmp_path / "out", config_of())


def test_bad_rows_are_named_after_the_query(bigquery, tmp_path):
    clicked = [2 if i == 300 else i % 2 for i in range(NUM_ROWS)]
    bigquery.rows["interactions"] = orders(clicked=clicked)
    with pytest.raises(DataError) as caught:
        ingest(tmp_path / "out", config_of())
    # The second stream begins with row 200 of 400.
    assert "data.interactions.query/part-00001, line 101: column 'clicked': expected 0 or 1, found 2" in str(
        caught.value
    )


def test_as_of_and_the_limit_of_bytes_are_sent(bigquery, tmp_path):
    pinned = {"query": SQL + " FOR SYSTEM_TIME AS OF @as_of"}
    config = config_of(pinned, as_of="2026-05-01T14:00:00+02:00", bigquery=PROJECT | {"max_gb": 1.5})
    ingest(tmp_path / "out", config)
    (query,) = bigquery.asked
    assert datetime.fromisoformat(query.parameters["as_of"]) == DAY
    assert query.max_bytes == 1_500_000_000


def test_results_in_a_dataset_of_the_project_are_removed(bigquery, tmp_path):
    bigquery.rows["items"] = Refused(404, "notFound", "Not found: Table shop.items")
    items = {"query": "SELECT * FROM shop.items", "key": "sku"}
    scratch = PROJECT | {"dataset": "scratch"}
    with pytest.raises(ServiceError, match=r"data.items.query: BigQuery does not find it"):
        ingest(tmp_path / "out", config_of(items=items, bigquery=scratch))
    assert not bigquery.tables
    ingest(tmp_path / "out", config_of(bigquery=scratch))
    assert not bigquery.tables
    assert "/datasets/scratch/tables/recspan_interactions_" in bigquery.opened[0].read_session.table


def test_an_ordered_query_is_read_in_its_order(bigquery, tmp_path):
    bigquery.rows["interactions"] = orders().slice(0, 300)
    ingest(tmp_path / "out", config_of({"query": SQL + " ORDER BY price"}))
    assert bigquery.opened[0].max_stream_count == 1
    (part,) = (tmp_path / "out" / DIRECTORY / "interactions").iterdir()
    assert pq.read_table(part)["price"].to_pylist() == list(range(300))


def test_a_broken_connection_is_taken_up_where_it_ended(bigquery, tmp_path, monkeypatch):
    bigquery.rows["interactions"] = pa.concat_tables([orders()] * 100).combine_chunks()
    whole, offsets = bigquery.read_rows, []

    def breaks(request):
        offsets.append(request.offset)
        for number, message in enumerate(whole(request)):
            if number == 1 and not request.offset:
                raise Refused(503, "backendError", "try again")
            yield message

    monkeypatch.setattr(bigquery, "read_rows", breaks)
    config = config_of(split={"by": "random", "key": "row"})
    assert len(examples(ingest(tmp_path / "out", config))) == 100 * NUM_ROWS
    assert sorted(offsets) == [0, 0, 10_000, 10_000]


def test_rows_that_do_not_arrive_are_missed(bigquery, tmp_path, monkeypatch):
    monkeypatch.setattr(bigquery, "read_rows", lambda request: iter(()))
    with pytest.raises(DataError, match=r"data.interactions.query: BigQuery counts 400 rows and sent 0"):
        ingest(tmp_path / "out", config_of())
    assert not (tmp_path / "out" / DIRECTORY / MANIFEST_FILE).exists()


FAILURES = [
    (Refused(400, "invalidQuery", "Syntax error: Unexpected keyword FROM at [1:8]"), "refuses the query.*at \\[1:8\\]"),
    (Refused(404, "notFound", "Not found: Table p:shop.orders"), "does not find it.*data.bigquery.location, EU"),
    (
        Refused(403, "accessDenied", "User does not have permission to query table"),
        "does not allow it.*roles/bigquery.jobUser.*my-project.*roles/bigquery.dataViewer",
    ),
    (Refused(403, "billingNotEnabled", "Billing has not been enabled"), "Enable billing for project my-project"),
    (Refused(403, "accessNotConfigured", "BigQuery API has not been used in project 1"), "gcloud services enable"),
    (Refused(403, "responseTooLarge", "Response too large to return"), "Name a dataset of project my-project"),
    (Refused(403, "quotaExceeded", "Quota exceeded: too many bytes"), "a quota of project my-project is exhausted"),
    (Refused(400, "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 5"), "max_gb, 1, allows"),
    (Refused(400, "invalid", "Invalid time travel timestamp 1 for table"), "history does not reach back to data.as_of"),
]


@pytest.mark.parametrize("in_job", [False, True], ids=["request", "job"])
@pytest.mark.parametrize(("failure", "message"), FAILURES, ids=[each.reason for each, _ in FAILURES])
def test_refusals_name_table_key_and_way_out(bigquery, tmp_path, failure, message, in_job):
    bigquery.rows["interactions"], bigquery.fails_in_job = failure, in_job
    with pytest.raises(ServiceError, match=rf"^data.interactions.query: .*{message}") as caught:
        ingest(tmp_path / "out", config_of(bigquery=PROJECT | {"max_gb": 1}))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_the_storage_api_refuses(bigquery, tmp_path, monkeypatch):
    def refuse(request):
        raise Refused(403, "accessDenied", "request is missing required permission bigquery.readsessions.create")

    monkeypatch.setattr(bigquery, "create_read_session", refuse)
    with pytest.raises(ServiceError, match=r"data.interactions.query: .*roles/bigquery.readSessionUser"):
        ingest(tmp_path / "out", config_of())


def test_a_service_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setenv(REST_HOST, "http://localhost:9")
    monkeypatch.setenv(STORAGE_HOST, "localhost:9")
    monkeypatch.setattr(service_module, "_REST_RETRY", service_module._REST_RETRY.with_timeout(0.1))
    with pytest.raises(ServiceError, match=r"data.interactions.query: BigQuery gave no valid answer"):
        ingest(tmp_path / "out", config_of())


def test_without_credentials(tmp_path, monkeypatch):
    def none(**_):
        raise auth_exceptions.DefaultCredentialsError("none were found")

    monkeypatch.setattr("google.auth.default", none)
    with pytest.raises(
        SetupError, match=r"data.interactions.query: no credentials for Google Cloud.*application-default login"
    ):
        ingest(tmp_path / "out", config_of())


def test_one_of_two_servers_is_not_enough(monkeypatch):
    monkeypatch.setenv(REST_HOST, "http://localhost:9")
    with pytest.raises(SetupError, match=r"only one of the two is set"):
        tables_state(config_of())


def stored(bigquery, **changes) -> None:
    modified = str(int(DAY.timestamp() * 1000))
    bigquery.tables["my-project.shop.orders"] = {"type": "TABLE", "lastModifiedTime": modified} | changes


NAMED = {"query": "SELECT * FROM `my-project.shop.orders`"}


def test_the_state_changes_with_the_tables(bigquery):
    stored(bigquery)
    state = tables_state(config_of(NAMED))
    assert json.loads(state) == {"interactions": ["my-project.shop.orders 2026-05-01 12:00:00+00:00"]}
    assert tables_state(config_of(NAMED)) == state
    assert all(query.dry_run for query in bigquery.asked)
    stored(bigquery, lastModifiedTime="1800000000000")
    assert tables_state(config_of(NAMED)) != state


@pytest.mark.parametrize(
    "changes", [{"type": "EXTERNAL"}, {"streamingBuffer": {"estimatedRows": "3"}}], ids=["external", "streamed to"]
)
def test_what_may_change_unseen_is_never_the_same(bigquery, changes, caplog):
    stored(bigquery, **changes)
    assert tables_state(config_of(NAMED)) != tables_state(config_of(NAMED))
    assert "data.interactions.query runs in every run" in caplog.text


def test_as_of_needs_no_question(bigquery):
    config = config_of({"query": SQL + " FOR SYSTEM_TIME AS OF @as_of"}, as_of=DAY)
    assert tables_state(config) == ""
    assert not bigquery.asked


def test_the_state_is_part_of_the_cache_key():
    config = config_of()
    plain, changed = (TablesExampleGen(config.directory, config, tables_state=state) for state in ("", "x"))
    assert "tables_state" not in plain.exec_properties
    assert changed.exec_properties["tables_state"] == "x"
