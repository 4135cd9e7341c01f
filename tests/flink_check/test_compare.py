"""The check sees differences; it is no use if it says "equal" to everything."""

from pathlib import Path

import pytest
import tensorflow as tf

from tests.flink_check import compare


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.1]}, ".a[1]"),
        ({"a": 1}, {"b": 1}, "a"),
        ([1, 2], [1], "[1, 2]"),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ".a.b"),
    ],
)
def test_a_difference_is_named(one, other, place):
    assert place in compare.first_difference(one, other)


def test_last_digits_do_not_count():
    assert not compare.first_difference({"a": [0.1 + 0.2, 1]}, {"a": [0.3, 1]})


def _root(directory: Path, rows: str) -> Path:
    split = directory / "artifacts" / "p" / "ExampleGen" / "examples" / "1" / "Split-train"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "data_tfrecord-00000.gz"), "GZIP") as writer:
        for row in rows:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.encode()]))
            example = tf.train.Example(features=tf.train.Features(feature={"item": feature}))
            writer.write(example.SerializeToString())
    return directory


def test_examples_are_compared_as_multisets(tmp_path):
    one = _root(tmp_path / "one", "abb")
    assert not compare.examples(one, _root(tmp_path / "shuffled", "bab"))
    assert "1 of 3 rows differ" in compare.examples(one, _root(tmp_path / "other", "aab"))
    assert "differ" in compare.examples(one, _root(tmp_path / "longer", "abbb"))
