"""The Trainer's entry point, in three parts: assemble, train, export."""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer_module.blueprint import Blueprint
from trainer_module.data.features import HashBuckets
from trainer_module.data.inputs import ExampleReader, ModelInputs, limits_of_process
from trainer_module.data.paths import is_remote
from trainer_module.data.row_store import freeing_stores
from trainer_module.data.spec import CANDIDATES
from trainer_module.data.vocabularies import Vocabularies, check_ids
from trainer_module.experiment import Experiment
from trainer_module.export import parity
from trainer_module.export.config import FLOAT32_DIRECTORY
from trainer_module.export.routes import Trained, expected_answers, export, export_quantized
from trainer_module.export.sample import choose
from trainer_module.models.training_data import TrainingData, TrainingExamples
from trainer_module.training.config import LAST_BLESSED, TrainingConfig, WarmStartConfig
from trainer_module.training.distribution import dense_options, make_strategy
from trainer_module.training.loop import Evaluation, TrainingLoop, TrainingResult
from trainer_module.training.naive_baseline import (
    NAIVE_BASELINE,
    NaiveBaseline,
    fit_naive_baselines,
    initial_biases,
)
from trainer_module.training.policy_candidates import POLICY_CANDIDATES, PolicyCandidates, collect_candidates
from trainer_module.training.split_optimizer import SplitOptimizer
from trainer_module.training.warm_start import TableReport, warm_start

_log = logging.getLogger(__name__)

# Facts about the training for the run's summary; a file beside the SavedModel.
TRAINING_REPORT = "training.json"
GOALS = "goals"
"""Key of the report: `Experiment.goals`."""

_CHECKED_EXAMPLES = 4096


@dataclass(frozen=True)
class Assembly:
    """Everything that is known before training.

    Attributes:
        model_inputs: Raw columns to model inputs.
        vocabularies: Of the embedding tables.
        blueprint: Builds the models.
        train: The training split.
        examples: What the steps see: the training split, with drawn items where the model asks for them.
        selection: The split that chooses the weights.
        naive_baselines: What each of the model's predictions must beat, by label, or under the empty name for a model
            with one prediction; none for retrieval, whose index holds its own.
        candidates: Among what policies choose; None where rows have no propensities.
    """

    model_inputs: ModelInputs
    vocabularies: Vocabularies
    blueprint: Blueprint
    train: ExampleReader
    examples: TrainingExamples
    selection: ExampleReader
    naive_baselines: Mapping[str, NaiveBaseline]
    candidates: PolicyCandidates | None

    @property
    def experiment(self) -> Experiment:
        return self.blueprint.experiment


@dataclass(frozen=True)
class Training:
    """A training that has ended.

    Attributes:
        result: Steps, metrics and the checkpoint of the weights.
        trained: The model with those weights.
        predict: Predictions of the model for the first examples of a reader.
        moved: What a warm start took over, by table.
    """

    result: TrainingResult
    trained: Trained
    predict: Callable[[ExampleReader, int], Any]
    moved: tuple[TableReport, ...]


def run_fn(fn_args: FnArgs) -> None:
    """Trains, restores the best weights and exports them.

    `fn_args.custom_config` holds
        `experiment`: JSON of an `Experiment`.
        `checkpoints`: Directory below which an interrupted training finds its state.
        `source_hash`: Of the code.
        `eval_splits`: The splits of `fn_args.eval_files`, in their order: `eval` and, for retrieval, `candidates`.
    `fn_args.base_model` is the model that `training.warm_start: last_blessed` starts from; None where there is none.
    `fn_args.train_steps`, if given, takes the place of `training.steps`.
    """
    assembly = assemble(fn_args)
    checkpoints = _checkpoint_dir(fn_args, assembly.experiment, assembly.vocabularies.fingerprint, assembly.train)
    training = train(assembly, _earlier_training(fn_args, assembly.experiment.training), checkpoints, fn_args)
    export_model(assembly, training, fn_args)
    tf.io.gfile.rmtree(checkpoints)


