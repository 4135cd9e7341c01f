"""Contradictions that are seen when an experiment is read, without TensorFlow."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from trainer_module.data.datasets import criteo, movielens
from trainer_module.errors import ConfigError
from trainer_module.experiment import Experiment
from trainer_module.training.config import TrainingConfig

CRITEO, MOVIELENS_100K = criteo.CRITEO.spec(), movielens.MOVIELENS_100K.spec()
MOVIELENS_100K_RETRIEVAL = movielens.MOVIELENS_100K.model_copy(update={"task": "retrieval", "slices": None}).spec()


@pytest.mark.parametrize(
    ("dataset", "sections"),
    [
        (MOVIELENS_100K, {}),
        (CRITEO, {"model": {"type": "dlrm"}, "training": {"jit_compile": True}}),
        (MOVIELENS_100K_RETRIEVAL, {"model": {"type": "two_tower"}}),
    ],
)
def test_what_fits_passes(dataset, sections):
    Experiment.model_validate({"dataset": dataset} | sections).check()


@pytest.mark.parametrize(
    ("dataset", "sections", "message"),
    [
        (CRITEO, {"model": {"type": "two_tower"}}, "task retrieval, but the task of the data is click. Set model.type"),
        (MOVIELENS_100K_RETRIEVAL, {}, r"the task of the data is retrieval. Set model.type to two_tower, or data.task"),
        (
            MOVIELENS_100K,
            {"model": {"type": "dlrm", "ignore": ["age", "release_year"]}},
            "dlrm reads numeric columns .* take one out of model.ignore, or set model.type to dcn, final_mlp",
        ),
        (MOVIELENS_100K, {"embeddings": {"tables": {"genres": {"dim": 4}}}}, "need one width; got .*'genres': 4"),
        (
            MOVIELENS_100K,
            {"model": {"type": "wide_deep"}, "embeddings": {"dim": 1}},
            "at least 2 wide.*Raise emb",
        ),
        (
            MOVIELENS_100K,
            {"embeddings": {"features": {"genres": {"max_sequence_length": 3}}}},
            r"takes no sequences; set max_sequence_length of \['genres'\] to 0",
        ),
        (
            MOVIELENS_100K_RETRIEVAL,
            {"model": {"type": "two_tower"}, "training": {"jit_compile": True}},
            "two_tower does not take training.jit_compile; leave it out",
        ),
        (
            MOVIELENS_100K,
            {"export": {"route": "subset", "features": ["age"]}},
            "no categorical column age",
        ),
        (MOVIELENS_100K, {"model": {"ignore": ["agee"]}}, "model.ignore: unknown name 'agee'. Did you mean age"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(dataset, sections, message):
    with pytest.raises(ConfigError, match=message):
        Experiment.model_validate({"dataset": dataset} | sections).check()


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"profile_steps": [20, 10]}, r"profile_steps: \[20, 10\] is no range"),
        ({"profile_steps": [0, 10]}, "steps count from 1"),
        ({"profile_steps": [20, 30], "steps": 10}, r"begins after training.steps=10"),
        ({"tpu": "local", "strategy": "cpu"}, "training.strategy is cpu; take auto or tpu"),
        ({"strategy": "tpu", "eval_batch_size": 8}, "takes one batch size; leave it out"),
        (
            {"embedding_optimizer": {"name": "adamw", "learning_rate": 0.1}},
            "adamw is for training.dense_opt",
        ),
        ({"embedding_optimizer": {"name": "sgd_momentum", "learning_rate": 0.1}}, "tables take sgd, adagrad, "),
        (
            {"dense_optimizer": {"name": "adamx", "learning_rate": 0.1}},
            "is called adamx. Did you mean adam",
        ),
        ({"dense_optimizer": {"learning_rate": 0.1}}, "name"),
    ],
)
def test_trainings_that_contradict_themselves_are_refused(training, message):
    with pytest.raises(ValidationError, match=message):
        TrainingConfig.model_validate(training)


def test_it_travels_as_json():
    experiment = Experiment.model_validate(
        {
            "dataset": MOVIELENS_100K.model_copy(update={"label_range": None}),
            "training": {"dense_optimizer": {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}},
        }
    )
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_training_does_not_see_where_files_lie():
    elsewhere = MOVIELENS_100K.model_copy(update={"schema_file": "/elsewhere/s.pbtxt", "directory": "x", "slices": ()})
    assert elsewhere.for_training() == MOVIELENS_100K.for_training()
    renamed = MOVIELENS_100K.model_copy(update={"item_key": "title"})
    assert renamed.for_training() != MOVIELENS_100K.for_training()


def test_the_check_does_not_import_tensorflow():
    code = (
        "import sys; from trainer_module.data.datasets.criteo import CRITEO; "
        "from trainer_module.experiment import Experiment; "
        "Experiment(dataset=CRITEO.spec(), model={'type': 'dlrm'}).check(); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
