import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tpu import optimization_parameters_pb2

from trainer_module.errors import ConfigError
from trainer_module.optimizers.adagrad_momentum import AdagradMomentum
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS
from trainer_module.optimizers.keras import RULES
from trainer_module.optimizers.tpu import tpu_optimizer

LEGACY, TPU = tf.keras.optimizers.legacy, tf.tpu.experimental.embedding


def engine_parameters(optimizer) -> optimization_parameters_pb2.OptimizationParameters:
    """What the TPU's embedding engine is told."""
    parameters = optimization_parameters_pb2.OptimizationParameters()
    optimizer._set_optimization_parameters(parameters)
    return parameters


@pytest.mark.parametrize("name", EMBEDDING_OPTIMIZERS)
def test_the_keras_optimizer_makes_the_slots_that_the_engine_asks_for(name):
    keras, table = RULES[EMBEDDING_OPTIMIZERS[name]].keras(0.5), tf.Variable(tf.ones([3, 2]))
    optimizer = tpu_optimizer(keras)
    slots = optimizer._create_slots(table, lambda *_: pytest.fail("the engine made a slot itself"))
    assert tuple(optimizer._slot_names()) == EMBEDDING_OPTIMIZERS[name].slots == tuple(slots)
    keras.apply_gradients([(tf.ones([3, 2]), table)])
    # Training uses these very slots and adds none.
    assert len(keras.variables()) == 1 + len(slots)
    assert optimizer.learning_rate == 0.5


def test_every_argument_reaches_the_engine():
    adagrad_momentum = engine_parameters(
        tpu_optimizer(AdagradMomentum(0.1, momentum=0.5, use_nesterov=True, exponent=3, beta2=0.75, epsilon=0.125))
    ).adagrad_momentum
    assert (adagrad_momentum.momentum, adagrad_momentum.use_nesterov) == (0.5, True)
    assert (adagrad_momentum.exponent, adagrad_momentum.beta2, adagrad_momentum.epsilon) == (3, 0.75, 0.125)
    adam = engine_parameters(tpu_optimizer(LEGACY.Adam(0.1, beta_1=0.5, beta_2=0.75, epsilon=0.125))).adam
    assert (adam.beta1, adam.beta2, adam.epsilon) == (0.5, 0.75, 0.125)
    ftrl = engine_parameters(
        tpu_optimizer(
            LEGACY.Ftrl(
                0.1,
                learning_rate_power=-0.75,
                l1_regularization_strength=0.5,
                l2_regularization_strength=0.25,
                beta=0.125,
            )
        )
    ).ftrl
    assert (ftrl.lr_power, ftrl.l1, ftrl.l2, ftrl.beta) == (-0.75, 0.5, 0.25, 0.125)


def test_initial_accumulators_are_those_of_keras():
    for keras_type in (LEGACY.Adagrad, LEGACY.Ftrl):
        keras, table = keras_type(0.1, initial_accumulator_value=0.75), tf.Variable([1.0])
        tpu_optimizer(keras)._create_slots(table, None)
        assert keras.get_slot(table, "accumulator").numpy() == 0.75


def test_a_learning_rate_that_changes_stays_dynamic():
    step = tf.Variable(1.0)
    assert tpu_optimizer(LEGACY.SGD(step.read_value)).learning_rate().numpy() == 1
    step.assign(2)
    assert tpu_optimizer(LEGACY.SGD(step.read_value)).learning_rate().numpy() == 2
    keras = LEGACY.Adagrad(tf.keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5]))
    rate, weight = tpu_optimizer(keras).learning_rate, tf.Variable(1.0)
    assert rate().numpy() == 1
    keras.apply_gradients([(tf.constant(1.0), weight)])
    assert rate().numpy() == 0.5


def test_a_number_is_read_even_after_keras_made_a_variable_of_it():
    keras = LEGACY.SGD(0.25)
    keras.apply_gradients([(tf.constant(1.0), tf.Variable(1.0))])
    assert tpu_optimizer(keras).learning_rate == 0.25


@pytest.mark.parametrize(
    ("optimizer", "refused"),
    [
        (LEGACY.SGD(0.1, momentum=0.5), "momentum"),
        (LEGACY.SGD(0.1, nesterov=True), "nesterov"),
        (LEGACY.Adagrad(0.1, epsilon=0.5), "epsilon"),
        (LEGACY.Adagrad(0.1, decay=0.5), "decay"),
        (LEGACY.Adam(0.1, amsgrad=True), "amsgrad"),
        (LEGACY.Ftrl(0.1, l2_shrinkage_regularization_strength=0.5), "l2_shrinkage_regularization_strength"),
        (LEGACY.Adam(0.1, clipnorm=1.0), "clipnorm"),
        (LEGACY.Adam(0.1, clipvalue=1.0), "clipvalue"),
        (AdagradMomentum(0.1, global_clipnorm=1.0), "global_clipnorm"),
    ],
)
def test_what_the_engine_lacks_is_refused_by_name(optimizer, refused):
    with pytest.raises(ConfigError, match=f"counterpart of {type(optimizer).__name__} has no {refused};"):
        tpu_optimizer(optimizer)


@pytest.mark.parametrize("optimizer", [LEGACY.RMSprop(0.1), tf.keras.optimizers.Adam(0.1), TPU.Adagrad(0.1)])
def test_other_classes_are_refused_with_the_choice(optimizer):
    with pytest.raises(ConfigError, match=f"{type(optimizer).__name__}; choose one of sgd, adagrad, adagrad_momentum"):
        tpu_optimizer(optimizer)