def assemble(fn_args: FnArgs) -> Assembly:
    """Reads the experiment and the facts about the data.

    Raises:
        ConfigError: The parts of the experiment do not fit together.
        DataError: A split is empty, ids and tables do not belong together, the weights of examples are no weights, or
            items with propensities are too many.
    """
    experiment = _experiment(fn_args)
    experiment.check()
    spec = experiment.features(experiment.dataset.features)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    model_inputs = ModelInputs(spec, transform_output.transform_features_layer())
    vocabularies = Vocabularies(spec, transform_output)
    files = _files_by_split(fn_args)
    limits = limits_of_process(_directory_for_features(fn_args))
    train_split = ExampleReader(spec, model_inputs, fn_args.train_files, limits=limits)
    train_split.check_example_weights()
    data = TrainingData(
        dataset=experiment.dataset,
        spec=spec,
        transform_output=transform_output,
        model_inputs=model_inputs,
        train=train_split,
        batch_size=experiment.training.batch_size,
        candidates=files.get(CANDIDATES, []),
    )
    candidates = collect_candidates(experiment.dataset, spec, train_split)
    objective, examples = experiment.model.prepare(data)
    selection = ExampleReader(spec, model_inputs, files["eval"], limits=limits)
    selection.check_example_weights()
    for reader in (train_split, selection):
        check_ids(spec, vocabularies.rows, reader.features(reader.head(_CHECKED_EXAMPLES)))
    blueprint = Blueprint(experiment, spec, vocabularies.rows, objective, vocabularies.fingerprints)
    naive = {}
    if data.dataset.task != "retrieval":
        naive = fit_naive_baselines(data.dataset, experiment.model.predicted, train_split, selection)
    return Assembly(model_inputs, vocabularies, blueprint, train_split, examples, selection, naive, candidates)


def train(
    assembly: Assembly,
    earlier: WarmStartConfig | None,
    checkpoints: str,
    fn_args: FnArgs,
    observe: Callable[[Evaluation], None] | None = None,
) -> Training:
    """Trains and restores the best weights.

    Args:
        assembly: What is trained, on what.
        earlier: The training whose weights this one starts with; None starts anew.
        checkpoints: Directory of this training's states.
        fn_args: Gives the directory for logs and the best weights.
        observe: Called after each evaluation; what it raises ends the training there.
    """
    config, vocabularies = assembly.experiment.training, assembly.vocabularies
    tf.keras.utils.set_random_seed(config.seed)
    strategy = make_strategy(config)
    loop, model, optimizer = make_loop(assembly, strategy, checkpoints, fn_args.model_run_dir)
    moved: list[TableReport] = []

    def start() -> None:
        if earlier:
            moved.extend(warm_start(earlier, model, optimizer, vocabularies))
            if assembly.experiment.model.num_biases:
                # The earlier training corrected the biases of other ratings.
                model.correct(*_start(assembly))

    with freeing_stores():
        result = loop.fit(assembly.examples, assembly.selection, start, observe)
    return Training(result, Trained(result.checkpoint, model, strategy), loop.predict, tuple(moved))


def make_loop(
    assembly: Assembly, strategy: tf.distribute.Strategy, checkpoints: str, directory: str
) -> tuple[TrainingLoop, Any, SplitOptimizer]:
    """Makes a new model, its optimizers and the loop that trains it.

    Args:
        assembly: What is trained, on what.
        strategy: Where.
        checkpoints: Directory of the training's states.
        directory: For logs and the best weights.
    """
    model, optimizer = assembly.blueprint.for_training(strategy, *_start(assembly))
    config, fingerprints = assembly.experiment.training, assembly.vocabularies.fingerprints
    return TrainingLoop(strategy, model, optimizer, config, checkpoints, directory, fingerprints), model, optimizer


def export_model(assembly: Assembly, training: Training, fn_args: FnArgs) -> None:
    """Writes the SavedModel, what it must answer, and the report."""
    experiment, blueprint, trained = assembly.experiment, assembly.blueprint, training.trained
    artifact_dir = os.path.dirname(fn_args.serving_model_dir)
    for label, naive in assembly.naive_baselines.items():
        naive.save(os.path.join(artifact_dir, NAIVE_BASELINE, label))
    if assembly.candidates is not None:
        assembly.candidates.save(os.path.join(artifact_dir, POLICY_CANDIDATES))
    parity_dir = os.path.join(artifact_dir, parity.PARITY_DIRECTORY)
    rows = choose(blueprint.spec, _rarest_tokens(assembly), assembly.selection, (assembly.train, assembly.selection))
    sample_file = parity.save_sample(parity_dir, blueprint.spec, rows)
    # Requests have no weights.
    weight = blueprint.spec.example_weight
    spec_of_requests = blueprint.spec.without([weight.name] if weight else [])
    sample = ExampleReader(spec_of_requests, assembly.model_inputs, [sample_file])
    answers = expected_answers(experiment.export, blueprint, trained.model, training.predict, sample)
    dense_type = dense_options(experiment.training, trained.strategy).dtype
    model_inputs, directory, facts = assembly.model_inputs, fn_args.serving_model_dir, {}
    if experiment.export.quantize:
        quantized = export_quantized(
            experiment.export,
            blueprint,
            trained,
            model_inputs,
            sample,
            answers,
            parity.TOLERANCE[dense_type],
            directory,
            os.path.join(artifact_dir, FLOAT32_DIRECTORY),
        )
        exported, facts = quantized.report, {"largest_change": quantized.largest_change}
        # What the export must answer now is an answer of the float32 copy.
        answers, dense_type = quantized.answers, "float32"
    else:
        features = sample.features(sample.head(1))
        exported = export(experiment.export, blueprint, trained, model_inputs, features, directory)
    parity.save_expected(parity_dir, answers, dense_type, [row.kind for row in rows])
    report = dataclasses.asdict(training.result) | {
        GOALS: assembly.experiment.goals,
        "transform_graph": fn_args.transform_output,
        # The directory of all splits: <examples>/Split-train/*.
        "examples": os.path.dirname(os.path.dirname(fn_args.train_files[0])),
        "table_rows": dict(blueprint.rows),
        "vocabularies": assembly.vocabularies.fingerprint,
        "warm_start": [dataclasses.asdict(table) for table in training.moved],
        "export": dataclasses.asdict(exported) | facts,
        "naive_baselines": {label: naive.facts() for label, naive in assembly.naive_baselines.items()},
    }
    with tf.io.gfile.GFile(os.path.join(artifact_dir, TRAINING_REPORT), "w") as file:
        json.dump(report, file, indent=2)


