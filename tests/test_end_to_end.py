"""The pipeline through its own entry points, on a small synthetic dataset whose best reachable error is known.

One run is made and looked at from all sides; it is rehearsed as compiled for Vertex AI; later runs repeat it, change it
and break it.
"""

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft

from components.example_gen.generated.ratings import NOISE_SCALE
from pipeline.exit_codes import SKEWED
from tests.browser import browser_tab, needs_chromium
from tests.serving.loader import serving
from tests.workspace import BINARIES, NOT_PUSHED, Workspace

NOISE_FLOOR = NOISE_SCALE / 3**0.5
USERS, ITEMS = 200, 150

# A TPU and Dataflow, so that a rehearsal replaces both.
EXPERIMENT = """
name: small
data: {dataset: synthetic, split: {by: random}}
embeddings: {dim: 8}
model: {ignore: [title_words], mlp: [16], biases: learned, dropout: 0.1, embedding_l2: 0.02}
training:
  batch_size: 256
  epochs: 6
  dense_optimizer: {name: adam, learning_rate: 0.01}
  embedding_optimizer: {name: adam, learning_rate: 0.01}
evaluation: {max_rmse: 0.55}
vertex:
  project: my-project
  region: us-central1
  bucket: gs://my-bucket/recspan
  data: gs://my-other-bucket/raw
  image: us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0
  tpu_image: us-central1-docker.pkg.dev/my-project/recspan/tpu:1.0
  trainer: {machine: v6e-8}
"""
DATAFLOW = (
    "beam.components={Transform: {runner: dataflow, max_workers: 10, "
    "image: 'us-central1-docker.pkg.dev/my-project/recspan/dataflow:1.0'}}"
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("workspace"), EXPERIMENT)
    sizes = ("--ratings", "20000", "--users", str(USERS), "--items", str(ITEMS))
    generated = workspace.recspan("data", "generate", *sizes)
    assert generated.returncode == 0, generated.stderr
    return workspace


