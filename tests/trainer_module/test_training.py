"""Model, loop and export on a dataset whose ratings follow an exact rule."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError, ModelError
from trainer_module.models.config import RatingModelConfig
from trainer_module.optimizers.config import Adam, Sgd
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import make_strategy
from trainer_module.training.loop import TrainingLoop

from .conftest import NUM_EXAMPLES, SPEC, batch_of, rows

MODEL = RatingModelConfig(mlp=(16,), dropout=0.0, embedding_l2=0.0, biases="learned")
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


class Enough(Exception):
    pass


def test_an_observer_sees_every_evaluation_and_may_end_the_training(world, trained, tmp_path):
    seen = []

    def observe(evaluation):
        seen.append(evaluation)
        if len(seen) == 3:
            raise Enough

    with pytest.raises(Enough):
        make_loop(world, str(tmp_path)).fit(world.reader(), world.reader(), observe=observe)
    steps_per_epoch = NUM_EXAMPLES // TRAINING.batch_size
    assert [evaluation.step for evaluation in seen] == [steps_per_epoch, 2 * steps_per_epoch, 3 * steps_per_epoch]
    assert {evaluation.metric for evaluation in seen} == {"rmse"}
    assert seen[0].value > seen[2].value > trained[1].metrics["rmse"]


def test_the_best_weights_are_restored_and_kept(world, trained):
    loop, result = trained
    assert loop.evaluate(world.reader()) == pytest.approx(result.metrics)
    assert Path(f"{result.checkpoint}.index").is_file()
    assert result.best_step % (NUM_EXAMPLES // TRAINING.batch_size) == 0


def test_an_evaluation_chooses_how_much_of_a_correction_is_believed(world, tmp_path):
    training = TRAINING.model_copy(update={"epochs": 2})
    tf.keras.utils.set_random_seed(training.seed)
    strategy = make_strategy(training)
    config = MODEL.model_copy(update={"biases": "fitted"})
    model, optimizer = world.blueprint(config, training, EMBEDDINGS).for_training(strategy, 2.5)
    loop = TrainingLoop(strategy, model, optimizer, training, f"{tmp_path}/checkpoints", str(tmp_path))
    result = loop.fit(world.reader(), world.reader())
    assert loop.evaluate(world.reader()) == pytest.approx(result.metrics)
    kept = tf.train.load_checkpoint(result.checkpoint).get_tensor("model/_head/shrinkage/.ATTRIBUTES/VARIABLE_VALUE")
    labels = np.array([row["rating"][0] for row in rows()])[order(world)]
    model.shrink(0.0)
    baseline = loop.predict(world.reader(), NUM_EXAMPLES)
    np.testing.assert_array_equal(baseline, 2.5)
    model.shrink(1.0)
    correction = loop.predict(world.reader(), NUM_EXAMPLES) - baseline
    fitted = correction @ (labels - baseline) / (correction @ correction)
    assert 0 < kept <= min(fitted, 1) + 1e-4


def test_metrics_are_those_of_numpy(world, trained):
    loop, result = trained
    labels = np.array([row["rating"][0] for row in rows()])
    error = loop.predict(world.reader(), NUM_EXAMPLES) - labels[order(world)]
    assert result.metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-4)
    assert result.metrics["mae"] == pytest.approx(float(np.mean(np.abs(error))), rel=1e-4)


def order(world) -> list[int]:
    """Positions, in `rows()`, of the reader's examples."""
    waiting: dict[str, list[int]] = {}
    for position, row in enumerate(batch_of(rows()).to_pylist()):
        waiting.setdefault(str(row), []).append(position)
    return [waiting[str(row)].pop(0) for row in world.reader().head(NUM_EXAMPLES, SPEC.columns).to_pylist()]


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
    last = still.model_copy(update={"keep": "last", "epochs": 5})
    result = make_loop(world, str(tmp_path / "last"), last).fit(world.reader(), world.reader())
    assert result.steps == result.best_step == 5 * (NUM_EXAMPLES // TRAINING.batch_size)


def test_a_loss_that_is_not_finite_stops_and_names_the_steps(world, tmp_path):
    wild = TRAINING.model_copy(update={"dense_optimizer": Sgd(learning_rate=1e30)})
    with pytest.raises(ModelError, match=r"not finite at step 2; there was no checkpoint yet\. Lower training\."):
        make_loop(world, str(tmp_path), wild).fit(world.reader(), world.reader())


@pytest.mark.parametrize("steps", [5, 25])
def test_so_many_steps_are_taken_whatever_the_epochs(world, tmp_path, steps):
    training = TRAINING.model_copy(update={"steps": steps, "epochs": 1})
    result = make_loop(world, str(tmp_path), training).fit(world.reader(), world.reader())
    assert result.steps == steps
    assert result.best_step <= steps


@pytest.mark.parametrize("cache", ["features", "records"])
def test_a_batch_larger_than_the_split_sees_its_rows_again(world, tmp_path, caplog, cache):
    training = TRAINING.model_copy(update={"batch_size": 2 * NUM_EXAMPLES, "epochs": 2, "cache": cache})
    with caplog.at_level("WARNING", "trainer_module"):
        result = make_loop(world, str(tmp_path), training).fit(world.reader(), world.reader())
    assert result.steps == 2
    assert f"training.batch_size={2 * NUM_EXAMPLES} exceeds the {NUM_EXAMPLES} examples" in caplog.text


def test_predictions_stay_in_the_rating_range_and_the_loss_does_not_hide_it(world):
    model, _ = world.blueprint(MODEL, TRAINING, EMBEDDINGS).for_training(tf.distribute.get_strategy(), 9.0)
    features = world.reader().features(batch_of(rows()[:1]))
    assert float(model(features)[0]) == 4.0
    assert float(model.per_example_loss(features, tf.constant([4.0]), SEED)[0]) > 1.0


def test_tables_of_different_widths_are_refused_by_name(world):
    with pytest.raises(ConfigError, match=r"'user': 4.*'tags': 2.*embeddings\.dim"):
        world.blueprint(MODEL, TRAINING, EmbeddingsConfig(dim=4)).experiment.check()


def test_regularization_adds_the_squared_norm_of_the_rows(world):
    features = world.reader().features(batch_of(rows()[:3]))
    plain, regularized = build(world), build(world, MODEL.model_copy(update={"embedding_l2": 0.5}))
    plain(features), regularized(features)
    regularized.set_weights(plain.get_weights())
    looked_up = plain.embedding({name: ids for name, ids in features.items() if name != "year"})
    norm = sum(np.sum(np.square(value.numpy().reshape(3, -1)), axis=1) for value in looked_up.values())
    ratings = tf.constant([1.0, 2.0, 3.0])
    difference = regularized.per_example_loss(features, ratings, SEED) - plain.per_example_loss(features, ratings, SEED)
    np.testing.assert_allclose(difference, 0.5 * norm, rtol=1e-4)


ONE_EPOCH = TRAINING.model_copy(update={"epochs": 1})


def weights_after(world, directory, **changes) -> list[np.ndarray]:
    """Weights after an epoch; names play no part, since Keras counts them up."""
    loop = make_loop(world, str(directory), ONE_EPOCH.model_copy(update=changes))
    loop.fit(world.reader(), world.reader())
    return [variable.numpy() for variable in loop._model.variables]


@pytest.fixture(scope="module")
def plain_weights(world, tmp_path_factory) -> list[np.ndarray]:
    return weights_after(world, tmp_path_factory.mktemp("plain"))


def test_the_number_of_steps_per_call_changes_nothing(world, plain_weights, tmp_path):
    for one, other in zip(plain_weights, weights_after(world, tmp_path, steps_per_loop=3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_checkpoints_written_in_the_background_are_the_same(world, tmp_path):
    in_memory = weights_after(world, tmp_path, async_checkpoints=True, steps_per_loop=2, checkpoint_every=2)
    written = tf.train.load_checkpoint(str(tmp_path / "checkpoints"))
    (table,) = (weights for weights in in_memory if weights.shape == (21, 2))
    np.testing.assert_array_equal(
        written.get_tensor("model/embedding/_tpu_embedding/user/.ATTRIBUTES/VARIABLE_VALUE"), table
    )


def test_so_many_checkpoints_are_kept(world, tmp_path):
    weights_after(world, tmp_path, checkpoint_every=2, steps_per_loop=1, keep_checkpoints=3)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("ckpt-*.index"))
    assert kept == ["ckpt-10.index", "ckpt-6.index", "ckpt-8.index"]
    assert len(list((tmp_path / "checkpoints").glob("best-*.index"))) == 1


def test_the_compiled_dense_part_trains_the_same(world, plain_weights, tmp_path):
    compiled = weights_after(world, tmp_path, jit_compile=True)
    for one, other in zip(plain_weights, compiled, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_bfloat16_is_for_the_arithmetic_of_the_dense_part_only(world, plain_weights, tmp_path):
    half = weights_after(world, tmp_path, precision="bfloat16")
    assert {weights.dtype for weights in half} == {np.dtype("float32")}
    for one, other in zip(plain_weights, half, strict=True):
        # In the mean: Adam's steps have one length, so a weight whose gradient is almost 0 may go the other way.
        assert np.mean(np.abs(one - other)) < 0.02
    assert any(not np.array_equal(one, other) for one, other in zip(plain_weights, half, strict=True))


def test_evaluations_come_at_the_steps_asked_for(world, tmp_path, caplog):
    with caplog.at_level("INFO", "trainer_module.training.loop"):
        weights_after(world, tmp_path, evaluate_every=4)
    # TensorFlow's own messages are there too, once another test has turned them on.
    said = [record.getMessage() for record in caplog.records if record.name == "trainer_module.training.loop"]
    assert [message.split(":")[0] for message in said] == ["step 4", "step 8", "step 10"]


def test_a_profile_of_some_steps_is_written(world, tmp_path):
    weights_after(world, tmp_path, steps_per_loop=2, profile_steps=(3, 6))
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


def test_a_non_finite_loss_keeps_the_last_good_checkpoint(world, tmp_path):
    """The update of step 14 ruins the weights, after the checkpoint of step 10."""
    config = TRAINING.model_copy(update={"steps_per_loop": 2, "checkpoint_every": 5})
    config = TrainingConfig.model_validate(
        config.model_dump()
        | {"dense_optimizer": {"name": "sgd", "learning_rate": {"function": f"{__name__}.explodes"}}}
    )
    with pytest.raises(ModelError, match=r"not finite at step 15; the checkpoint of step 10 is kept"):
        make_loop(world, str(tmp_path), config).fit(world.reader(), world.reader())
    assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")).endswith("ckpt-10")


def explodes(step: tf.Tensor) -> tf.Tensor:
    return tf.where(step < 13, 0.001, 1e30)
