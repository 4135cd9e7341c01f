import numpy as np
import pytest
import tensorflow as tf

from trainer_module.errors import DataError
from trainer_module.experiment import TrainingConfig
from trainer_module.inputs import ExampleReader

from .conftest import NUM_EXAMPLES, rows

ONE_HOST = tf.distribute.InputContext()
LABELS = np.array([row["rating"][0] for row in rows()], np.float32)


def test_evaluation_sees_every_example_once_and_fills_up_with_weight_0(world):
    batches = list(world.reader().evaluation_batches(TrainingConfig(eval_batch_size=300), ONE_HOST))
    assert len(batches) == 4
    for features, labels, weights in batches:
        assert features["user"].shape == (300, 1)
        assert labels.shape == weights.shape == (300,)
    weights = np.concatenate([weights for _, _, weights in batches])
    labels = np.concatenate([labels for _, labels, _ in batches])
    assert weights.sum() == NUM_EXAMPLES
    np.testing.assert_array_equal(np.sort(labels[weights == 1]), np.sort(LABELS))


def test_training_batches_are_shuffled_endless_and_repeatable(world):
    config = TrainingConfig(batch_size=256, seed=3)

    def first_epochs(settings: TrainingConfig) -> np.ndarray:
        batches = world.reader().training_batches(settings, ONE_HOST).take(8)
        return np.stack([labels for _, labels in batches])

    labels = first_epochs(config)
    assert labels.shape == (8, 256)
    np.testing.assert_array_equal(labels, first_epochs(config))
    assert not np.array_equal(labels, first_epochs(TrainingConfig(batch_size=256, seed=4)))
    assert not np.array_equal(labels[0], LABELS[:256])


def test_hosts_share_the_examples(world):
    config = TrainingConfig(eval_batch_size=2000)
    hosts = [tf.distribute.InputContext(2, host, 2) for host in range(2)]
    counts = [sum(float(tf.reduce_sum(w)) for _, _, w in world.reader().evaluation_batches(config, h)) for h in hosts]
    assert counts == [NUM_EXAMPLES / 2, NUM_EXAMPLES / 2]


def test_count_and_mean_label(world):
    reader = world.reader()
    assert reader.num_examples == NUM_EXAMPLES
    assert reader.mean_label() == pytest.approx(LABELS.mean())


def test_missing_and_empty_files_are_named(world, tmp_path):
    with pytest.raises(DataError, match=r"no example files match .*nowhere"):
        ExampleReader(world.spec, world.transform, [str(tmp_path / "nowhere-*")])
    empty = str(tmp_path / "empty.gz")
    tf.io.TFRecordWriter(empty, tf.io.TFRecordOptions("GZIP")).close()
    with pytest.raises(DataError, match=r"empty\.gz are empty"):
        ExampleReader(world.spec, world.transform, [empty])