@pytest.fixture(scope="module")
def first(workspace) -> tuple[subprocess.CompletedProcess, dict]:
    process, summary = workspace.run(fresh=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process, summary


@pytest.fixture(scope="module")
def rehearsed(workspace) -> str:
    """What a rehearsal prints."""
    process = workspace.recspan("pipeline", "rehearse", "--config", "small.yaml", "--set", DATAFLOW)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def rehearsed_model(workspace, rehearsed) -> Path:
    (version,) = (workspace.directory / "runs/rehearsal/buckets/my-bucket/recspan/serving/small").iterdir()
    return version


def executed(summary: dict) -> list[str]:
    return [row["component"] for row in summary["components"] if not row["cached"]]


class TestFirstRun:
    def test_every_component_ran_and_the_report_says_so(self, first):
        process, summary = first
        assert executed(summary) == [
            "CuratedSchema",
            "ExampleGen",
            "StatisticsGen",
            "ExampleValidator",
            "Transform",
            "Trainer",
            "Baseline",
            "Evaluator",
            "Pusher",
            "RunReport",
        ]
        for text in ("✓ Trainer", ": loss ", "user_activity=", "pushed: all value thresholds hold"):
            assert text in process.stdout
        assert "WARNING" not in process.stdout
        assert not process.stderr

    def test_no_component_reached_for_the_network_or_left_temporary_files(self, workspace, first):
        assert not workspace.network_log.exists(), workspace.network_log.read_text()
        assert "prism" not in Path(first[1]["log"]).read_text().lower()
        assert not list((workspace.directory / "temporary").iterdir())
        root = workspace.directory / "runs"
        assert sorted(path.name for path in root.iterdir()) == [
            "artifacts",
            "checkpoints",
            "lock",
            "metadata.sqlite",
            "runs",
            "serving",
        ]
        # The lists of the artifacts' files.
        assert [path.name for path in root.rglob(".*")] == [".files"]

    def test_the_error_lies_between_the_noise_floor_and_the_threshold(self, first):
        _, summary = first
        overall = summary["evaluation"]["slices"][0]
        assert overall["slice"] == "overall"
        assert NOISE_FLOOR < overall["rmse"] < 0.55
        assert overall["mae"] < overall["rmse"]

    def test_slices_cover_the_test_split(self, first):
        _, summary = first
        rows = summary["examples"]["rows"]
        assert sum(rows.values()) == 20_000
        for column in ("gender", "age_group", "user_activity", "release_decade"):
            counts = [s["example_count"] for s in summary["evaluation"]["slices"] if s["slice"].startswith(column)]
            assert sum(counts) == rows["test"], column

    def test_the_summary_lies_beside_the_pushed_model(self, workspace, first):
        _, summary = first
        pushed = Path(summary["pushed_to"])
        assert pushed == workspace.directory / "runs" / "serving" / "small" / "1"
        beside = json.loads((pushed / "summary.json").read_text())
        assert beside == {name: value for name, value in summary.items() if name not in ("page", "report")}
        assert summary["verification"]["share_of_tolerance"] <= 1
        assert summary["packages"]["tfx"] == "1.21.0"
        assert Path(summary["log"]).read_text()
        assert summary["training"]["table_rows"]["user_id"] == 200 + 1

    def test_statistics_are_of_all_splits(self, workspace, first):
        directory = workspace.artifact("StatisticsGen", "statistics")
        for split in ("train", "eval", "test"):
            statistics = tfdv.load_stats_binary(str(directory / f"Split-{split}" / "FeatureStats.pb"))
            assert statistics.datasets[0].num_examples == first[1]["examples"]["rows"][split]

    def test_the_transform_graph_holds_the_vocabularies(self, workspace, first):
        output = tft.TFTransformOutput(str(workspace.artifact("Transform", "transform_graph")))
        assert output.vocabulary_size_by_name("user_id") == 200
        assert set(output.vocabulary_by_name("gender")) == {b"F", b"M"}

    def test_tensorboard_logs_and_the_best_checkpoint_are_kept(self, workspace, first):
        directory = workspace.artifact("Trainer", "model_run")
        assert list(directory.glob("events.*"))
        assert (directory / "best" / "checkpoint.index").is_file()

    def test_the_pushed_model_serves_named_tensors(self, first):
        model = tf.saved_model.load(first[1]["pushed_to"])
        request = {
            "user_id": ["1", "nobody"],
            "movie_id": ["1", "2"],
            "gender": ["F", "M"],
            "occupation": ["student", "writer"],
            "genres": [["Drama", "War"], ["Comedy", ""]],
            "age": [20.0, 30.0],
            "release_year": [1990.0, float("nan")],
        }
        specs = model.signatures["predict"].structured_input_signature[1]
        tensors = {name: tf.constant(values, specs[name].dtype) for name, values in request.items()}
        ratings = model.signatures["predict"](**tensors)["rating"].numpy()
        assert ratings.shape == (2,)
        assert np.all((ratings >= 1) & (ratings <= 5))

    def test_predict_answers_from_the_pushed_model(self, workspace, first):
        process = workspace.recspan("predict", "--user", "42", "--item", "7")
        assert process.returncode == 0, process.stderr
        assert process.stdout.startswith("user 42, item 7 (")
        assert "serving/small/1" in process.stdout
        unknown = workspace.recspan("predict", "--user", "42", "--item", "nothing")
        assert unknown.returncode == 1
        assert "no item 'nothing'" in unknown.stderr
        described = workspace.recspan("predict", "--user", "42", "--item", "new", "--value", "genres=Drama", "--json")
        assert described.returncode == 0, described.stderr
        assert 1 <= json.loads(described.stdout)["prediction"] <= 5

    def test_logged_requests_are_held_against_the_training_split_and_the_model(self, workspace, first):
        file, *_ = sorted((workspace.directory / "runs/artifacts/small/ExampleGen/examples").glob("*/Split-test/*"))
        rows = pq.read_table(file).slice(0, 300).to_pylist()
        version, requests = Path(first[1]["pushed_to"]), []
        with serving(version) as (server, _):
            for row in rows:
                instance = {
                    name: (row[name][0].decode() if row[name] else "")
                    for name in ("user_id", "movie_id", "gender", "occupation")
                }
                instance |= {name: row[name][0] if row[name] else float("nan") for name in ("age", "release_year")}
                instance |= {"genres": [genre.decode() for genre in row["genres"]] or [""]}
                body = {"signature_name": "predict", "instances": [instance]}
                call = urllib.request.Request(f"{server}/v1/models/recspan:predict", json.dumps(body).encode())
                with urllib.request.urlopen(call) as response:
                    requests.append({"request": body, "response": json.load(response)})
        log = workspace.directory / "log.jsonl"
        log.write_text("".join(f"{json.dumps(each)}\n" for each in requests))
        process = workspace.recspan("skew", "--logs", str(log), "--json")
        assert process.returncode == 0, process.stdout + process.stderr
        report = json.loads(process.stdout)
        assert [(each["rows"], each["differing"]) for each in report["answers"]] == [(300, 0)]
        for each in requests:
            for instance in each["request"]["instances"]:
                instance["gender"] = instance["gender"].lower()
        log.write_text("".join(f"{json.dumps(each)}\n" for each in requests))
        process = workspace.recspan("skew", "--logs", str(log), "--json")
        assert process.returncode == SKEWED, process.stdout + process.stderr
        found = json.loads(process.stdout)["skew"]
        assert {"gender: L-infinity", "gender: out of vocabulary", "predict: rating: differing answers"} <= set(found)


class TestReport:
    """The page of the first run, and what `recspan runs` says about it."""

    def test_the_run_says_where_its_report_lies(self, first):
        process, summary = first
        path = Path(summary["report"])
        assert path == Path(summary["log"]).parent / "report.html"
        assert f"report: {path}" in process.stdout
        assert path.stat().st_size < 5 << 20

    @needs_chromium
    def test_every_section_is_drawn_and_fit_for_all_readers(self, first):
        with browser_tab() as tab:
            tab.open(Path(first[1]["report"]))
            assert tab.evaluate("[...document.querySelectorAll('section')].map((each) => each.id)") == [
                "verdict",
                "metrics",
                "ratings",
                "importance",
                "flow",
                "training",
                "embeddings",
                "placement",
                "data",
                "columns",
                "activity",
                "lineage",
            ]
            charts = tab.evaluate("[...document.querySelectorAll('figure svg')].map((svg) => svg.innerHTML.length)")
            assert len(charts) > 10 and min(charts) > 1000
            assert tab.violations() == []
            assert not tab.errors
            assert all(url.startswith(("file:", "data:")) for url in tab.requests)

    def test_the_page_shows_seconds_slices_and_titles(self, first):
        text = Path(first[1]["report"]).read_text()
        for shown in ("Trainer", "user_activity=", "movie_id", "smallest slice that fits", "Movie "):
            assert shown in text

    def test_runs_are_listed_shown_and_compared(self, workspace, first):
        name = Path(first[1]["log"]).parent.name
        listed = workspace.recspan("runs", "list")
        assert listed.returncode == 0, listed.stderr
        assert f"{name}  " in listed.stdout and "rmse 0." in listed.stdout
        shown = workspace.recspan("runs", "show", name)
        assert f"report: {first[1]['report']}" in shown.stdout
        compared = workspace.recspan("runs", "compare", name, name, "--html", "comparison.html")
        assert compared.returncode == 0, compared.stderr
        assert "difference +0.0000, from +0.0000 to +0.0000 (95%" in compared.stdout
        assert "no difference" in (workspace.directory / "comparison.html").read_text()

    def test_a_report_that_fails_leaves_the_result_standing(self, workspace, first):
        section = workspace.sources / "components" / "run_report" / "sections" / "lineage.py"
        whole = section.read_text()
        begin = "    summary = run.summary\n"
        assert begin in whole
        section.write_text(whole.replace(begin, f"    raise ValueError('out of ink')\n{begin}"))
        try:
            process, summary = workspace.run()
        finally:
            section.write_text(whole)
        assert process.returncode == 1
        assert "RunReport failed: out of ink" in process.stderr
        assert f"The run has no report, but its model is pushed to {first[1]['pushed_to']}" in process.stderr
        assert "Traceback" not in process.stderr
        assert summary["blessing"] == first[1]["blessing"]
        assert "report" not in summary


class TestBench:
    """`recspan bench` on the experiment of the first run."""

    def test_serving_is_measured_for_every_signature(self, workspace, first):
        process = workspace.recspan(
            *["bench", "serve", "--config", "small.yaml", "--batch-size", "3", "--seconds", "0.1", "--json"]
        )
        assert process.returncode == 0, process.stderr
        found = json.loads(process.stdout)
        assert found["model"] == first[1]["pushed_to"]
        assert {row["signature"] for row in found["measurements"]} == set(first[1]["verification"]["signatures"])
        assert all(row["batch_size"] == 3 and row["p99_ms"] > 0 for row in found["measurements"])

    def test_training_is_measured_with_and_without_its_input(self, workspace, first):
        options = ["--batch-size", "64", "--batch-size", "256", "--seconds", "0.1", "--scratch", "temporary", "--json"]
        process = workspace.recspan("bench", "train", "--config", "small.yaml", *options)
        assert process.returncode == 0, process.stderr
        rows = json.loads(process.stdout)["measurements"]
        assert [row["batch_size"] for row in rows] == [64, 256]
        for row in rows:
            assert row["examples_per_second"] > 0 < row["step_alone"]
            assert 0 <= row["input_percent"] < 100
        # Data were prepared by the run, and what this training wrote is gone.
        assert "Transform cached" in " ".join(process.stderr.split())
        assert not list((workspace.directory / "temporary").iterdir())

    def test_components_are_measured_in_a_directory_of_their_own(self, workspace, first):
        process = workspace.recspan(
            *["bench", "data", "--config", "small.yaml", "--until", "StatisticsGen", "--scratch", "temporary"]
        )
        assert process.returncode == 0, process.stderr
        for text in ("ExampleGen", "StatisticsGen", "all", "rows/s", "peak memory gb", "rows: 20,000"):
            assert text in process.stdout
        assert "Transform" not in process.stdout
        assert not list((workspace.directory / "temporary").iterdir())

    def test_a_run_with_a_budget_finds_all_results_of_one_without(self, workspace, first):
        assert all(row["peak_memory_gb"] > 0.3 for row in first[1]["components"])
        process, summary = workspace.run("--memory-gb", "2.5")
        assert process.returncode == 0, process.stderr
        # A resolver has no answers to cache.
        assert executed(summary) == ["Baseline"]


def ratings(model: str | Path) -> np.ndarray:
    """What a pushed model predicts for random users and movies, known and unknown."""
    rng = np.random.default_rng(0)
    count = 256
    request = {
        "user_id": [str(user) for user in rng.integers(1, USERS + 20, count)],
        "movie_id": [str(item) for item in rng.integers(1, ITEMS + 20, count)],
        "gender": rng.choice(["F", "M"], count).tolist(),
        "occupation": rng.choice(["student", "writer", "artist"], count).tolist(),
        "genres": rng.choice(["Drama", "War", "Comedy", ""], (count, 2)).tolist(),
        "age": rng.integers(10, 80, count).tolist(),
        "release_year": rng.integers(1920, 1999, count).tolist(),
    }
    signature = tf.saved_model.load(str(model)).signatures["predict"]
    specs = signature.structured_input_signature[1]
    tensors = {name: tf.constant(values, specs[name].dtype) for name, values in request.items()}
    return signature(**tensors)["rating"].numpy()


class TestRehearsal:
    """The containers' commands that were compiled for Vertex AI, on this machine."""

    def test_every_task_ran_and_what_was_replaced_is_said(self, rehearsed):
        for task in ("ExampleGen", "CuratedSchema", "Transform", "Trainer", "Baseline-model-resolver", "Pusher"):
            assert f"✓ {task}" in rehearsed
        for line in (
            "bucket gs://my-bucket, by ",
            "bucket gs://my-other-bucket, by ",
            "image us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0, by this environment",
            "Transform: --runner=DataflowRunner and its options, by --runner=FnApiRunner",
            "Trainer: the custom job on 1 x ct6e-standard-8t (us-central1-docker.pkg.dev/my-project/recspan/tpu:1.0)",
            "raw files in ",
        ):
            assert f"replaced: {line}" in rehearsed
        assert "pushed: all value thresholds hold" in rehearsed

    def test_the_pushed_model_is_the_local_runs(self, first, rehearsed_model):
        expected = ratings(first[1]["pushed_to"])
        assert np.ptp(expected) > 0.5
        # Sums in another order, over all steps of a training.
        np.testing.assert_allclose(ratings(rehearsed_model), expected, atol=1e-3)

    def test_the_summary_is_the_local_runs(self, first, rehearsed_model):
        local = first[1]
        summary = json.loads((rehearsed_model / "summary.json").read_text())
        assert summary["examples"] == local["examples"]
        assert summary["blessing"] == local["blessing"]
        assert summary["training"]["steps"] == local["training"]["steps"]
        assert summary["training"]["vocabularies"] == local["training"]["vocabularies"]
        names = [row["slice"] for row in local["evaluation"]["slices"]]
        assert [row["slice"] for row in summary["evaluation"]["slices"]] == names

    def test_the_job_was_trained_by_the_command_of_its_request(self, workspace, rehearsed):
        (log,) = (workspace.directory / "runs/rehearsal/runs").glob("*/Trainer/log.txt")
        text = log.read_text()
        assert "Submitting custom job='small-trainer', parent='projects/my-project/locations/us-central1'" in text
        assert "Job 'projects/my-project/locations/us-central1/customJobs/1' successful." in text

    def test_the_blessing_names_the_model_as_the_next_runs_resolver_asks_for_it(self, workspace, rehearsed):
        lines = (workspace.directory / "runs/rehearsal/artifacts.jsonl").read_text().splitlines()
        artifacts = [json.loads(line)["artifact"] for line in lines]
        (blessing,) = [each for each in artifacts if "tfx.ModelBlessing" in each["type"]["instanceSchema"]]
        assert blessing["metadata"]["blessed"] == 1
        (model,) = [each for each in artifacts if "title: tfx.Model\n" in each["type"]["instanceSchema"]]
        assert blessing["metadata"]["current_model_id"] == model["name"]


def test_an_identical_run_executes_nothing(workspace, first):
    process, summary = workspace.run()
    assert process.returncode == 0
    assert executed(summary) == ["Baseline"]  # a resolver is no component: it only looks, and has no cache
    assert workspace.pushed() == ["1"]
    assert summary["pushed_to"] == first[1]["pushed_to"]


def test_the_stock_command_line_runs_the_same_pipeline(workspace, first):
    runner = str(workspace.sources / "pipeline" / "local_runner.py")
    environment = {"TF_USE_LEGACY_KERAS": "1"}
    tfx = [str(BINARIES / "tfx")]
    created = subprocess.run(
        [*tfx, "pipeline", "create", "--engine=local", f"--pipeline-path={runner}"],
        **(options := {"cwd": workspace.directory, "env": workspace.environment | environment}),
        capture_output=True,
        text=True,
    )
    assert created.returncode == 0, created.stderr
    assert 'Pipeline "small" created successfully.' in created.stdout
    ran = subprocess.run(
        [*tfx, "run", "create", "--engine=local", "--pipeline-name=small"], **options, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "✓ Pusher cached" in ran.stdout


def test_an_edited_trainer_trains_again_but_transforms_nothing_and_goes_on_after_sigterm(workspace, first):
    loop = workspace.sources / "trainer_module" / "training" / "loop.py"
    loop.write_text(loop.read_text() + "\n# An edit.\n")
    longer = ("--set", "training.epochs=60", "--set", "training.patience=60")
    message = workspace.stop_in_training(*longer)
    assert "asked to stop (SIGTERM) at step" in message
    process, summary = workspace.run(*longer)
    assert process.returncode == 0, process.stdout
    assert 0 < summary["training"]["resumed_at"] < summary["training"]["steps"]
    assert f"going on from the checkpoint of step {summary['training']['resumed_at']}" in process.stdout
    assert not list((workspace.directory / "runs" / "checkpoints" / "small").iterdir())
    assert executed(summary) == ["Trainer", "Baseline", "Evaluator", "Pusher", "RunReport"]
    assert workspace.pushed() == ["1", "2"]
    assert summary["blessing"]["has_baseline"]


def test_an_edited_preprocessing_transforms_again(workspace, first):
    preprocessing = workspace.sources / "trainer_module" / "data" / "preprocessing.py"
    preprocessing.write_text(preprocessing.read_text() + "\n# An edit.\n")
    process, summary = workspace.run("--set", "training.epochs=1", "--set", "evaluation.max_rmse=0.1")
    assert executed(summary)[:2] == ["Transform", "Trainer"]
    # One epoch does not reach an error below the noise floor.
    assert process.returncode == NOT_PUSHED
    assert workspace.pushed() == ["1", "2"]
    assert "not pushed: a metric misses its threshold" in process.stdout
    assert "rmse is" in process.stdout
    assert "pushed_to" not in summary


def test_a_training_may_start_from_the_last_blessed_model(workspace, first):
    process, summary = workspace.run(
        *("--set", "training.warm_start=last_blessed", "--set", "training.epochs=1"),
        *("--set", "embeddings.tables={movie_id: {vocabulary: {top_k: 100}}}"),
    )
    assert process.returncode in (0, NOT_PUSHED), process.stdout + process.stderr
    of_table = {report["table"]: report for report in summary["training"]["warm_start"]}
    assert of_table["movie_id"]["kept"] == 100 and of_table["movie_id"]["dropped"] > 0
    assert of_table["user_id"]["dropped"] == 0 and of_table["user_id"]["slots"]


def test_a_model_that_is_worse_than_the_last_blessed_one_is_not_pushed(workspace, first):
    process, summary = workspace.run("--set", "training.epochs=1", "--set", "evaluation={beat_baseline: false}")
    assert process.returncode == NOT_PUSHED
    assert summary["blessing"]["has_baseline"]
    overall, before = (s["evaluation"]["slices"][0] for s in (summary, first[1]))
    assert overall["rmse"] > before["rmse"]
    (failure,) = summary["evaluation"]["failures"]
    assert failure.startswith(f"rmse changed by {overall['rmse_diff']:+.4f} against the last blessed model")


def test_an_anomaly_stops_the_run_before_anything_is_trained(workspace, first):
    schema = workspace.sources / "schema" / "movielens-100k.pbtxt"
    before = schema.read_text()
    schema.write_text(before.replace('value: "student"', 'value: "pupil"'))
    trained = workspace.artifact("Trainer", "model")
    try:
        process, summary = workspace.run()
    finally:
        schema.write_text(before)
    assert process.returncode == 1
    assert not summary
    assert "ExampleValidator failed: the data does not fit its schema" in process.stderr
    assert "occupation" in process.stderr and "student" in process.stderr
    assert "Traceback" not in process.stderr
    assert "Trainer ..." not in process.stdout
    assert workspace.artifact("Trainer", "model") == trained


def test_a_bad_row_is_named_and_may_be_set_aside(workspace, first):
    ratings = workspace.directory / "bad" / "u.data"
    shutil.copytree(workspace.directory / "data" / "synthetic", ratings.parent)
    lines = ratings.read_text().splitlines()
    lines[6] = "1\t2\tfive\t874724710"
    ratings.write_text("\n".join(lines) + "\n")
    process, _ = workspace.run("--data-dir", str(ratings.parent))
    assert process.returncode == 1
    assert "u.data" in process.stderr and "line 7" in process.stderr and "five" in process.stderr
    assert "Traceback" not in process.stderr
    fast = ("--set", "training.epochs=1", "--set", "evaluation.max_rmse=0.1")
    process, summary = workspace.run("--data-dir", str(ratings.parent), "--max-bad-rows", "1", *fast)
    assert process.returncode == NOT_PUSHED, process.stderr
    assert summary["examples"]["bad_rows"] == 1
    assert sum(summary["examples"]["rows"].values()) == 19_999


def test_a_pushed_model_that_was_removed_is_pushed_again(workspace, first):
    anything_goes = ("--set", "evaluation={max_regression: 100, beat_baseline: false}")
    process, summary = workspace.run(*anything_goes)
    assert process.returncode == 0
    removed = Path(summary["pushed_to"])
    shutil.rmtree(removed)
    process, summary = workspace.run(*anything_goes)
    assert process.returncode == 0
    assert f"{removed}/" in process.stdout and "cannot be used again" in process.stdout
    assert executed(summary) == ["Baseline", "Pusher", "RunReport"]
    assert Path(summary["pushed_to"], "saved_model.pb").is_file()
