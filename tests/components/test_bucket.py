import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.pusher import bucket
from components.pusher.bucket import copy_tree, finished_push_in_bucket, is_uri, publish_to_bucket
from components.pusher.component import _verify
from trainer_module.export.parity import load_expected, save_expected

from .test_verify import save

FILES = {"saved_model.pb": "graph", "fingerprint.pb": "f", "variables/variables.index": "i", "assets/vocabulary": "v"}


@pytest.fixture
def remote(request):
    """A directory of TensorFlow's file system in memory, which has URIs and no renaming of directories."""
    uri = f"ram://bucket/{request.node.name}"
    tf.io.gfile.makedirs(uri)
    return uri


@pytest.fixture
def model(tmp_path):
    for name, text in FILES.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text(text)
    return str(tmp_path / "model")


def contents(directory: str) -> dict[str, str]:
    paths = [os.path.join(at, name) for at, _, names in tf.io.gfile.walk(directory) for name in names]
    return {path.removeprefix(directory).lstrip("/"): tf.io.gfile.GFile(path).read() for path in paths}


def test_what_is_a_uri():
    assert is_uri("gs://bucket/model")
    assert not is_uri("runs/serving/model")


def test_a_model_is_published_whole_under_the_next_number(model, remote):
    assert publish_to_bucket(model, f"{remote}/serving", {"summary.json": b"{}"}) == f"{remote}/serving/1"
    assert contents(f"{remote}/serving/1") == FILES | {"summary.json": "{}"}
    assert publish_to_bucket(model, f"{remote}/serving", {}) == f"{remote}/serving/2"


def test_the_file_that_makes_it_loadable_comes_last(model, remote, monkeypatch):
    written = []
    copy = tf.io.gfile.copy

    def watched(source, destination, overwrite):
        assert "saved_model.pb" not in contents(f"{remote}/serving/1"), "loadable too early"
        written.append(os.path.basename(destination))
        copy(source, destination, overwrite)

    monkeypatch.setattr(bucket.tf.io.gfile, "copy", watched)
    publish_to_bucket(model, f"{remote}/serving", {"summary.json": b"{}"})
    assert written[-1] == "saved_model.pb"
    assert len(written) == len(FILES)


def test_a_push_that_is_cut_short_leaves_nothing_loadable_and_its_number_is_not_used_again(model, remote, monkeypatch):
    copy = tf.io.gfile.copy

    def failing(source, destination, overwrite):
        if destination.endswith("variables.index"):
            raise tf.errors.UnavailableError(None, None, "the bucket does not answer")
        copy(source, destination, overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(bucket.tf.io.gfile, "copy", failing)
        with pytest.raises(tf.errors.UnavailableError):
            publish_to_bucket(model, f"{remote}/serving", {})
    assert "saved_model.pb" not in contents(f"{remote}/serving/1")
    assert publish_to_bucket(model, f"{remote}/serving", {}) == f"{remote}/serving/2"


def test_other_folders_are_no_versions(model, remote):
    tf.io.gfile.makedirs(f"{remote}/serving/backup")
    tf.io.gfile.makedirs(f"{remote}/serving/7")
    assert publish_to_bucket(model, f"{remote}/serving", {}).endswith("/8")


def test_a_remote_tree_comes_here(model, remote, tmp_path):
    copy_tree(model, f"{remote}/model")
    here = tmp_path / "here"
    copy_tree(f"{remote}/model/", str(here))
    assert {name: Path(here, name).read_text() for name in FILES} == FILES


def test_a_remote_model_is_verified(tmp_path, remote):
    for source, name in zip(save(tmp_path), ("model", "parity"), strict=True):
        copy_tree(source, f"{remote}/{name}")
    report = _verify(f"{remote}/model", f"{remote}/parity")
    assert report["batch_sizes"] == [0, 1, 3]


def test_what_an_export_must_answer_lies_beside_a_remote_model(remote):
    save_expected(f"{remote}/parity", {"predict": {"rating": np.array([1.0, 2.0])}}, "float32")
    answers, _ = load_expected(f"{remote}/parity")
    assert answers["predict"]["rating"].tolist() == [1.0, 2.0]
    assert sorted(tf.io.gfile.listdir(f"{remote}/parity")) == ["expected.npz", "parity.json"]


def test_a_finished_push_is_found_again_and_a_cut_one_is_not(model, remote):
    base = f"{remote}/serving"
    assert finished_push_in_bucket(model, base, "this") is None
    target = publish_to_bucket(model, base, {"summary.json": b'{"push": "this"}'})
    assert finished_push_in_bucket(model, base, "this") == target
    assert finished_push_in_bucket(model, base, "another") is None
    with tf.io.gfile.GFile(f"{target}/fingerprint.pb", "w") as file:
        file.write("cut or changed")
    assert finished_push_in_bucket(model, base, "this") is None
    tf.io.gfile.remove(f"{target}/saved_model.pb")
    assert finished_push_in_bucket(model, base, "this") is None