def _files_by_split(fn_args: FnArgs) -> dict[str, list[str]]:
    """Patterns of the files that the Trainer got beside the training split, by split.

    TFX resolves the URI of every split of `EvalArgs.splits` in the artifact, and hands the patterns over in that order,
    but without the names of the splits.
    """
    splits = fn_args.custom_config["eval_splits"]
    return {split: [pattern] for split, pattern in zip(splits, fn_args.eval_files, strict=True)}


def _start(assembly: Assembly) -> tuple[float, dict[str, np.ndarray], float]:
    """Where predictions start: at a label, and for models with biases at those of the naive baseline, by table; and the
    scale of what is learned beyond them."""
    blueprint = assembly.blueprint
    if not assembly.experiment.model.num_biases:
        return assembly.train.mean_label(), {}, 1.0
    naive = assembly.naive_baselines[""]
    tokens = {table: assembly.vocabularies.tokens(table) for table in blueprint.fixed_biases}
    return naive.mean, initial_biases(naive, blueprint.spec, tokens), naive.error or 1.0


def _rarest_tokens(assembly: Assembly) -> dict[str, bytes]:
    """The last token of each vocabulary, which the transform graph sorts by frequency."""
    tables = [t.name for t in assembly.blueprint.spec.tables if not isinstance(t.vocabulary, HashBuckets)]
    tokens = {table: assembly.vocabularies.tokens(table) for table in tables}
    return {table: of_table[-1].as_py() for table, of_table in tokens.items() if len(of_table)}


def _earlier_training(fn_args: FnArgs, training: TrainingConfig) -> WarmStartConfig | None:
    """The training whose weights this one starts with; None starts anew."""
    if training.warm_start != LAST_BLESSED:
        return training.warm_start
    if not fn_args.base_model:
        _log.info("no earlier model is blessed: this training starts anew")
        return None
    with tf.io.gfile.GFile(os.path.join(os.path.dirname(fn_args.base_model), TRAINING_REPORT)) as file:
        report = json.load(file)
    return WarmStartConfig(checkpoint=report["checkpoint"], transform_graph=report["transform_graph"])


def _experiment(fn_args: FnArgs) -> Experiment:
    experiment = Experiment.model_validate_json(fn_args.custom_config["experiment"])
    if not fn_args.train_steps:
        return experiment
    training = experiment.training.model_copy(update={"steps": fn_args.train_steps})
    return experiment.model_copy(update={"training": training})


def _directory_for_features(fn_args: FnArgs) -> str | None:
    """Where features that memory cannot hold go; None, the directory for temporary files, if states lie in a bucket."""
    directory = fn_args.custom_config["checkpoints"]
    if is_remote(directory):
        return None
    tf.io.gfile.makedirs(directory)
    return directory


def _checkpoint_dir(fn_args: FnArgs, experiment: Experiment, vocabularies: str, train: ExampleReader) -> str:
    """The directory of this training's states: one per experiment, code and data."""
    config = fn_args.custom_config
    identity = [
        experiment.model_dump_json(),
        config["source_hash"],
        vocabularies,
        str(fn_args.base_model),
        *train.files,
        str(train.num_examples),
    ]
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()
    return os.path.join(config["checkpoints"], digest[:16])
