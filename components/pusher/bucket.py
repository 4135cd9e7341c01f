"""Publication to a bucket, where nothing can be renamed and every file appears by itself."""

import os

import tensorflow as tf

_GRAPH_FILE = tf.saved_model.SAVED_MODEL_FILENAME_PB


def is_uri(path: str) -> bool:
    """Whether a path lies in a bucket or another remote store."""
    return "://" in path


def publish_to_bucket(model_dir: str, base_uri: str, extra_files: dict[str, str]) -> str:
    """Copies a SavedModel to `base_uri/VERSION`, the file that makes it loadable last.

    A server that finds the version earlier finds no `saved_model.pb` in it and tries again; it never loads a part. A
    copy that was cut short stays as a number without that file, and the next version counts on from it.

    Args:
        model_dir: A SavedModel, here or remote.
        base_uri: Of a pipeline's own, for one push at a time.
        extra_files: Text by file name, written beside `saved_model.pb`, before it.

    Returns:
        URI of the version. Versions count up from 1.
    """
    target = os.path.join(base_uri, str(max(_versions(base_uri), default=0) + 1))
    for name, text in extra_files.items():
        tf.io.gfile.makedirs(target)
        with tf.io.gfile.GFile(os.path.join(target, name), "w") as file:
            file.write(text)
    copy_tree(model_dir, target)
    return target


def copy_tree(source: str, destination: str) -> None:
    """Copies a directory with all below it, its own `saved_model.pb` last."""
    files = [(directory, name) for directory, _, names in tf.io.gfile.walk(source) for name in names]
    root = source.rstrip("/")
    for directory, name in sorted(files, key=lambda file: (file[1] == _GRAPH_FILE, file)):
        below = os.path.join(destination, directory.rstrip("/").removeprefix(root).lstrip("/"))
        tf.io.gfile.makedirs(below)
        tf.io.gfile.copy(os.path.join(directory, name), os.path.join(below, name), overwrite=True)


def _versions(base_uri: str) -> list[int]:
    """Numbers below `base_uri`, of whole and of unfinished versions."""
    if not tf.io.gfile.exists(base_uri):
        return []
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_uri)]
    return [int(name) for name in names if name.isascii() and name.isdigit()]
