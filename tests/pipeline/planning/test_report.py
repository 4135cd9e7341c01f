import subprocess
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from pipeline.planning.accelerators import parse_slices
from pipeline.planning.experiment_tables import from_experiment
from pipeline.planning.printing import plan_console, print_plans
from pipeline.planning.table_set import from_table_set
from tests.launcher import recspan
from trainer_module.errors import ConfigError

TABLE_SET = """
batch_size: 1024
dim: 16
optimizer: {name: adagrad, learning_rate: 0.1}
tables:
  users: {rows: 1000}
  items: {rows: 500, dim: 32, optimizer: {name: adam, learning_rate: 0.1}}
features:
  user: {table: users}
  history: {table: items, valency: 4.5}
  recent: {table: items, max_sequence_length: 10}
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "tables.yaml"
    path.write_text(text)
    return path


def printed(plan_input, *names: str, subset=(), console: Console | None = None) -> str:
    console = console or Console(width=100)
    with console.capture() as capture:
        print_plans(plan_input, parse_slices(names), subset, console)
    return capture.get()


def transform_graph(directory: Path, sizes: dict[str, int]) -> Path:
    """What is left of a Transform run: vocabularies and the (empty) schema beside them."""
    assets = directory / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    for name, size in sizes.items():
        (assets / name).write_text("".join(f"{name}-{token}\n" for token in range(size)))
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec({})),
        str(directory / "transformed_metadata"),
    )
    return directory


DOCUMENT = Path("docs/planning.md")
VOCABULARIES = {"user_id": 943, "movie_id": 1500, "gender": 2, "occupation": 21, "genres": 19}


def test_a_table_set_by_hand(tmp_path):
    workload = from_table_set(write(tmp_path, TABLE_SET), {}).workload
    users, items = workload.tables
    assert (users.rows, users.dim, users.slots, items.dim, items.slots) == (1000, 16, 1, 32, 2)
    assert workload.parameter_bytes == (1000 * 16 + 500 * 32) * 4
    assert workload.training_bytes == (1000 * 16 * 2 + 500 * 32 * 3) * 4
    assert [(f.name, f.table, f.valency, f.max_sequence_length) for f in workload.features] == [
        ("user", "users", 1.0, 0),
        ("history", "items", 4.5, 0),
        ("recent", "items", 1.0, 10),
    ]


def test_without_features_every_table_has_one():
    workload = from_table_set(Path("criteo-1tb"), {}).workload
    assert [(f.name, f.table) for f in workload.features] == [(t.name, t.name) for t in workload.tables]


def test_criteo_has_the_rows_that_its_comment_says():
    file = Path("pipeline/planning/table_sets/criteo-1tb.yaml")
    workload = from_table_set(file, {}).workload
    assert workload == from_table_set(Path("criteo-1tb"), {}).workload
    assert len(workload.tables) == 26
    rows = sum(table.rows for table in workload.tables)
    assert f"Their sum is {rows:,} rows" in file.read_text()
    assert max(table.rows for table in workload.tables) <= 40_000_000
    assert workload.training_bytes == rows * 128 * 4 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batchsize": 3}, r"tables\.yaml: batchsize: unknown key\. Did you mean batch_size\? Known: batch_size, dim"),
        ({"tables.users.row": 3}, r"tables\.users\.row: unknown key\. Did you mean tables\.users\.rows\?"),
        ({"tables.users.rows": 0}, r"tables\.users\.rows: .*a number of at least 1, got 0"),
        ({"tables": {}}, r"tables: .*at least 1 entries"),
        ({"optimizer.name": "lamb"}, r"optimizer: .*lamb.*Known: .*ftrl"),
        ({"optimizer.epsilon": 1}, r"epsilon is not supported: the TPU's Adagrad has none"),
        ({"placement": "host"}, r"placement: .*'partial'.*got 'host'"),
        ({"features.user.table": "user"}, r"features\.user\.table: no table is called user\. Did you mean users\?"),
        ({"features.user.valency": 0}, r"features\.user\.valency: .*a number above 0"),
    ],
)
def test_a_wrong_table_set_is_refused_with_what_would_be_right(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        from_table_set(write(tmp_path, TABLE_SET), change)


def test_an_unknown_table_set_is_refused():
    with pytest.raises(ConfigError, match=r"--tables nowhere: no such file\. Sets that come with the product: criteo"):
        from_table_set(Path("nowhere"), {})


def test_no_slice_is_refused():
    with pytest.raises(ConfigError, match="--tpu: name at least one slice"):
        parse_slices([])


def test_an_experiment_takes_its_rows_from_the_newest_graph(tmp_path):
    graphs = tmp_path / "artifacts" / "movielens-100k-u1-rating" / "Transform" / "transform_graph"
    transform_graph(graphs / "9", dict.fromkeys(VOCABULARIES, 1))
    transform_graph(graphs / "10", VOCABULARIES)
    (graphs / "11").mkdir()  # a run that failed
    overrides = {
        "embeddings.dim": 8,
        "embeddings.placement": "partial",
        "embeddings.size_threshold": 944,
        "embeddings.tables.genres.optimizer": {"name": "sgd", "learning_rate": 0.1},
    }
    planned = from_experiment(None, overrides, tmp_path, None)
    assert planned.title.endswith(f"rows from {graphs / '10'}")
    sizes = {table.name: (table.rows, table.dim, table.slots) for table in planned.workload.tables}
    assert sizes["user_id"] == (944, 8, 2)  # 943 users and one bucket for the unknown ones
    assert sizes["genres"] == (20, 8, 0)
    assert [table.name for table in planned.workload.accelerated] == ["movie_id"]
    assert planned.workload.batch_size == 1024
    assert planned.assumptions == ("one id per example in genres; their true number is only in the data",)


def test_a_sequence_is_planned_in_full(tmp_path):
    # Ranking models take no sequences.
    two_towers = {
        "data": {"dataset": "movielens-100k", "task": "retrieval"},
        "model": {"type": "two_tower", "ignore": ["title_words"]},
    }
    overrides = two_towers | {"embeddings": {}, "evaluation": {}, "embeddings.features.genres.max_sequence_length": 6}
    planned = from_experiment(None, overrides, tmp_path, transform_graph(tmp_path / "graph", VOCABULARIES))
    genres = next(feature for feature in planned.workload.features if feature.name == "genres")
    assert (genres.valency, genres.max_sequence_length) == (6, 6)
    assert planned.assumptions == ("full sequences in genres",)


def test_without_a_graph_the_message_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError) as caught:
        from_experiment(None, {}, tmp_path, None)
    for text in (str(tmp_path), "`recspan pipeline run`", "--transform-graph", "--tables"):
        assert text in str(caught.value)


def test_a_graph_must_be_one_and_know_the_tables(tmp_path):
    with pytest.raises(ConfigError, match="not a transform graph, it holds no directory transform_fn"):
        from_experiment(None, {}, tmp_path, tmp_path)
    graph = transform_graph(tmp_path / "graph", {name: 1 for name in VOCABULARIES if name != "genres"})
    with pytest.raises(ConfigError, match=r"graph: has no vocabulary of table\(s\) genres"):
        from_experiment(None, {}, tmp_path, graph)


def test_what_is_printed_of_criteo():
    text = printed(from_table_set(Path("criteo-1tb"), {}), "v4-8", "v5e-8", "v6e-16", subset=["cat_09", "cat_11"])
    assert "export (tables without slots): 89.5 GiB; with slots: 179.1 GiB" in text
    _, v4, v5e, v6e = text.split("\n\nv")
    assert "does not fit" in v4 and "smallest v4 slice that fits: v4-16" in v4
    assert "with embedding accelerator V1 instead: does not fit, 44.8 GiB per replica" in v4
    assert "not confirmed: embedding accelerator of a v4" in v4
    assert "no v5e slice fits, v5e-256 included" in v5e and "V0 replicated" in v5e
    assert "\nfits: tables and slots take 11.2 GiB of a replica's HBM, 24.0 GiB are there" in v6e
    assert "checkpoint: 179.1 GiB of tables and slots, stacked and padded, and the dense part" in v6e
    assert "checkpoint: 179.1 GiB of tables and slots, and the dense part" in v5e
    assert "the chosen tables without slots, likewise: cat_09, cat_11" in v6e


def test_numbers_are_never_cut_off(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = printed(from_table_set(Path("criteo-1tb"), {}), "v6e-16", console=plan_console())
    assert "cat_00    V2 SparseCore  39,884,406  128      1   1,246,392     1.2 GiB      1" in text
    assert "…" not in text


def test_a_subset_must_be_tables(tmp_path):
    planned = from_table_set(write(tmp_path, TABLE_SET), {})
    with pytest.raises(ConfigError, match=r"--subset: no table is called user\. Did you mean users"):
        printed(planned, "v4-8", subset=["user"])


def recspan_plan(*arguments: str) -> subprocess.CompletedProcess:
    return recspan("plan", *arguments)


def test_a_plan_that_does_not_fit_is_no_failure():
    process = recspan_plan("--tables", "criteo-1tb", "--tpu", "v5e-8", "--set", "batch_size=4096")
    assert process.returncode == 0, process.stderr
    assert "does not fit" in process.stdout and "batch size 4,096" in process.stdout


def test_mistakes_exit_with_1():
    for arguments in (["--tpu", "v4-9"], ["--tpu", "v4-8", "--tables", "criteo-1tb", "--config", "x.yaml"]):
        process = recspan_plan(*arguments)
        assert process.returncode == 1
        assert process.stderr.startswith("error: --t")
        assert "Traceback" not in process.stderr


def test_the_documented_table_set_is_one(tmp_path):
    example = DOCUMENT.read_text().split("```yaml\n")[1].split("```")[0]
    workload = from_table_set(write(tmp_path, example), {}).workload
    assert set(yaml.safe_load(example)) == {"batch_size", "dim", "optimizer", "tables", "features"}
    assert [table.name for table in workload.tables] == ["users", "items"]


def test_the_documented_plan_is_what_the_command_prints():
    shown = DOCUMENT.read_text().split("--tpu v6e-16\n", 1)[1].split("```")[0].splitlines()
    lines = [line.rstrip() for line in printed(from_table_set(Path("criteo-1tb"), {}), "v6e-16").splitlines()]
    assert [line for line in shown if line not in lines] == ["[...]"]
    assert len(shown) > 30
