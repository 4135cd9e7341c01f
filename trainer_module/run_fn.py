"""What the Trainer calls."""

import dataclasses
import hashlib
import json
import logging
import os

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.v1.components import FnArgs

from trainer_module.blueprint import Blueprint
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.features import FeatureSpec, HashBuckets
from trainer_module.data.inputs import ExampleReader, ModelInputs
from trainer_module.data.spec import DatasetSpec
from trainer_module.data.vocabularies import Vocabularies, check_ids, training_counts
from trainer_module.experiment import LAST_BLESSED, Experiment, TrainingConfig, WarmStartConfig
from trainer_module.export import parity
from trainer_module.export.routes import Trained, expected_answers, export
from trainer_module.models.config import RatingModelConfig, TwoTowerConfig
from trainer_module.models.negatives import Catalog, MixedExamples, candidates_beside
from trainer_module.models.objectives import Objective, make_objective
from trainer_module.models.two_tower import Retrieval
from trainer_module.training.distribution import dense_options, make_strategy
from trainer_module.training.loop import TrainingLoop
from trainer_module.training.naive_baseline import (
    NAIVE_BASELINE,
    NaiveBaseline,
    fit_naive_baseline,
    initial_biases,
)
from trainer_module.training.warm_start import TableReport, warm_start

_log = logging.getLogger(__name__)

# Facts about the training that go into the run's summary; lies beside the SavedModel.
TRAINING_REPORT = "training.json"

_PARITY_SAMPLE_SIZE = 256
_CHECKED_EXAMPLES = 4096


def run_fn(fn_args: FnArgs) -> None:
    """Trains, restores the best weights and exports them.

    `fn_args.custom_config["experiment"]` holds the JSON of an `Experiment`, `"checkpoints"` the directory below which
    an interrupted training finds its state. `fn_args.base_model` is the model that `training.warm_start: last_blessed`
    starts from; None where there is none yet. `fn_args.train_steps`, if given, takes the place of `training.steps`.
    """
    experiment = _experiment(fn_args)
    dataset, training = dataset_spec(experiment.dataset), experiment.training
    spec = experiment.features(dataset.features)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    model_inputs = ModelInputs(spec, transform_output.transform_features_layer())
    vocabularies = Vocabularies(spec, transform_output)
    objective = _objective(dataset, spec, transform_output)
    train = examples = ExampleReader(spec, model_inputs, fn_args.train_files)
    if isinstance(objective, Retrieval) and (mixed := _mixed_negatives(experiment)):
        catalog = Catalog(spec, model_inputs, objective.candidate_columns, candidates_beside(fn_args.train_files))
        counts = catalog.counts(objective.item_key, len(objective.training_counts))
        objective = dataclasses.replace(objective, catalog_counts=counts)
        examples = MixedExamples(train, catalog, mixed)
    blueprint = Blueprint(experiment, spec, vocabularies.rows, objective, vocabularies.fingerprints)
    selection = ExampleReader(spec, model_inputs, fn_args.eval_files)
    for reader in (train, selection):
        check_ids(spec, vocabularies.rows, reader.features(tf.constant(reader.head(_CHECKED_EXAMPLES))))

    naive = _write_naive_baseline(fn_args, dataset, train, selection)
    tf.keras.utils.set_random_seed(training.seed)
    strategy = make_strategy(training)
    if naive is not None and isinstance(experiment.model, RatingModelConfig) and experiment.model.num_biases:
        start_at, biases = naive.mean, _initial_biases(naive, spec, vocabularies)
    else:
        start_at, biases = train.mean_label(), {}
    model, optimizer = blueprint.for_training(strategy, start_at, biases)
    checkpoints = _checkpoint_dir(fn_args, experiment, vocabularies.fingerprint, train)
    loop = TrainingLoop(
        strategy, model, optimizer, training, checkpoints, fn_args.model_run_dir, vocabularies.fingerprints
    )
    moved: list[TableReport] = []

    def start() -> None:
        if earlier := _earlier_training(fn_args, training):
            moved.extend(warm_start(earlier, model, optimizer, vocabularies))

    result = loop.fit(examples, selection, start)

    artifact_dir = os.path.dirname(fn_args.serving_model_dir)
    parity_dir = os.path.join(artifact_dir, parity.PARITY_DIRECTORY)
    sample_file = parity.save_sample(parity_dir, spec, selection.head(_PARITY_SAMPLE_SIZE))
    sample = ExampleReader(spec, model_inputs, [sample_file])
    config, trained = experiment.export, Trained(result.checkpoint, model, strategy)
    answers = expected_answers(config, blueprint, model, loop.predict, sample)
    parity.save_expected(parity_dir, answers, dense_options(training, strategy).dtype)
    features = sample.features(tf.constant(sample.head(1)))
    exported = export(config, blueprint, trained, model_inputs, features, fn_args.serving_model_dir)
    report = dataclasses.asdict(result) | {
        "transform_graph": fn_args.transform_output,
        "table_rows": dict(blueprint.rows),
        "vocabularies": vocabularies.fingerprint,
        "warm_start": [dataclasses.asdict(table) for table in moved],
        "export": dataclasses.asdict(exported),
        "naive_baseline": naive and naive.facts(),
    }
    with tf.io.gfile.GFile(os.path.join(artifact_dir, TRAINING_REPORT), "w") as file:
        json.dump(report, file, indent=2)
    tf.io.gfile.rmtree(checkpoints)


