import json
from types import SimpleNamespace

import pytest

from trainer_module.data.datasets.movielens import SYNTHETIC
from trainer_module.experiment import Experiment
from trainer_module.run_fn import TRAINING_REPORT, _checkpoint_dir, _earlier_training, _experiment
from trainer_module.training.config import LAST_BLESSED, TrainingConfig, WarmStartConfig

READER = SimpleNamespace(files=("a", "b"), num_examples=10)


def fn_args(train_steps, base_model=None, **training):
    experiment = Experiment(dataset=SYNTHETIC, training=TrainingConfig(**training))
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
