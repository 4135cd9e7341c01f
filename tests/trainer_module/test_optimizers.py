import math

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.layer import embedding_layer, feature_configs
from trainer_module.errors import ConfigError
from trainer_module.optimizers.config import (
    DENSE_OPTIMIZERS,
    EMBEDDING_OPTIMIZERS,
    Adagrad,
    Adam,
    AdamW,
    LazyAdam,
    RateFunction,
    Sgd,
    SgdMomentum,
    WarmupDecay,
)
from trainer_module.optimizers.keras import RULES, make_optimizer, make_rate, scheduled
from trainer_module.optimizers.tpu import tpu_optimizer
from trainer_module.training.config import TrainingConfig
from trainer_module.training.split_optimizer import SplitOptimizer

ROWS = {"user": 4, "item": 4, "tags": 4}


def step_variable(value: int = 0) -> tf.Variable:
    return tf.Variable(value, dtype=tf.int64)


def split(rates: dict[str, float], dense_rate: float, clip_norm: float | None = None) -> SplitOptimizer:
    step = step_variable()
    of_table = {name: make_optimizer(Sgd(learning_rate=rate), step) for name, rate in rates.items()}
    return SplitOptimizer(step, of_table, make_optimizer(Sgd(learning_rate=dense_rate), step), clip_norm)


def test_each_optimizer_updates_its_own_variables():
    user, item, kernel = (tf.Variable([1.0]) for _ in range(3))
    optimizer = split({"user": 0.5, "item": 0.125}, dense_rate=0.25)
    gradients = [tf.constant([1.0])] * 3
    optimizer.apply(gradients, [kernel, user, item], {"user": user, "item": item})
    assert [v.numpy().item() for v in (user, item, kernel)] == [0.5, 0.875, 0.75]
    assert optimizer.step.numpy() == 1


def test_only_the_dense_gradient_is_clipped():
    table, kernel = tf.Variable([1.0, 1.0]), tf.Variable([1.0, 1.0])
    gradient = tf.constant([3.0, 4.0])  # of norm 5
    split({"user": 1.0}, 1.0, clip_norm=2.5).apply([gradient, gradient], [kernel, table], {"user": table})
    np.testing.assert_allclose(kernel, [1 - 1.5, 1 - 2.0])
    np.testing.assert_allclose(table, [1 - 3.0, 1 - 4.0])


def test_tables_with_one_description_share_an_optimizer(world):
    config = EmbeddingsConfig(tables={"item": {"optimizer": {"name": "ftrl", "learning_rate": 0.3}}})
    of_table = SplitOptimizer.create(config.applied_to(world.spec), TrainingConfig()).of_table
    assert of_table["user"] is of_table["tags"]
    assert of_table["item"] is not of_table["user"]


@pytest.mark.parametrize("name", EMBEDDING_OPTIMIZERS)
def test_every_optimizer_trains_a_table_and_has_the_slots_it_declares(world, name):
    facts = EMBEDDING_OPTIMIZERS[name]
    optimizer = SplitOptimizer.create(world.spec, TrainingConfig(embedding_optimizer=facts(learning_rate=0.1)))
    config = EmbeddingsConfig(dim=2)
    layer = embedding_layer(feature_configs(world.spec, ROWS, config, optimizer.of_table), world.spec, config)
    ids = {name: tf.constant([[1], [2]]) for name in ("user", "item", "main_tag")}
    ids["tags"] = tf.sparse.from_dense([[1, 2], [0, 3]])
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(rows) for rows in layer(ids).values()])
    before = {name: table.numpy() for name, table in layer.trainable_tables.items()}
    variables = layer.trainable_variables
    optimizer.apply(tape.gradient(loss, variables), variables, layer.trainable_tables)
    user = layer.trainable_tables["user"]
    np.testing.assert_array_equal(user[0], before["user"][0])
    assert np.all(user[1] < before["user"][1])
    keras = optimizer.of_table["user"]
    assert len(keras.get_slot_names()) == len(facts.slots)


def test_gradients_and_variables_must_be_as_many():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        split({}, 0.1).apply([tf.constant(1.0)], [tf.Variable(1.0), tf.Variable(2.0)], {})


