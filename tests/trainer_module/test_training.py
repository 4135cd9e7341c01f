"""Model, loop and export on a dataset whose ratings follow an exact rule."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.distribution import make_strategy
from trainer_module.errors import ConfigError, ModelError
from trainer_module.experiment import EmbeddingsConfig, RatingModelConfig, TrainingConfig
from trainer_module.loop import TrainingLoop
from trainer_module.optimization import Adam, Sgd

from .conftest import NUM_EXAMPLES, rows, serialize

MODEL = RatingModelConfig(mlp=(16,), dropout=0.0, embedding_l2=0.0)
EMBEDDINGS = EmbeddingsConfig(dim=2, initializer={"name": "truncated_normal", "stddev": 0.3})
ADAM = Adam(learning_rate=0.02)
TRAINING = TrainingConfig(
    batch_size=100, eval_batch_size=300, epochs=12, patience=12, embedding_optimizer=ADAM, dense_optimizer=ADAM
)
SEED = tf.constant([1, 2])


def build(world, model: RatingModelConfig = MODEL):
    return world.blueprint(model, TRAINING, EMBEDDINGS).for_training(tf.distribute.get_strategy(), 0.0)[0]


def make_loop(world, directory: str, training: TrainingConfig = TRAINING) -> TrainingLoop:
    tf.keras.utils.set_random_seed(training.seed)
    strategy = make_strategy(training)
    model, optimizer = world.blueprint(MODEL, training, EMBEDDINGS).for_training(strategy, 2.5)
    return TrainingLoop(strategy, model, optimizer, training, f"{directory}/checkpoints", directory)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    loop = make_loop(world, str(tmp_path_factory.mktemp("training")))
    return loop, loop.fit(world.reader(), world.reader())


def test_the_rule_is_learned(trained):
    _, result = trained
    assert result.metrics["rmse"] < 0.1
    assert result.metrics["mae"] <= result.metrics["rmse"]


def test_the_best_weights_are_restored_and_kept(world, trained):
    loop, result = trained
    assert loop.evaluate(world.reader()) == pytest.approx(result.metrics)
    assert Path(f"{result.checkpoint}.index").is_file()
    assert result.best_step % (NUM_EXAMPLES // TRAINING.batch_size) == 0


def test_metrics_are_those_of_numpy(world, trained):
    loop, result = trained
    labels = np.array([row["rating"][0] for row in rows()])
    error = loop.predict(world.reader(), NUM_EXAMPLES) - labels[order(world)]
    assert result.metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-4)
    assert result.metrics["mae"] == pytest.approx(float(np.mean(np.abs(error))), rel=1e-4)


def order(world) -> list[int]:
    """Positions, in `rows()`, of the reader's examples."""
    waiting: dict[bytes, list[int]] = {}
    for position, row in enumerate(rows()):
        waiting.setdefault(serialize(row), []).append(position)
    return [waiting[record].pop(0) for record in world.reader().head(NUM_EXAMPLES)]


def test_training_is_repeatable(world, trained, tmp_path):
    _, result = trained
    again = make_loop(world, str(tmp_path)).fit(world.reader(), world.reader())
    assert again.metrics == result.metrics


def test_tensorboard_gets_its_scalars(world, trained, tmp_path):
    make_loop(world, str(tmp_path), TRAINING.model_copy(update={"epochs": 1})).fit(world.reader(), world.reader())
    (events,) = tmp_path.glob("events.*")
    tags = {v.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for v in event.summary.value}
    tables = ("user", "item", "tags")
    expected = {"loss", "examples_per_second", "input_bound_percent", "eval/rmse", "eval/mae", "learning_rate/dense"}
    expected |= {f"learning_rate/{table}" for table in tables} | {f"row_norm/{table}" for table in tables}
    assert tags == expected


def test_training_stops_when_nothing_improves(world, tmp_path):
    still = TRAINING.model_copy(
        update={
            "patience": 2,
            "embedding_optimizer": Sgd(learning_rate=1e-30),
            "dense_optimizer": Sgd(learning_rate=1e-30),
        }
    )
    result = make_loop(world, str(tmp_path), still).fit(world.reader(), world.reader())
    assert result.best_step == NUM_EXAMPLES // TRAINING.batch_size
    assert result.steps == 3 * result.best_step


def test_a_loss_that_is_not_finite_stops_and_names_the_steps(world, tmp_path):
    wild = TRAINING.model_copy(update={"dense_optimizer": Sgd(learning_rate=1e30)})
    with pytest.raises(ModelError, match=r"not finite at step 2; there was no checkpoint yet\. Lower training\."):
        make_loop(world, str(tmp_path), wild).fit(world.reader(), world.reader())


def test_a_batch_larger_than_the_split_is_refused(world, tmp_path):
    with pytest.raises(ModelError, match=r"training\.batch_size=2000 exceeds the 1000 examples"):
        make_loop(world, str(tmp_path), TRAINING.model_copy(update={"batch_size": 2000})).fit(
            world.reader(), world.reader()
        )


def test_predictions_stay_in_the_rating_range_and_the_loss_does_not_hide_it(world):
    model, _ = world.blueprint(MODEL, TRAINING, EMBEDDINGS).for_training(tf.distribute.get_strategy(), 9.0)
    features = world.reader().features(tf.constant([serialize(rows()[0])]))
    assert float(model(features)[0]) == 4.0
    assert float(model.per_example_loss(features, tf.constant([4.0]), SEED)[0]) > 1.0


def test_tables_of_different_widths_are_refused_by_name(world):
    with pytest.raises(ConfigError, match=r"'user': 4.*'tags': 2.*embeddings\.dim"):
        world.blueprint(MODEL, TRAINING, EmbeddingsConfig(dim=4)).for_serving()


def test_regularization_adds_the_squared_norm_of_the_rows(world):
    features = world.reader().features(tf.constant([serialize(row) for row in rows()[:3]]))
    plain, regularized = build(world), build(world, MODEL.model_copy(update={"embedding_l2": 0.5}))
    plain(features), regularized(features)
    regularized.set_weights(plain.get_weights())
    looked_up = plain.embedding({name: ids for name, ids in features.items() if name != "year"})
    norm = sum(np.sum(np.square(value.numpy().reshape(3, -1)), axis=1) for value in looked_up.values())
    ratings = tf.constant([1.0, 2.0, 3.0])
    difference = regularized.per_example_loss(features, ratings, SEED) - plain.per_example_loss(features, ratings, SEED)
    np.testing.assert_allclose(difference, 0.5 * norm, rtol=1e-4)
