import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.data import row_store
from trainer_module.data.datasets.movielens import SYNTHETIC
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError
from trainer_module.experiment import Experiment
from trainer_module.export import parity
from trainer_module.models.config import RatingModelConfig, TwoTowerConfig
from trainer_module.models.objectives import Rating
from trainer_module.run_fn import (
    TRAINING_REPORT,
    _checkpoint_dir,
    _earlier_training,
    _experiment,
    _files_by_split,
    assemble,
    export_model,
    train,
)
from trainer_module.training.config import LAST_BLESSED, TrainingConfig, WarmStartConfig

from .conftest import described

ONE_HOST = tf.distribute.InputContext()
READER = SimpleNamespace(files=("a", "b"), num_examples=10)


def fn_args(train_steps, base_model=None, **training):
    experiment = Experiment(dataset=SYNTHETIC.spec(), training=TrainingConfig(**training))
    config = {"experiment": experiment.model_dump_json(), "checkpoints": "gs://bucket/checkpoints", "source_hash": "x"}
    return SimpleNamespace(custom_config=config, train_steps=train_steps, base_model=base_model)


@pytest.mark.parametrize(("given", "configured", "steps"), [(None, None, None), (None, 7, 7), (9, None, 9), (9, 7, 9)])
def test_the_number_of_steps_of_the_run_wins_over_the_experiments(given, configured, steps):
    experiment = _experiment(fn_args(given, steps=configured, epochs=3))
    assert (experiment.training.steps, experiment.training.epochs) == (steps, 3)


def test_a_training_of_another_length_has_checkpoints_of_its_own():
    directories = {
        _checkpoint_dir(args, _experiment(args), "vocabularies", READER) for args in map(fn_args, (None, 5, 6))
    }
    assert len(directories) == 3
    assert all(directory.startswith("gs://bucket/checkpoints/") for directory in directories)


def test_a_warm_start_is_from_what_is_named_or_from_the_last_blessed_model(tmp_path):
    (tmp_path / TRAINING_REPORT).write_text(json.dumps({"checkpoint": "c", "transform_graph": "t", "steps": 7}))
    model, named = str(tmp_path / "Format-Serving"), WarmStartConfig(checkpoint="x", transform_graph="y")
    latest = TrainingConfig(warm_start=LAST_BLESSED)
    assert _earlier_training(fn_args(None, model), latest) == WarmStartConfig(checkpoint="c", transform_graph="t")
    assert _earlier_training(fn_args(None, None), latest) is None
    assert _earlier_training(fn_args(None, model), TrainingConfig(warm_start=named)) == named
    assert _earlier_training(fn_args(None, model), TrainingConfig()) is None


def test_trainings_that_start_elsewhere_have_checkpoints_of_their_own():
    directories = {
        _checkpoint_dir(args, _experiment(args), "vocabularies", READER)
        for args in (fn_args(None, model, warm_start=LAST_BLESSED) for model in (None, "runs/1", "runs/2"))
    }
    assert len(directories) == 3


@pytest.fixture(scope="module")
def ended(world, tmp_path_factory):
    """The arguments of a short training, what is assembled, and the training itself."""
    directory = tmp_path_factory.mktemp("run")
    experiment = Experiment(
        dataset=described(world.spec, label_range=None),
        model=RatingModelConfig(mlp=(), dropout=0.0),
        embeddings=EmbeddingsConfig(dim=2),
        training=TrainingConfig(strategy="cpu", batch_size=100, epochs=1),
    )
    args = SimpleNamespace(
        custom_config={
            "experiment": experiment.model_dump_json(),
            "eval_splits": ["eval"],
            "checkpoints": str(directory / "states"),
        },
        train_steps=None,
        base_model=None,
        train_files=world.files[:1],
        eval_files=world.files[1:],
        transform_output=str(Path(world.transform_output.transform_savedmodel_dir).parent),
        model_run_dir=str(directory / "model_run"),
        serving_model_dir=str(directory / "model" / "Format-Serving"),
    )
    assembly = assemble(args)
    return args, assembly, train(assembly, None, str(directory / "checkpoints"), args)


def test_what_is_assembled_comes_from_the_experiment_and_the_data(ended):
    _, assembly, _ = ended
    assert (assembly.train.num_examples, assembly.selection.num_examples) == (600, 400)
    assert assembly.examples is assembly.train
    assert assembly.blueprint.rows == assembly.vocabularies.rows
    # The dataset names no range of ratings, so it is that of the training split.
    assert assembly.blueprint.objective == Rating((1.0, 4.0))


def test_an_experiment_that_contradicts_itself_is_not_assembled(ended):
    args, assembly, _ = ended
    wrong = assembly.experiment.model_copy(update={"model": TwoTowerConfig()})
    config = args.custom_config | {"experiment": wrong.model_dump_json()}
    with pytest.raises(ConfigError, match="two_tower is for the task retrieval"):
        assemble(SimpleNamespace(**vars(args) | {"custom_config": config}))


def test_a_training_lets_its_rows_go(ended, tmp_path, monkeypatch):
    args, assembly, _ = ended
    made, make = [], row_store._store
    monkeypatch.setattr(row_store, "_store", lambda *given: made.append(make(*given)) or made[-1])
    train(assembly, None, str(tmp_path), args)
    (rows,) = made
    assert rows.num_rows == 600
    assert not rows._matrices


def test_training_ends_with_the_best_weights_in_the_model(ended):
    _, assembly, training = ended
    assert training.result.steps == 6
    assert training.moved == ()
    predicted = training.predict(assembly.selection, 400)
    labels = np.concatenate([y for _, y, _ in assembly.selection.evaluation_batches(400, TrainingConfig(), ONE_HOST)])
    rmse = np.sqrt(np.mean((predicted - labels) ** 2))
    assert rmse == pytest.approx(training.result.metrics["rmse"], rel=1e-5)


def test_the_export_answers_as_the_training_model_and_a_report_lies_beside_it(ended):
    args, assembly, training = ended
    export_model(assembly, training, args)
    model = Path(args.serving_model_dir).parent
    report = json.loads((model / TRAINING_REPORT).read_text())
    assert report["table_rows"] == assembly.vocabularies.rows
    assert report["metrics"] == training.result.metrics
    assert report["goals"] == {"": "rating"}
    expected, tolerance = parity.load_expected(str(model / parity.PARITY_DIRECTORY))
    assert set(expected) == {"serving_default", "predict"}
    served = tf.saved_model.load(args.serving_model_dir).signatures["serving_default"]
    records = tf.data.TFRecordDataset(str(model / parity.PARITY_DIRECTORY / parity.EXAMPLES_FILE), "GZIP")
    sample = list(records.as_numpy_iterator())
    answers = expected["serving_default"]["rating"]
    assert len(answers) == len(sample) > 150
    np.testing.assert_array_less(np.abs(served(tf.constant(sample))["rating"] - answers), tolerance.allowed(answers))


def test_every_split_gets_its_own_files():
    args = SimpleNamespace(custom_config={"eval_splits": ["eval", "candidates"]}, eval_files=["a/*", "b/*"])
    assert _files_by_split(args) == {"eval": ["a/*"], "candidates": ["b/*"]}
    with pytest.raises(ValueError, match="shorter"):
        _files_by_split(SimpleNamespace(custom_config=args.custom_config, eval_files=["a/*"]))
