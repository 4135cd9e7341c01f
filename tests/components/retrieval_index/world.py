"""Two towers that a reader can compute by hand, and a catalog of five items in the plane.

A query's vector is (x, y), plus (10, 0) for user "u1"; a candidate's is (a, b), so that their score is x*a + y*b.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer_module.export import parity

EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")
NUMBER = tf.io.FixedLenFeature([], tf.float32)

CATALOG = [
    {"item": ["i0"], "title": ["Zero"], "genres": ["War"], "a": [1.0], "b": [0.0], "train_count": [5]},
    {"item": ["i1"], "title": ["One"], "genres": ["War", "Drama"], "a": [0.0], "b": [1.0], "train_count": [4]},
    {"item": ["i2"], "title": ["Two"], "genres": [], "a": [1.0], "b": [1.0], "train_count": [3]},
    {"item": ["i3"], "title": ["Three"], "genres": ["Drama"], "a": [2.0], "b": [0.0], "train_count": [0]},
    # The vector of i2 once more.
    {"item": ["i4"], "title": ["Vier, für Käufer"], "genres": [], "a": [1.0], "b": [1.0], "train_count": [1]},
]
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def query(vector: tuple[float, float] = EAST, user: str = "u0", seen: Iterable[str | int] = ()) -> dict[str, list]:
    return {"user": [user], "x": [vector[0]], "y": [vector[1]], "seen": list(seen), "relevant": ["i0"]}


def serialize(row: dict[str, list]) -> bytes:
    features = tf.train.Features()
    for name, values in row.items():
        kinds = {float: "float_list", int: "int64_list"}
        of_empty = "int64_list" if name == "train_count" else "bytes_list"
        kind = kinds.get(type(values[0]), "bytes_list") if values else of_empty
        encoded = [value.encode() if isinstance(value, str) else value for value in values]
        getattr(features.feature[name], kind).value.extend(encoded)
    return tf.train.Example(features=features).SerializeToString(deterministic=True)


def write(path: Path, rows: Iterable[dict[str, list]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions("GZIP")) as writer:
        for row in rows:
            writer.write(serialize(row))
    return str(path)


class TwoTowers(tf.Module):
    """With a vocabulary file and variables of both sides, as a trained model has them."""

    def __init__(self, vocabulary: str):
        super().__init__()
        initializer = tf.lookup.TextFileInitializer(
            vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.users = tf.lookup.StaticHashTable(initializer, default_value=0)
        self.user_table = tf.Variable([[0.0, 0.0], [10.0, 0.0]], name="user_table")
        self.candidate_table = tf.Variable([[0.0, 0.0]], name="candidate_table")

    def embed_query(self, user: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": tf.stack([x, y], axis=1) + tf.gather(self.user_table, self.users.lookup(user))}

    def embed_queries(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {"user": tf.io.FixedLenFeature([], tf.string), "x": NUMBER, "y": NUMBER}
        return self.embed_query(**tf.io.parse_example(examples, spec))

    def embed_candidates(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        numbers = tf.io.parse_example(examples, {"a": NUMBER, "b": NUMBER})
        return {"embedding": tf.stack([numbers["a"], numbers["b"]], axis=1) + self.candidate_table}


def save_towers(directory: Path, leave_out: str = "", column: str = "x") -> str:
    """Writes the towers as a SavedModel.

    Args:
        directory: Where.
        leave_out: Name of a signature that it shall lack.
        column: Name of the query column `x` in `embed_query`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = directory / "users.txt"
    vocabulary.write_text("u0\nu1\n")
    towers = TwoTowers(str(vocabulary))
    columns = [
        tf.TensorSpec([None], tf.string, name="user"),
        tf.TensorSpec([None], tf.float32, name=column),
        tf.TensorSpec([None], tf.float32, name="y"),
    ]
    signatures = {
        "embed_query": tf.function(towers.embed_query, columns),
        "embed_queries": tf.function(towers.embed_queries, [EXAMPLES]),
        "embed_candidates": tf.function(towers.embed_candidates, [EXAMPLES]),
    }
    signatures.pop(leave_out, None)
    target = directory / "model" / "Format-Serving"
    tf.saved_model.save(towers, str(target), signatures=signatures)
    vocabulary.unlink()
    return str(target)


def save_training_facts(model_dir: str) -> None:
    """Writes what the Trainer leaves beside a SavedModel: its report, and what its towers answer to one example."""
    artifact = Path(model_dir).parent
    (artifact / "training.json").write_text("{}")
    write(artifact / parity.PARITY_DIRECTORY / parity.EXAMPLES_FILE, [query(EAST) | CATALOG[2]])
    of_query, of_candidate = ({"embedding": np.array([vector], np.float32)} for vector in (EAST, (1.0, 1.0)))
    answers = {"embed_queries": of_query, "embed_query": of_query, "embed_candidates": of_candidate}
    parity.save_expected(str(artifact / parity.PARITY_DIRECTORY), answers, "float32")
