"""What the Trainer calls."""

import dataclasses
import json
import os

import tensorflow as tf
import tensorflow_transform as tft
from tfx.v1.components import FnArgs

from trainer_module import export
from trainer_module.datasets import dataset_spec
from trainer_module.distribution import make_strategy
from trainer_module.experiment import Experiment
from trainer_module.inputs import ExampleReader
from trainer_module.loop import TrainingLoop
from trainer_module.models.rating import build_rating_model
from trainer_module.optimizers import SplitOptimizer, make_optimizer
from trainer_module.preprocessing import fingerprint, table_rows

# Facts about the training that go into the run's summary; lies beside the SavedModel.
TRAINING_REPORT = "training.json"

_PARITY_SAMPLE_SIZE = 256


def run_fn(fn_args: FnArgs) -> None:
    """Trains, restores the best weights into a serving copy and saves it.

    `fn_args.custom_config["experiment"]` holds the JSON of an `Experiment`.
    """
    experiment = Experiment.model_validate_json(fn_args.custom_config["experiment"])
    dataset, training = dataset_spec(experiment.dataset), experiment.training
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    transform = transform_output.transform_features_layer()
    rows = table_rows(dataset.features, transform_output)
    train = ExampleReader(dataset.features, transform, fn_args.train_files)
    selection = ExampleReader(dataset.features, transform, fn_args.eval_files)

    def build(embedding_optimizer, mean_rating):
        return build_rating_model(
            experiment.model, dataset.features, rows, dataset.rating_range, embedding_optimizer, mean_rating
        )

    tf.keras.utils.set_random_seed(training.seed)
    strategy = make_strategy(training)
    with strategy.scope():
        embedding_optimizer = make_optimizer(training.embedding_optimizer)
        model = build(embedding_optimizer, train.mean_label())
        optimizer = SplitOptimizer(embedding_optimizer, make_optimizer(training.dense_optimizer))
    loop = TrainingLoop(strategy, model, optimizer, training, fn_args.model_run_dir)
    result = loop.fit(train, selection)

    sample = selection.head(_PARITY_SAMPLE_SIZE)
    serving_model = build(None, 0.0)
    export.restore_copy(serving_model, result.checkpoint, selection.features(tf.constant(sample)))
    export.save(serving_model, transform, dataset.features, fn_args.serving_model_dir)
    artifact_dir = os.path.dirname(fn_args.serving_model_dir)
    predictions = loop.predict(selection, len(sample))
    export.save_parity_sample(os.path.join(artifact_dir, export.PARITY_DIRECTORY), sample, predictions)
    report = dataclasses.asdict(result) | {
        "table_rows": rows,
        "vocabularies": fingerprint(dataset.features, transform_output),
    }
    with tf.io.gfile.GFile(os.path.join(artifact_dir, TRAINING_REPORT), "w") as file:
        json.dump(report, file, indent=2)