@pytest.mark.parametrize(
    ("shape", "at_half", "at_end"),
    [
        ("constant", 8, 8),
        ("linear", 5, 2),
        ("cosine", 5, 2),
        ("inverse_sqrt", 8 / math.sqrt(1.5), 8 / math.sqrt(2)),
    ],
)
def test_schedules_by_hand(shape, at_half, at_end):
    rate = WarmupDecay(peak=8, warmup_steps=4, shape=shape, decay_steps=10, floor=2)
    values = [float(scheduled(rate, tf.constant(step, tf.int64))) for step in (0, 1, 3, 4, 9, 14)]
    assert values == pytest.approx([2, 4, 8, 8, at_half, at_end])


def test_a_schedule_follows_the_step():
    step = step_variable()
    optimizer = make_optimizer(Sgd(learning_rate=WarmupDecay(peak=1, warmup_steps=2)), step)
    variable = tf.Variable(0.0)
    for expected in (-0.5, -1.5, -2.5):
        optimizer.apply_gradients([(tf.constant(1.0), variable)])
        step.assign_add(1)
        assert float(variable) == expected


def hundredth(step: tf.Tensor) -> tf.Tensor:
    return tf.cast(step, tf.float64) / 100


def test_a_function_of_ones_own_gives_the_rate():
    rate = make_rate(RateFunction(function=f"{__name__}.hundredth"), step_variable(7))
    assert float(rate()) == pytest.approx(0.07)


def test_a_function_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"learning_rate\.function: .*\.training\.loop\.none cannot be imported"):
        make_rate(RateFunction(function="trainer_module.training.loop.none"), step_variable())


