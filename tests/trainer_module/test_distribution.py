import pytest
import tensorflow as tf

from tpu_worker.described_tpu import described_tpu_strategy
from trainer_module.errors import ConfigError, SetupError
from trainer_module.models.layers import DenseOptions
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import (
    dense_options,
    distribute,
    evaluation_batch_size,
    make_strategy,
    replica_batch_size,
)


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

    def test_multi_worker_says_what_is_missing(self, monkeypatch):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        with pytest.raises(SetupError, match=r"needs the environment variable TF_CONFIG.*training\.strategy=auto"):
            make_strategy(TrainingConfig(strategy="multi_worker"))

    @pytest.mark.parametrize("kind", ["auto", "multi_worker"])
    def test_a_broken_cluster_is_shown(self, kind, monkeypatch):
        monkeypatch.setenv("TF_CONFIG", '{"cluster": {"ps": ["localhost:1"]}, "task": {"type": "worker", "index": 3}}')
        with pytest.raises(SetupError, match=r"TF_CONFIG=.*localhost:1.* describes no cluster that works"):
            make_strategy(TrainingConfig(strategy=kind))

    def test_tpu_says_what_was_looked_for(self):
        with pytest.raises(SetupError, match=r"no TPU answers as 'local'.*CPU:0.*training\.tpu"):
            make_strategy(TrainingConfig(strategy="tpu"))


def test_batches_reach_the_replicas():
    strategy = make_strategy(TrainingConfig(strategy="cpu"))
    dataset = distribute(strategy, lambda context: tf.data.Dataset.range(6).batch(3))
    assert [batch.numpy().tolist() for batch in dataset] == [[0, 1, 2], [3, 4, 5]]


def test_off_tpus_any_batch_size_goes():
    strategy = tf.distribute.get_strategy()
    assert evaluation_batch_size(TrainingConfig(), strategy) == 8192
    assert evaluation_batch_size(TrainingConfig(eval_batch_size=7), strategy) == 7
    assert replica_batch_size(TrainingConfig(), strategy) is None


@pytest.fixture
def two_by_four():
    """Two hosts with four cores each."""
    return described_tpu_strategy(num_hosts=2, cores_per_host=4, feature="V1")


def test_a_tpu_takes_one_batch_size(two_by_four):
    assert replica_batch_size(TrainingConfig(batch_size=64), two_by_four) == 8
    assert evaluation_batch_size(TrainingConfig(batch_size=64), two_by_four) == 64
    with pytest.raises(ConfigError, match=r"eval_batch_size=32.*set it to training\.batch_size=64"):
        evaluation_batch_size(TrainingConfig(batch_size=64, eval_batch_size=32), two_by_four)
    with pytest.raises(ConfigError, match=r"batch_size=60 must be divisible by the 8 replicas that"):
        replica_batch_size(TrainingConfig(batch_size=60), two_by_four)


def test_a_tpu_computes_the_dense_part_in_bfloat16(two_by_four):
    cpu = tf.distribute.get_strategy()
    assert dense_options(TrainingConfig(jit_compile=True), two_by_four) == DenseOptions("mixed_bfloat16", False)
    assert dense_options(TrainingConfig(precision="float32"), two_by_four) == DenseOptions("float32", False)
    assert dense_options(TrainingConfig(jit_compile=True), cpu) == DenseOptions("float32", True)
