from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.data.inputs import ModelInputs
from trainer_module.data.vocabularies import (
    Vocabularies,
    VocabularyState,
    check_fingerprints,
    check_ids,
    read_fingerprints,
    training_counts,
)
from trainer_module.errors import ConfigError, DataError, ModelError

from .conftest import NUM_EXAMPLES, NUM_ITEMS, NUM_USERS, SPEC, parse_spec, rows, serialize, transform_graph


@pytest.fixture(scope="module")
def vocabularies(world) -> Vocabularies:
    return Vocabularies(world.spec, world.transform_output)


def test_table_sizes_are_vocabulary_plus_oov_buckets(vocabularies):
    # Tags a and b come from one column, c from another: one table, one vocabulary.
    assert vocabularies.rows == {"user": NUM_USERS + 1, "item": NUM_ITEMS + 3, "tags": 3 + 1}


def test_tokens_come_in_the_order_of_their_ids(world, vocabularies):
    for table in vocabularies.rows:
        assert vocabularies.tokens(table).to_pylist() == world.transform_output.vocabulary_by_name(table)


def test_a_fingerprint_depends_on_tokens_and_buckets(world, vocabularies):
    again = Vocabularies(world.spec, world.transform_output)
    assert (again.fingerprints, again.fingerprint) == (vocabularies.fingerprints, vocabularies.fingerprint)
    assert len(set(vocabularies.fingerprints.values())) == 3
    user = world.spec.tables[0]
    more = user.model_copy(update={"vocabulary": user.vocabulary.model_copy(update={"oov_buckets": 2})})
    changed = Vocabularies(
        world.spec.model_copy(update={"tables": (more, *world.spec.tables[1:])}), world.transform_output
    )
    differing = {name for name in changed.rows if changed.fingerprints[name] != vocabularies.fingerprints[name]}
    assert differing == {"user"}
    assert changed.fingerprint != vocabularies.fingerprint


def test_training_counts_are_those_of_the_rows(tmp_path):
    examples = rows()[:60]
    rare = [examples[0] | {"item": [b"rare, with a blank"]}, examples[0] | {"item": [b"rarer"]}]
    output = transform_graph(tmp_path, [*examples, *rare])
    (item,) = [table for table in SPEC.tables if table.name == "item"]
    counts = training_counts(output, item)
    of_token = Counter(row["item"][0] for row in examples)
    assert dict(zip(output.vocabulary_by_name("item"), counts.tolist(), strict=False)) == of_token
    # Both rare tokens are out of vocabulary; their counts are where the graph looks them up.
    features = dict(tf.io.parse_example([serialize(row) for row in rare], parse_spec(SPEC.inputs)))
    buckets = ModelInputs(SPEC, output.transform_features_layer())(features)["item"].numpy()[:, 0]
    expected = np.zeros(3, int)
    np.add.at(expected, buckets - len(of_token), 1)
    assert counts[len(of_token) :].tolist() == expected.tolist()


def test_training_counts_must_have_been_kept(world):
    with pytest.raises(ConfigError, match=r"table user: its training frequencies are needed.*frequencies=True"):
        training_counts(world.transform_output, world.spec.tables[0])


def test_a_mismatch_names_the_tables():
    message = r"it was trained with other vocabularies: b \(expected 2, found 3\)\. .*warm_start"
    with pytest.raises(ModelError, match=message):
        check_fingerprints({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, "it")
    with pytest.raises(ModelError, match=r"c \(expected no such table, found 9\)"):
        check_fingerprints({}, {"c": "9"}, "it")


def test_a_checkpoint_carries_its_fingerprints_and_refuses_others(tmp_path):
    def checkpoint(**fingerprints: str) -> tf.train.Checkpoint:
        return tf.train.Checkpoint(weight=tf.Variable(1.0), vocabularies=VocabularyState(fingerprints))

    prefix = checkpoint(user="abc").write(str(tmp_path / "checkpoint"))
    assert read_fingerprints(prefix) == {"user": "abc"}
    checkpoint(user="abc").read(prefix).assert_consumed()
    with pytest.raises(ModelError, match=r"the checkpoint was trained with other vocabularies: user"):
        checkpoint(user="other").read(prefix)


def test_a_checkpoint_without_fingerprints_is_none_of_ours(tmp_path):
    prefix = tf.train.Checkpoint(weight=tf.Variable(1.0)).write(str(tmp_path / "checkpoint"))
    with pytest.raises(ModelError, match="holds no vocabulary fingerprints"):
        read_fingerprints(prefix)


class TestIds:
    def test_those_of_the_transform_graph_have_rows(self, world, vocabularies):
        reader = world.reader()
        check_ids(world.spec, vocabularies.rows, reader.features(reader.head(NUM_EXAMPLES)))

    @pytest.mark.parametrize("layout", ["dense", "sparse", "ragged"])
    @pytest.mark.parametrize("bad", [-1, 4])
    def test_one_without_a_row_is_named(self, world, vocabularies, layout, bad):
        fine = tf.constant([[0], [1]], tf.int64)
        ids = tf.constant([[2], [bad]], tf.int64)
        make = {"dense": tf.identity, "sparse": tf.sparse.from_dense, "ragged": tf.RaggedTensor.from_tensor}[layout]
        features = {"user": fine, "item": fine, "main_tag": fine, "tags": make(ids)}
        with pytest.raises(
            DataError, match=rf"column tags: .* id {bad} in example 1, but table tags has the rows 0 to 3"
        ):
            check_ids(world.spec, vocabularies.rows, features)
