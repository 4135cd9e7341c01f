"""A ranking model, once by the local runner and once by the containers' commands that were compiled for Vertex AI."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.test_end_to_end import EXPERIMENT
from tests.workspace import Workspace

# A TPU and Dataflow, so that both are replaced.
VERTEX = """
vertex:
  project: my-project
  region: us-central1
  bucket: gs://my-bucket/recspan
  data: gs://my-other-bucket/raw
  image: us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0
  tpu_image: us-central1-docker.pkg.dev/my-project/recspan/tpu:1.0
  trainer: {machine: v6e-8}
  beam:
    image: us-central1-docker.pkg.dev/my-project/recspan/dataflow:1.0
    components: {Transform: {runner: dataflow, max_workers: 10}}
"""
SEED = 0
USERS, ITEMS = 200, 150
# Sums in another order, over all steps of a training.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("rehearsal"), EXPERIMENT + VERTEX)
    sizes = ("--ratings", "20000", "--users", str(USERS), "--items", str(ITEMS))
    generated = workspace.recspan("data", "generate", *sizes)
    assert generated.returncode == 0, generated.stderr
    return workspace


@pytest.fixture(scope="module")
def local(workspace) -> dict:
    process, summary = workspace.run()
    assert process.returncode == 0, process.stderr
    return summary


@pytest.fixture(scope="module")
def rehearsed(workspace) -> str:
    """What a rehearsal prints."""
    process = workspace.recspan("pipeline", "rehearse", "--config", "small.yaml")
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def pushed(workspace, rehearsed) -> Path:
    (version,) = (workspace.directory / "runs/rehearsal/buckets/my-bucket/recspan/serving/small").iterdir()
    return version


def ratings(model: Path) -> np.ndarray:
    rng = np.random.default_rng(SEED)
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


def test_every_task_ran_and_what_was_replaced_is_said(rehearsed):
    for task in ("ExampleGen", "CuratedSchema", "Transform", "Trainer", "Baseline-model-resolver", "Pusher"):
        assert f"✓ {task}" in rehearsed
    for line in (
        "bucket gs://my-bucket, by ",
        "bucket gs://my-other-bucket, by ",
        "image us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0, by this environment",
        "Transform: --runner=DataflowRunner and its options, by --runner=DirectRunner",
        "Trainer: the custom job on 1 x ct6e-standard-8t (us-central1-docker.pkg.dev/my-project/recspan/tpu:1.0), by",
        "raw files in ",
    ):
        assert f"replaced: {line}" in rehearsed
    assert "pushed: all value thresholds hold" in rehearsed


def test_the_pushed_model_is_the_local_runs(local, pushed):
    expected = ratings(Path(local["pushed_to"]))
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(ratings(pushed), expected, atol=TOLERANCE)


def test_the_summary_is_the_local_runs(local, pushed):
    summary = json.loads((pushed / "summary.json").read_text())
    assert summary["examples"] == local["examples"]
    assert summary["blessing"] == local["blessing"]
    assert summary["training"]["steps"] == local["training"]["steps"]
    assert summary["training"]["vocabularies"] == local["training"]["vocabularies"]
    names = [row["slice"] for row in local["evaluation"]["slices"]]
    assert [row["slice"] for row in summary["evaluation"]["slices"]] == names


def test_the_job_was_trained_by_the_command_of_its_request(workspace, rehearsed):
    (log,) = (workspace.directory / "runs/rehearsal/runs").glob("*/Trainer/log.txt")
    text = log.read_text()
    assert "Submitting custom job='small-trainer', parent='projects/my-project/locations/us-central1'" in text
    assert "Job 'projects/my-project/locations/us-central1/customJobs/1' successful." in text


def test_the_blessing_names_the_model_as_the_next_runs_resolver_asks_for_it(workspace, rehearsed):
    lines = (workspace.directory / "runs/rehearsal/artifacts.jsonl").read_text().splitlines()
    artifacts = [json.loads(line)["artifact"] for line in lines]
    (blessing,) = [each for each in artifacts if "tfx.ModelBlessing" in each["type"]["instanceSchema"]]
    assert blessing["metadata"]["blessed"] == 1
    (model,) = [each for each in artifacts if "title: tfx.Model\n" in each["type"]["instanceSchema"]]
    assert blessing["metadata"]["current_model_id"] == model["name"]
