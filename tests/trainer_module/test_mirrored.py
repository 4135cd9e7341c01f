"""Several replicas or workers train what one device does: reduction, loss scaling and input sharding, on logical CPUs.

GPUs cannot be had everywhere; logical devices must be made before TensorFlow starts, hence the process of its own.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import launcher
from tests.ports import free_ports

SCRIPT = """
import json, sys
import trainer_module
import tensorflow as tf
import tensorflow_transform as tft
from trainer_module.blueprint import Blueprint
from trainer_module.training.distribution import make_strategy
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.experiment import Experiment
from trainer_module.training.config import TrainingConfig
from trainer_module.data.features import FeatureSpec
from trainer_module.data.spec import DatasetSpec
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.training.loop import TrainingLoop
from trainer_module.optimizers.config import Sgd
from trainer_module.data.vocabularies import Vocabularies
from trainer_module.models.config import RatingModelConfig
from trainer_module.models.objectives import Rating

spec, transform_dir, files, directory, replicas = json.loads(sys.argv[1])
spec = FeatureSpec.model_validate_json(spec)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * max(1, replicas))
if not replicas:
    strategy = make_strategy(TrainingConfig())
elif replicas == 1:
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
else:
    # The default reduction does not take the sparse gradients of CPUs.
    devices = [f"/CPU:{number}" for number in range(replicas)]
    strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
sgd = Sgd(learning_rate=0.05)
training = TrainingConfig(
    batch_size=1000, eval_batch_size=1000, epochs=3, dense_optimizer=sgd, embedding_optimizer=sgd, clip_norm=0.5
)
dataset = DatasetSpec(name="small", features=spec)
experiment = Experiment(
    dataset=dataset, model=RatingModelConfig(dropout=0.0), embeddings=EmbeddingsConfig(dim=2), training=training
)
output = tft.TFTransformOutput(transform_dir)
reader = ExampleReader(spec, ModelInputs(spec, output.transform_features_layer()), files)
tf.keras.utils.set_random_seed(1)
blueprint = Blueprint(experiment, spec, Vocabularies(spec, output).rows, Rating((1.0, 4.0)))
model, optimizer = blueprint.for_training(strategy, 2.5)
loop = TrainingLoop(strategy, model, optimizer, training, directory, directory)
result = loop.fit(reader, reader)
predictions = loop.predict(reader, 1000)
print(json.dumps({"rmse": result.metrics["rmse"], "predictions": sorted(predictions.tolist())}))
"""


def start(world, directory: Path, replicas: int, cluster: str = "") -> subprocess.Popen:
    """Trains in a process of its own; 0 replicas means one worker of the `cluster`."""
    transform_dir = str(Path(world.transform_output.transform_savedmodel_dir).parent)
    encoded = json.dumps([world.spec.model_dump_json(), transform_dir, world.files, str(directory), replicas])
    environment = os.environ | ({"TF_CONFIG": cluster} if cluster else {})
    return subprocess.Popen(
        [launcher.python(), "-c", SCRIPT, encoded],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen) -> dict:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def one(world, tmp_path_factory) -> dict:
    """What one device trains."""
    return result(start(world, tmp_path_factory.mktemp("one"), 1))


def assert_same(trained: dict, one: dict) -> None:
    # A batch holds all examples, so shuffling makes no difference; only the order of additions does.
    assert trained["rmse"] == pytest.approx(one["rmse"], rel=1e-4)
    assert trained["predictions"] == pytest.approx(one["predictions"], rel=1e-3)


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_train_as_one(world, one, replicas, tmp_path):
    assert_same(result(start(world, tmp_path, replicas)), one)


def test_workers_train_as_one(world, one, tmp_path):
    """Two processes, as on two machines; the first one's checkpoints count."""
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    cluster = {"worker": addresses}
    workers = [
        start(world, tmp_path, 0, json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}))
        for index in range(2)
    ]
    for trained in [result(worker) for worker in workers]:
        assert trained["rmse"] == pytest.approx(one["rmse"], rel=1e-4)
    assert (tmp_path / "checkpoint").is_file()
    assert (tmp_path / "worker-1" / "checkpoint").is_file()
