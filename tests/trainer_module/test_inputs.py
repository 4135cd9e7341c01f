import numpy as np
import pytest
import tensorflow as tf

from trainer_module.data.inputs import ExampleReader
from trainer_module.training.config import TrainingConfig

from .conftest import NUM_EXAMPLES, rows

ONE_HOST = tf.distribute.InputContext()
LABELS = np.array([row["rating"][0] for row in rows()], np.float32)


def test_evaluation_sees_every_example_once_and_fills_up_with_weight_0(world):
    batches = list(world.reader().evaluation_batches(300, TrainingConfig(), ONE_HOST))
    assert len(batches) == 4
    for features, labels, weights in batches:
        assert features["user"].shape == (300, 1)
        assert labels.shape == weights.shape == (300,)
    weights = np.concatenate([weights for _, _, weights in batches])
    labels = np.concatenate([labels for _, labels, _ in batches])
    assert weights.sum() == NUM_EXAMPLES
    np.testing.assert_array_equal(np.sort(labels[weights == 1]), np.sort(LABELS))


def labels_of(world, config: TrainingConfig, first_step: int = 0, steps: int = 10, host=ONE_HOST) -> np.ndarray:
    batches = world.reader().training_batches(config, host, first_step).take(steps)
    return np.stack([labels for _, labels in batches])


@pytest.mark.parametrize("cache", ["features", "records", "none"])
def test_training_batches_are_shuffled_endless_and_repeatable(world, cache):
    config = TrainingConfig(batch_size=256, seed=3, cache=cache)
    labels = labels_of(world, config)
    assert labels.shape == (10, 256)
    np.testing.assert_array_equal(labels, labels_of(world, config))
    assert not np.array_equal(labels, labels_of(world, config.model_copy(update={"seed": 4})))
    assert not np.array_equal(labels[0], LABELS[:256])


@pytest.mark.parametrize("cache", ["features", "records", "none"])
@pytest.mark.parametrize("first_step", [1, 3, 4, 9])
def test_a_later_start_continues_the_same_sequence(world, cache, first_step):
    config = TrainingConfig(batch_size=256, cache=cache)
    expected = labels_of(world, config, steps=12)[first_step : first_step + 3]
    np.testing.assert_array_equal(labels_of(world, config, first_step, 3), expected)


@pytest.mark.parametrize("cache", ["features", "records", "none"])
def test_an_epoch_holds_every_example_once_and_epochs_differ(world, cache):
    config = TrainingConfig(batch_size=250, cache=cache)
    first, second = labels_of(world, config, 0, 4).ravel(), labels_of(world, config, 4, 4).ravel()
    np.testing.assert_array_equal(np.sort(first), np.sort(LABELS))
    np.testing.assert_array_equal(np.sort(second), np.sort(LABELS))
    assert not np.array_equal(first, second)


def test_memory_and_files_give_the_same_features(world):
    """Unshuffled from the files; the permutation of the first epoch, undone, from memory."""
    from_files = next(
        iter(
            world.reader().training_batches(
                TrainingConfig(batch_size=NUM_EXAMPLES, cache="none", shuffle_rows=0), ONE_HOST
            )
        )
    )
    from_memory = next(iter(world.reader().training_batches(TrainingConfig(batch_size=NUM_EXAMPLES), ONE_HOST)))

    def in_one_order(batch):
        features, labels = batch
        tags = tf.sparse.to_dense(features["tags"], default_value=-1).numpy()
        table = np.column_stack([features["user"], features["item"], features["year"], labels, tags])
        return table[np.lexsort(table.T)]

    np.testing.assert_array_equal(in_one_order(from_memory), in_one_order(from_files))


def test_files_can_be_read_unshuffled(world):
    config = TrainingConfig(batch_size=NUM_EXAMPLES, cache="none", shuffle_rows=0)
    np.testing.assert_array_equal(labels_of(world, config, 0, 1), labels_of(world, config, 1, 1))


def test_hosts_share_the_examples(world):
    hosts = [tf.distribute.InputContext(2, host, 2) for host in range(2)]
    shares = [world.reader().evaluation_batches(2000, TrainingConfig(), host) for host in hosts]
    counts = [sum(float(tf.reduce_sum(weights)) for _, _, weights in share) for share in shares]
    assert counts == [NUM_EXAMPLES / 2, NUM_EXAMPLES / 2]


def test_count_and_mean_label(world):
    reader = world.reader()
    assert reader.num_examples == NUM_EXAMPLES
    assert reader.mean_label() == pytest.approx(LABELS.mean())


def test_either_format_gives_the_same_batches(world):
    records = ExampleReader(world.spec, world.model_inputs, [file.replace(".parquet", ".gz") for file in world.files])
    for one, other in zip(
        world.reader().training_batches(TrainingConfig(batch_size=300), ONE_HOST).take(4),
        records.training_batches(TrainingConfig(batch_size=300), ONE_HOST).take(4),
        strict=True,
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, *(tf.nest.flatten(e, True) for e in (one, other)))
