import pytest
import tensorflow as tf

from trainer_module.distribution import distribute, make_strategy
from trainer_module.errors import SetupError
from trainer_module.experiment import TrainingConfig


@pytest.fixture(autouse=True)
def no_tpu_by_name(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="describes a machine without a GPU")
class TestWithoutAccelerator:
    @pytest.mark.parametrize("kind", ["auto", "cpu"])
    def test_the_cpu_is_taken(self, kind):
        strategy = make_strategy(TrainingConfig(strategy=kind))
        assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
        assert strategy.num_replicas_in_sync == 1

    def test_mirrored_says_what_was_found(self):
        with pytest.raises(SetupError, match=r"needs a GPU.*CPU:0.*training\.strategy=cpu"):
            make_strategy(TrainingConfig(strategy="mirrored"))

    def test_tpu_says_what_was_looked_for(self):
        with pytest.raises(SetupError, match=r"no TPU answers as 'local'.*CPU:0.*training\.tpu"):
            make_strategy(TrainingConfig(strategy="tpu"))


def test_batches_reach_the_replicas():
    strategy = make_strategy(TrainingConfig(strategy="cpu"))
    dataset = distribute(strategy, lambda context: tf.data.Dataset.range(6).batch(3))
    assert [batch.numpy().tolist() for batch in dataset] == [[0, 1, 2], [3, 4, 5]]
