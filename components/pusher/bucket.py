"""Publishes a model to a bucket, which has no rename and shows each file as soon as it is written."""

import json
import os
from collections.abc import Mapping

import tensorflow as tf

from components.pusher.layout import SUMMARY_FILE_NAME

_GRAPH_FILE = tf.saved_model.SAVED_MODEL_FILENAME_PB


def is_uri(path: str) -> bool:
    """Whether a path is in a bucket or another remote store."""
    return "://" in path


def publish_to_bucket(model_dir: str, base_uri: str, extra_files: Mapping[str, bytes]) -> str:
    """Copies a SavedModel to `base_uri/VERSION` and writes `saved_model.pb` last.

    A server that finds an incomplete version sees no `saved_model.pb`, so it never loads a partial model. An
    interrupted copy stays in place without that file. The next version takes the number after it.

    Args:
        model_dir: A local or remote SavedModel.
        base_uri: Directory of one pipeline. Only one push may run at a time.
        extra_files: Content by path relative to `saved_model.pb`, before which it is written.

    Returns:
        URI of the version. Versions are numbered from 1.
    """
    target = os.path.join(base_uri, str(max(_versions(base_uri), default=0) + 1))
    for name, content in extra_files.items():
        path = os.path.join(target, name)
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(content)
    copy_tree(model_dir, target)
    return target


def finished_push_in_bucket(model_dir: str, base_uri: str, push: str) -> str | None:
    """The newest version if an earlier run of the same push made it whole; see `publish.finished_push`."""
    versions = _versions(base_uri)
    target = os.path.join(base_uri, str(max(versions, default=0)))
    summary = os.path.join(target, SUMMARY_FILE_NAME)
    # The graph is written last.
    if not versions or not all(map(tf.io.gfile.exists, (os.path.join(target, _GRAPH_FILE), summary))):
        return None
    with tf.io.gfile.GFile(summary) as file:
        earlier = json.loads(file.read()).get("push")
    return target if earlier == push and _sizes(model_dir).items() <= _sizes(target).items() else None


def _sizes(directory: str) -> dict[str, int]:
    """Bytes of each file, by its path below the directory."""
    root = directory.rstrip("/")
    files = [os.path.join(at, name) for at, _, names in tf.io.gfile.walk(directory) for name in names]
    return {file.removeprefix(root).lstrip("/"): tf.io.gfile.stat(file).length for file in files}


def copy_tree(source: str, destination: str) -> None:
    """Copies a directory recursively and writes its `saved_model.pb` last."""
    files = [(directory, name) for directory, _, names in tf.io.gfile.walk(source) for name in names]
    root = source.rstrip("/")
    for directory, name in sorted(files, key=lambda file: (file[1] == _GRAPH_FILE, file)):
        below = os.path.join(destination, directory.rstrip("/").removeprefix(root).lstrip("/"))
        tf.io.gfile.makedirs(below)
        tf.io.gfile.copy(os.path.join(directory, name), os.path.join(below, name), overwrite=True)


def _versions(base_uri: str) -> list[int]:
    """Version numbers below `base_uri`, including interrupted copies."""
    if not tf.io.gfile.exists(base_uri):
        return []
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_uri)]
    return [int(name) for name in names if name.isascii() and name.isdigit()]
