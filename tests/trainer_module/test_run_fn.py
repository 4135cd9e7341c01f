from types import SimpleNamespace

import pytest

from trainer_module.experiment import Experiment, TrainingConfig
from trainer_module.run_fn import _checkpoint_dir, _experiment

READER = SimpleNamespace(files=("a", "b"), num_examples=10)


def fn_args(train_steps, **training):
    experiment = Experiment(dataset="synthetic", training=TrainingConfig(**training))
    config = {"experiment": experiment.model_dump_json(), "checkpoints": "gs://bucket/checkpoints", "source_hash": "x"}
    return SimpleNamespace(custom_config=config, train_steps=train_steps)


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
