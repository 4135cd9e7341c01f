"""The route `direct` from a V1 TPU's embedding engine, whose cores are logical CPU devices: nothing of it is a TPU.

Logical devices must be made before TensorFlow starts, hence the process of its own.
"""

import json
import subprocess

from components.pusher.verify import check_contents
from tests import launcher

SCRIPT = """
import json, sys
import trainer_module
import tensorflow as tf
from trainer_module.blueprint import Blueprint
from tpu_worker.described_tpu import cpu_backed_tpu_strategy, uninitialized_embedding_engine
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.experiment import Experiment
from trainer_module.training.config import TrainingConfig
from trainer_module.export.routes import Trained, from_checkpoint, from_training
from trainer_module.data.features import Categorical, FeatureSpec, Label, Table
from trainer_module.data.spec import DatasetSpec
from trainer_module.data.inputs import ModelInputs
from trainer_module.optimizers.config import Adagrad
from trainer_module.models.objectives import Rating

directory = sys.argv[1]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
names = ("user", "item")
spec = FeatureSpec(
    columns=(*(Categorical(name=name, dtype="int64", table=name) for name in names), Label(name="rating")),
    tables=tuple(Table(name=name) for name in names),
)
training = TrainingConfig(embedding_optimizer=Adagrad(learning_rate=0.1), batch_size=4, precision="float32")
dataset = DatasetSpec(name="small", features=spec)
experiment = Experiment(dataset=dataset, training=training, embeddings=EmbeddingsConfig(dim=4))
blueprint = Blueprint(experiment, spec, {"user": 16, "item": 8}, Rating((1.0, 5.0)))
model_inputs = ModelInputs(spec, lambda ids: ids)
strategy = cpu_backed_tpu_strategy(2, "V1")
with uninitialized_embedding_engine():
    model, _ = blueprint.for_training(strategy, 3.0)
    with strategy.scope():
        model.embedding.build({name: tf.TensorShape([2, 1]) for name in names})
    checkpoint = tf.train.Checkpoint(model=model).write(directory + "/checkpoint")
    from_training(blueprint, Trained(checkpoint, model, strategy)).save(model_inputs, directory + "/direct")
features = {name: tf.constant([[0]], tf.int64) for name in names}
from_checkpoint(blueprint, checkpoint, features).save(model_inputs, directory + "/checkpointed")
answers = []
for route in ("direct", "checkpointed"):
    predict = tf.saved_model.load(directory + "/" + route).signatures["predict"]
    request = {"user": tf.constant([1, 15], tf.int64), "item": tf.constant([0, 7], tf.int64)}
    answers.append(predict(**request)["rating"].numpy().tolist())
print(json.dumps(answers))
"""


def test_the_host_copies_of_an_embedding_engine_are_exported(tmp_path):
    process = subprocess.run([launcher.python(), "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    direct, checkpointed = json.loads(process.stdout.splitlines()[-1])
    assert direct == checkpointed
    assert direct[0] != direct[1]
    assert check_contents(str(tmp_path / "direct")) > 0
