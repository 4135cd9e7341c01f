import numpy as np
import pytest
import tensorflow as tf

from trainer_module.optimizers.adagrad_momentum import AdagradMomentum


def train(optimizer: AdagradMomentum, gradients: list[float], start: float = 1.0) -> tf.Variable:
    weight = tf.Variable(start)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), weight)])
    return weight


def slots(optimizer: AdagradMomentum, variable: tf.Variable) -> tuple[np.ndarray, np.ndarray]:
    return optimizer.get_slot(variable, "accumulator").numpy(), optimizer.get_slot(variable, "momentum").numpy()


def test_the_first_step_divides_the_gradient_by_its_size():
    optimizer = AdagradMomentum(0.5)
    assert float(train(optimizer, [4.0])) == pytest.approx(1 - 0.5 * 4 / np.sqrt(16))


def test_the_accumulator_adds_squares_up():
    optimizer = AdagradMomentum(1.0)
    # After 3 and 4 the accumulator is 9, then 25; the steps are 3/3 and 4/5.
    weight = train(optimizer, [3.0, 4.0])
    assert float(weight) == pytest.approx(1 - 1 - 0.8)
    assert slots(optimizer, weight) == pytest.approx((25.0, 0.8))


def test_momentum_keeps_its_share():
    optimizer = AdagradMomentum(1.0, momentum=0.5)
    # Scaled gradients 1 and 0.8; momenta 1 and 0.5 * 1 + 0.8 = 1.3.
    weight = train(optimizer, [3.0, 4.0])
    assert float(weight) == pytest.approx(1 - 1 - 1.3)
    assert slots(optimizer, weight) == pytest.approx((25.0, 1.3))


def test_nesterov_looks_one_step_ahead():
    # Steps 0.5 * 1 + 1 = 1.5 and 0.5 * 1.3 + 0.8 = 1.45.
    assert float(train(AdagradMomentum(1.0, momentum=0.5, use_nesterov=True), [3.0, 4.0])) == pytest.approx(1 - 2.95)


def test_beta2_averages_the_squares():
    optimizer = AdagradMomentum(1.0, beta2=0.75)
    # Accumulators 0.25 * 16 = 4, then 0.75 * 4 + 0.25 * 4 = 4; steps 4 / 2 and 2 / 2.
    weight = train(optimizer, [4.0, 2.0])
    assert float(weight) == pytest.approx(1 - 3)
    assert slots(optimizer, weight)[0] == pytest.approx(4)


def test_the_exponent_is_the_root_and_epsilon_is_under_it():
    # (2^2 + 4)^(1/3) = 2, and 2 / 2 = 1.
    assert float(train(AdagradMomentum(1.0, exponent=3, epsilon=4), [2.0])) == pytest.approx(0)


def test_a_sparse_gradient_touches_its_rows_alone_and_adds_repeated_ones_up():
    optimizer = AdagradMomentum(1.0, momentum=0.5)
    table = tf.Variable([[1.0], [1.0], [1.0]])
    optimizer.apply_gradients([(tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([0, 0, 2])), table)])
    optimizer.apply_gradients([(tf.IndexedSlices(tf.constant([[4.0]]), tf.constant([0])), table)])
    # Row 0 sees 1 + 2 = 3 and then 4, row 2 sees 4 and keeps its momentum for the next time.
    np.testing.assert_allclose(table, [[1 - 1 - 1.3], [1], [1 - 1]], atol=1e-6)
    accumulator, momentum = slots(optimizer, table)
    np.testing.assert_allclose(accumulator, [[25], [0], [16]])
    np.testing.assert_allclose(momentum, [[1.3], [0], [1]], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "use_nesterov": True, "beta2": 0.9, "exponent": 2.5}])
def test_sparse_and_dense_gradients_agree_where_all_rows_are_touched(options):
    random = np.random.default_rng(0)
    tables = [tf.Variable(tf.ones([3, 2])) for _ in range(2)]
    for _ in range(4):
        gradient = tf.constant(random.normal(size=[3, 2]), tf.float32)
        sparse = tf.IndexedSlices(tf.gather(gradient, [2, 0, 1]), tf.constant([2, 0, 1]))
        for table, value in zip(tables, (gradient, sparse), strict=True):
            AdagradMomentum(0.1, **options).apply_gradients([(value, table)])
    np.testing.assert_allclose(*tables, rtol=1e-6)


def test_without_momentum_it_is_adagrad():
    ours, theirs = AdagradMomentum(0.3), tf.keras.optimizers.legacy.Adagrad(0.3, initial_accumulator_value=0.0)
    weights = [tf.Variable([1.0, 2.0]) for _ in range(2)]
    for gradient in ([1.0, -2.0], [0.5, 3.0]):
        for optimizer, weight in zip((ours, theirs), weights, strict=True):
            optimizer.apply_gradients([(tf.constant(gradient), weight)])
    np.testing.assert_allclose(*weights, rtol=1e-5)


def test_the_learning_rate_may_follow_a_schedule():
    schedule = tf.keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5])
    assert float(train(AdagradMomentum(schedule), [3.0, 4.0])) == pytest.approx(1 - 1 - 0.5 * 0.8)


def test_its_config_makes_an_equal_one():
    options = {"momentum": 0.5, "use_nesterov": True, "exponent": 3.0, "beta2": 0.75, "epsilon": 0.125}
    optimizer = AdagradMomentum(0.25, **options)
    copy = AdagradMomentum.from_config(optimizer.get_config())
    assert copy.get_config() == optimizer.get_config()
    assert {name: copy.get_config()[name] for name in options} == options


def test_its_slots_are_saved_and_restored(tmp_path):
    optimizer = AdagradMomentum(1.0, momentum=0.5)
    weight = train(optimizer, [3.0])
    prefix = tf.train.Checkpoint(weight=weight, optimizer=optimizer).write(str(tmp_path / "checkpoint"))
    copy, other = tf.Variable(0.0), AdagradMomentum(1.0, momentum=0.5)
    tf.train.Checkpoint(weight=copy, optimizer=other).read(prefix)
    for each, variable in ((optimizer, weight), (other, copy)):
        each.apply_gradients([(tf.constant(4.0), variable)])
    assert float(copy) == float(weight) == pytest.approx(1 - 1 - 1.3)


@pytest.mark.parametrize("argument", ["epsilon", "exponent"])
def test_what_would_divide_by_zero_is_refused(argument):
    with pytest.raises(ValueError, match="must be positive"):
        AdagradMomentum(0.1, **{argument: 0})