@pytest.mark.parametrize("name", ["system", "pi", "tf"])
def test_what_a_module_has_only_imported_is_not_called(tmp_path, monkeypatch, name):
    (tmp_path / "rates_of_tests.py").write_text("from math import pi\nfrom os import system\nimport tensorflow as tf\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=rf"rates_of_tests\.{name} is no function that is defined in rates_of_tests"):
        make_rate(RateFunction(function=f"rates_of_tests.{name}"), step_variable())


def test_a_traced_function_of_ones_own_gives_the_rate(tmp_path, monkeypatch):
    (tmp_path / "traced_rates.py").write_text(
        "import tensorflow as tf\n@tf.function\ndef half(step):\n    return tf.cast(step, tf.float32) / 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert float(make_rate(RateFunction(function="traced_rates.half"), step_variable(3))()) == 1.5


def test_learning_rates_are_reported_by_table():
    rates = split({"user": 0.5}, 0.25).learning_rates()
    assert {name: float(rate) for name, rate in rates.items()} == {"user": 0.5, "dense": 0.25}


@pytest.mark.parametrize(
    ("optimizer", "argument", "message"),
    [(Sgd, "momentum", "adagrad_momentum"), (Adagrad, "epsilon", "initial_accumulator"), (Adam, "amsgrad", "variant")],
)
def test_what_a_tpu_cannot_do_is_refused_with_the_reason(optimizer, argument, message):
    with pytest.raises(ValueError, match=f"{argument} is not supported: .*{message}"):
        optimizer(learning_rate=0.1, **{argument: 0.5})


def test_an_unknown_optimizer_is_refused_by_name():
    with pytest.raises(ValueError, match=r"rmsprop.*Known: sgd, adagrad, adagrad_momentum, adam, lazy_adam, ftrl "):
        TrainingConfig(embedding_optimizer={"name": "rmsprop", "learning_rate": 0.1})


def after_steps(optimizer, start: list, gradients: list[list]) -> np.ndarray:
    variable = tf.Variable(start)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    return variable.numpy()


@pytest.mark.parametrize(
    ("nesterov", "expected"),
    [
        # v = 1, then 0.5 * 1 + 1 = 1.5; w = -0.1 * (1 + 1.5).
        (False, -0.25),
        # Each step looks ahead: 0.5 * 1 + 1 = 1.5, then 0.5 * 1.5 + 1 = 1.75; w = -0.1 * (1.5 + 1.75).
        (True, -0.325),
    ],
)
def test_momentum_of_the_dense_part_by_hand(nesterov, expected):
    config = SgdMomentum(learning_rate=0.1, momentum=0.5, nesterov=nesterov)
    optimizer = make_optimizer(config, step_variable())
    assert after_steps(optimizer, [0.0], [[1.0], [1.0]]) == pytest.approx([expected])


def test_adamw_takes_its_decay_off_before_adam_steps():
    config = AdamW(learning_rate=0.1, weight_decay=0.5, epsilon=1e-12)
    # Decay: 2 - 0.1 * 0.5 * 2 = 1.9; Adam's first step is the rate, whatever the gradient.
    kernel = after_steps(make_optimizer(config, step_variable()), [[2.0]], [[[3.0]]])
    assert kernel == pytest.approx(np.array([[1.8]]), rel=1e-5)
    bias = after_steps(make_optimizer(config, step_variable()), [2.0], [[3.0]])
    assert bias == pytest.approx([1.9], rel=1e-5)


def test_the_decay_of_adamw_follows_the_schedule():
    step = step_variable()
    config = AdamW(learning_rate=WarmupDecay(peak=1, warmup_steps=2), weight_decay=0.5, epsilon=1e-12)
    optimizer, variable = make_optimizer(config, step), tf.Variable([[2.0]])
    # A gradient of 0 leaves the decay alone: 2 * (1 - 0.5 * 0.5), then times 1 - 1 * 0.5.
    for expected in (1.5, 0.75):
        optimizer.apply_gradients([(tf.constant([[0.0]]), variable)])
        step.assign_add(1)
        assert variable.numpy() == pytest.approx(np.array([[expected]]))


def test_adamw_without_decay_is_adam():
    configs = Adam(learning_rate=0.1), AdamW(learning_rate=0.1, weight_decay=0.0)
    gradients = [[[1.0, -2.0]], [[0.5, 0.1]]]
    found, same = (after_steps(make_optimizer(each, step_variable()), [[1.0, 1.0]], gradients) for each in configs)
    np.testing.assert_array_equal(found, same)


def test_lazy_adam_changes_only_the_rows_of_a_step():
    step = step_variable()
    lazy, dense = make_optimizer(LazyAdam(learning_rate=0.1), step), make_optimizer(Adam(learning_rate=0.1), step)
    tables = [tf.Variable([[1.0], [1.0], [1.0]]) for _ in range(2)]
    # The second step looks up row 0 twice, whose gradients add up, and row 2.
    for gradient, rows in (([[1.0], [3.0]], [0, 1]), ([[0.5], [0.5], [2.0]], [0, 0, 2])):
        for optimizer, table in zip((lazy, dense), tables, strict=True):
            slices = tf.IndexedSlices(tf.constant(gradient), tf.constant(rows), tf.constant([3, 1]))
            optimizer.apply_gradients([(slices, table)])
    found, all_rows = (table.numpy()[:, 0] for table in tables)
    # Both rows of the first step moved by the rate; row 1 then rests, where Adam's moments carry it on.
    assert found[1] == pytest.approx(0.9, rel=1e-5)
    assert all_rows[1] < 0.85
    # A row of every step is Adam's.
    assert found[0] == pytest.approx(all_rows[0], rel=1e-6)


def test_lazy_adam_is_adam_where_gradients_are_dense():
    gradients = [[[1.0, -2.0]], [[0.5, 0.1]]]
    found, same = (
        after_steps(make_optimizer(each(learning_rate=0.1), step_variable()), [[1.0, 1.0]], gradients)
        for each in (LazyAdam, Adam)
    )
    np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("name", DENSE_OPTIMIZERS)
def test_every_optimizer_is_in_the_table_and_names_its_slots(name):
    facts = DENSE_OPTIMIZERS[name]
    optimizer = make_optimizer(facts(learning_rate=0.1), step_variable())
    assert type(optimizer) is RULES[facts].keras
    optimizer.apply_gradients([(tf.constant([[1.0]]), tf.Variable([[1.0]]))])
    assert len(optimizer.get_slot_names()) == len(facts.slots)
    assert (RULES[facts].tpu is not None) == (name in EMBEDDING_OPTIMIZERS)
    assert type(optimizer).from_config(optimizer.get_config()).get_config() == optimizer.get_config()


def test_an_engine_has_no_adamw():
    with pytest.raises(ConfigError, match=r"TPUs have no embedding optimizer like .*AdamW; choose one of sgd"):
        tpu_optimizer(make_optimizer(AdamW(learning_rate=0.1), step_variable()))
