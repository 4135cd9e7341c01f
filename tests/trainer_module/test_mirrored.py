"""Two replicas train what one does: reduction, loss scaling and input sharding, on two logical CPUs.

GPUs cannot be had everywhere; logical devices must be made before TensorFlow starts, hence the process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
import trainer_module
import tensorflow as tf
import tensorflow_transform as tft
from trainer_module.blueprint import Blueprint
from trainer_module.experiment import EmbeddingsConfig, Experiment, RatingModelConfig, TrainingConfig
from trainer_module.features import FeatureSpec
from trainer_module.inputs import ExampleReader, ModelInputs
from trainer_module.loop import TrainingLoop
from trainer_module.optimization import Sgd
from trainer_module.preprocessing import table_rows

spec, transform_dir, files, directory, replicas = json.loads(sys.argv[1])
spec = FeatureSpec.model_validate_json(spec)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
if replicas == 1:
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
else:
    # The default reduction does not take the sparse gradients of CPUs.
    devices = [f"/CPU:{number}" for number in range(replicas)]
    strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
sgd = Sgd(learning_rate=0.05)
training = TrainingConfig(
    batch_size=1000, eval_batch_size=500, epochs=3, dense_optimizer=sgd, embedding_optimizer=sgd, clip_norm=0.5
)
experiment = Experiment(
    dataset="", model=RatingModelConfig(dropout=0.0), embeddings=EmbeddingsConfig(dim=2), training=training
)
output = tft.TFTransformOutput(transform_dir)
reader = ExampleReader(spec, ModelInputs(spec, output.transform_features_layer()), files)
tf.keras.utils.set_random_seed(1)
blueprint = Blueprint(experiment, spec, table_rows(spec, output), (1.0, 4.0))
model, optimizer = blueprint.for_training(strategy, 2.5)
loop = TrainingLoop(strategy, model, optimizer, training, directory, directory)
result = loop.fit(reader, reader)
predictions = loop.predict(reader, 1000)
print(json.dumps({"rmse": result.metrics["rmse"], "predictions": sorted(predictions.tolist())}))
"""


def train(world, directory: Path, replicas: int) -> dict:
    arguments = [world.spec.model_dump_json(), world.transform_output.transform_savedmodel_dir, world.files]
    transform_dir = str(Path(arguments[1]).parent)
    encoded = json.dumps([arguments[0], transform_dir, world.files, str(directory), replicas])
    process = subprocess.run([sys.executable, "-c", SCRIPT, encoded], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.splitlines()[-1])


def test_two_replicas_train_as_one(world, tmp_path):
    one, two = (train(world, tmp_path / str(replicas), replicas) for replicas in (1, 2))
    # A batch holds all examples, so shuffling makes no difference; only the order of additions does.
    assert two["rmse"] == pytest.approx(one["rmse"], rel=1e-4)
    assert two["predictions"] == pytest.approx(one["predictions"], rel=1e-3)
