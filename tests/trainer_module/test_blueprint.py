"""What the Trainer says about tables whose optimizer costs more than all else."""

import logging

import pytest
import tensorflow as tf

from tests.trainer_module.conftest import described
from trainer_module import blueprint
from trainer_module.blueprint import Blueprint
from trainer_module.data.features import Categorical, FeatureSpec, Label, Table
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.experiment import Experiment
from trainer_module.models.config import RatingModelConfig
from trainer_module.models.objectives import Rating
from trainer_module.training.config import TrainingConfig

SPEC = FeatureSpec(
    columns=(Categorical(name="user", table="user"), Categorical(name="item", table="item"), Label(name="rating")),
    tables=(Table(name="user"), Table(name="item")),
)


def warnings(caplog, embeddings: dict, training: dict) -> list[str]:
    experiment = Experiment(
        dataset=described(SPEC),
        model=RatingModelConfig(),
        embeddings=EmbeddingsConfig(dim=2, **embeddings),
        training=TrainingConfig(strategy="cpu", **training),
    )
    spec = experiment.features(SPEC)
    made = Blueprint(experiment, spec, {"user": 5, "item": 3}, Rating((1.0, 5.0)))
    with caplog.at_level(logging.WARNING):
        made.for_training(tf.distribute.get_strategy(), 3.0)
    return [record.getMessage() for record in caplog.records if "adam" in record.getMessage()]


@pytest.fixture(autouse=True)
def few_rows_are_many(monkeypatch):
    monkeypatch.setattr(blueprint, "_MANY_ROWS", 4)


def test_adam_on_a_large_table_is_named_with_the_way_out(caplog):
    (warning,) = warnings(caplog, {}, {})
    assert warning == (
        "training.embedding_optimizer is adam, which updates all 5 rows of table 'user' in every step where there is "
        "no TPU; lazy_adam updates those that the step looks up"
    )


def test_the_key_is_that_of_the_table_if_it_has_its_own_optimizer(caplog):
    tables = {"user": {"optimizer": {"name": "adam", "learning_rate": 0.1}}}
    (warning,) = warnings(caplog, {"tables": tables}, {"embedding_optimizer": {"name": "sgd", "learning_rate": 0.1}})
    assert warning.startswith("embeddings.tables.user.optimizer is adam")


def test_lazy_adam_is_not_warned_of(caplog):
    assert not warnings(caplog, {}, {"embedding_optimizer": {"name": "lazy_adam", "learning_rate": 0.1}})
