"""Two towers, once by the local runner and once from a compiled file."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.test_end_to_end_retrieval import EXPERIMENT
from tests.workspace import Workspace

VERTEX = """
vertex:
  project: my-project
  region: us-central1
  bucket: gs://my-bucket
  data: gs://my-bucket/raw
  image: us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0
"""
K = 20
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("rehearsal"), EXPERIMENT + VERTEX)
    generated = workspace.recspan("data", "generate", "--ratings", "10000", "--users", "150", "--items", "120")
    assert generated.returncode == 0, generated.stderr
    return workspace


@pytest.fixture(scope="module")
def local(workspace) -> Path:
    process, summary = workspace.run()
    assert process.returncode == 0, process.stderr
    return Path(summary["pushed_to"])


@pytest.fixture(scope="module")
def rehearsed(workspace) -> str:
    """What the rehearsal of a compiled file prints."""
    compiled = workspace.recspan("pipeline", "compile", "--config", "small.yaml", "-o", "pipeline.json")
    assert compiled.returncode == 0, compiled.stderr
    places = ("--data-dir", "data/synthetic", "--root", "elsewhere")
    process = workspace.recspan("pipeline", "rehearse", "--spec", "pipeline.json", *places)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def recommendations(model: Path) -> dict[str, np.ndarray]:
    users = [str(user) for user in range(1, 33)]
    recommend = tf.saved_model.load(str(model)).signatures["recommend"]
    answer = recommend(
        user_id=tf.constant(users),
        gender=tf.constant(["F"] * len(users)),
        occupation=tf.constant(["artist"] * len(users)),
        age=tf.constant([30.0] * len(users)),
        timestamp=tf.constant([9e8] * len(users)),
        history=tf.constant([["3", "4"]] * len(users)),
        exclude=tf.constant([["5", ""]] * len(users)),
        k=tf.constant(K),
    )
    return {name: values.numpy() for name, values in answer.items()}


def test_the_pushed_model_recommends_what_the_local_runs_does(workspace, local, rehearsed):
    (version,) = (workspace.directory / "elsewhere/buckets/my-bucket/serving/small").iterdir()
    expected, found = recommendations(local), recommendations(version)
    assert found["ids"].shape == (32, K)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=TOLERANCE)
    # Items with almost the same score may change places.
    assert np.mean(found["ids"] == expected["ids"]) > 0.9


def test_the_index_is_a_task_of_its_own_and_nothing_but_places_is_replaced(rehearsed):
    assert "✓ RetrievalIndex" in rehearsed
    assert [line.split()[1] for line in rehearsed.splitlines() if line.startswith("replaced:")] == [
        "bucket",
        "image",
        "raw",
    ]