def _write_naive_baseline(
    fn_args: FnArgs, dataset: DatasetSpec, train: ExampleReader, selection: ExampleReader
) -> NaiveBaseline | None:
    """Fits the naive baseline and writes it beside the SavedModel; None for retrieval, whose index holds its own."""
    if dataset.task == "retrieval":
        return None
    naive = fit_naive_baseline(dataset, train, selection)
    naive.save(os.path.join(os.path.dirname(fn_args.serving_model_dir), NAIVE_BASELINE))
    return naive


def _initial_biases(naive: NaiveBaseline, spec: FeatureSpec, vocabularies: Vocabularies) -> dict[str, np.ndarray]:
    """The naive baseline's biases, by table, where a rating model starts from them."""
    keys = {entity.key for entity in naive.entities}
    tables = {column.table for column in spec.categorical if column.name in keys}
    with_tokens = {table.name for table in spec.tables if not isinstance(table.vocabulary, HashBuckets)}
    return initial_biases(naive, spec, {table: vocabularies.tokens(table) for table in tables & with_tokens})


def _earlier_training(fn_args: FnArgs, training: TrainingConfig) -> WarmStartConfig | None:
    """Where the weights come from that this training starts with; None starts anew."""
    if training.warm_start != LAST_BLESSED:
        return training.warm_start
    if not fn_args.base_model:
        _log.info("no earlier model is blessed: this training starts anew")
        return None
    with tf.io.gfile.GFile(os.path.join(os.path.dirname(fn_args.base_model), TRAINING_REPORT)) as file:
        report = json.load(file)
    return WarmStartConfig(checkpoint=report["checkpoint"], transform_graph=report["transform_graph"])


def _objective(
    dataset: DatasetSpec, spec: FeatureSpec, transform_output: tft.TFTransformOutput
) -> Objective | Retrieval:
    """What the model of this dataset is trained for."""
    if dataset.task != "retrieval":
        return make_objective(dataset.task, dataset.label_range)
    (column,) = [column for column in spec.categorical if column.name == dataset.item_key]
    (table,) = [table for table in spec.tables if table.name == column.table]
    return Retrieval(dataset.item_key, dataset.candidate_columns, training_counts(transform_output, table))


def _mixed_negatives(experiment: Experiment) -> int:
    return experiment.model.mixed_negatives if isinstance(experiment.model, TwoTowerConfig) else 0


def _experiment(fn_args: FnArgs) -> Experiment:
    experiment = Experiment.model_validate_json(fn_args.custom_config["experiment"])
    if not fn_args.train_steps:
        return experiment
    training = experiment.training.model_copy(update={"steps": fn_args.train_steps})
    return experiment.model_copy(update={"training": training})


def _checkpoint_dir(fn_args: FnArgs, experiment: Experiment, vocabularies: str, train: ExampleReader) -> str:
    """Where this training's checkpoints lie: one directory per experiment, code and data."""
    config = fn_args.custom_config
    told = experiment.model_dump_json()
    identity = [
        told,
        config["source_hash"],
        vocabularies,
        str(fn_args.base_model),
        *train.files,
        str(train.num_examples),
    ]
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()
    return os.path.join(config["checkpoints"], digest[:16])
