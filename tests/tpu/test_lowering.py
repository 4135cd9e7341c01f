"""Variables lifted out of a step: the function must do what the step does, and refuse what it does not know."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tpu_worker.check import BATCH_SIZE, ENGINES, combinations, refuse_host_only_operations, traced_step
from tpu_worker.models import BAG_LENGTH, MODELS, SPEC, SmallModel
from tpu_worker.tpu_lowering import XLA_CPU, step_as_function, without_kernel
from trainer_module.data.features import FeatureSpec
from trainer_module.errors import ModelError
from trainer_module.optimizers.config import EMBEDDING_OPTIMIZERS, Adagrad, Adam, Sgd
from trainer_module.training.loop import TrainingLoop

raw = tf.raw_ops
WITHOUT_BAGS = FeatureSpec(
    columns=tuple(column for column in SPEC.columns if not column.multivalent), tables=SPEC.tables
)
GRADIENT = tf.constant([0.5, -2.0])


def with_variables(step, *initial):
    """New values of variables by the step itself, and by the function made from it."""
    variables = [tf.Variable(value) for value in initial]

    def on_variables() -> None:
        step(*(variable.handle for variable in variables))

    traced = tf.function(on_variables, autograph=False).get_concrete_function()
    function = step_as_function(traced)
    assert function.num_variables == len(initial)
    _, lifted = tf.function(function.function)(*map(tf.constant, initial))
    traced()
    return [variable.numpy() for variable in variables], [value.numpy() for value in lifted]


@pytest.mark.parametrize(
    ("update", "num_slots"),
    [
        (lambda var: raw.AssignVariableOp(resource=var, value=GRADIENT), 0),
        (lambda var: raw.AssignAddVariableOp(resource=var, value=GRADIENT), 0),
        (lambda var: raw.AssignSubVariableOp(resource=var, value=GRADIENT), 0),
        (lambda var: raw.ResourceScatterAdd(resource=var, indices=[1, 1], updates=GRADIENT), 0),
        (lambda var: raw.ResourceApplyGradientDescent(var=var, alpha=0.1, delta=GRADIENT), 0),
        (
            lambda var, slot: raw.ResourceApplyAdagradV2(var=var, accum=slot, lr=0.1, epsilon=1e-7, grad=GRADIENT),
            1,
        ),
        (
            lambda var, m, v: raw.ResourceApplyAdam(
                var=var, m=m, v=v, beta1_power=0.81, beta2_power=0.99, lr=0.1, beta1=0.9, beta2=0.999, epsilon=1e-7,
                grad=GRADIENT,
            ),
            2,
        ),
        (
            lambda var, accumulator, linear: raw.ResourceApplyFtrl(
                var=var, accum=accumulator, linear=linear, grad=GRADIENT, lr=0.1, l1=0.7, l2=0.01, lr_power=-0.5
            ),
            2,
        ),
    ],
    ids=["assign", "add", "sub", "scatter", "sgd", "adagrad", "adam", "ftrl"],
)  # fmt: skip
def test_an_update_by_rule_is_the_update_of_the_operation(update, num_slots):
    initial = [[1.0, -3.0], [0.2, 0.3], [0.4, 0.1]][: 1 + num_slots]
    updated, by_rule = with_variables(update, *initial)
    assert any(not np.allclose(value, old) for value, old in zip(updated, initial, strict=True))
    for value, expected in zip(by_rule, updated, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_later_reads_see_earlier_writes():
    def step(var):
        raw.AssignAddVariableOp(resource=var, value=1.0)
        raw.AssignVariableOp(resource=var, value=2 * raw.ReadVariableOp(resource=var, dtype=tf.float32))

    assert with_variables(step, 3.0) == ([8.0], [8.0])


def test_an_update_without_rule_is_refused_by_name():
    def step(var):
        raw.ResourceApplyProximalGradientDescent(var=var, alpha=0.1, l1=0.0, l2=0.0, delta=GRADIENT)

    with pytest.raises(
        ModelError, match=r"ResourceApplyProximalGradientDescent.*unsupported way. Supported operations: .*Adam"
    ):
        with_variables(step, [1.0, 2.0])


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.spec is SPEC])
def test_the_function_of_a_training_step_does_what_the_step_does(name, tmp_path):
    model = MODELS[name]
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    # Of the optimizers whose updates of single rows, as on CPUs, are made of plain operations.
    model = SmallModel(model.config, WITHOUT_BAGS, model.objective)
    blueprint = model.blueprint(BATCH_SIZE, Sgd(learning_rate=0.1))
    trained, optimizer = blueprint.for_training(strategy, 3.0)
    loop = TrainingLoop(strategy, trained, optimizer, blueprint.experiment.training, str(tmp_path), str(tmp_path))
    batch = model.batch(BATCH_SIZE)
    step = tf.function(
        lambda features, labels: strategy.run(loop.train_step, args=(features, labels)), autograph=False
    ).get_concrete_function(*batch)
    function = step_as_function(step)
    handles = [captured for captured in step.captured_inputs if captured.dtype == tf.resource]
    specs = function.arguments[-function.num_variables :]

    def values():
        return [
            raw.ReadVariableOp(resource=handle, dtype=spec.dtype) for handle, spec in zip(handles, specs, strict=True)
        ]

    leaves = tf.nest.flatten(batch, expand_composites=True)
    fed = {placeholder.op.name: leaf for placeholder, leaf in zip(step.inputs, leaves, strict=False)}
    inputs = [fed[spec.name] for spec in function.arguments[: -function.num_variables]]
    before = values()
    outputs, lifted = tf.function(function.function, autograph=False)(*inputs, *before)
    (loss,) = tf.nest.flatten(step(*batch))
    after = values()
    assert sum(not np.array_equal(old, new) for old, new in zip(before, after, strict=True)) > 10
    np.testing.assert_allclose(outputs[0], loss, rtol=1e-5)
    for value, expected in zip(lifted, after, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.feature)
def test_the_device_half_of_a_step_is_free_of_variables_and_has_kernels(model, engine):
    step = traced_step(model, engine, Adagrad(learning_rate=0.1))
    function = step_as_function(step, bags=(BATCH_SIZE, BAG_LENGTH))
    lifted = tf.function(function.function, autograph=False).get_concrete_function(*function.arguments)
    assert not [operation.type for operation in lifted.graph.get_operations() if "Resource" in operation.type]
    # Replicas are a matter of TPUs; XLA for CPUs has everything else.
    assert set(without_kernel(step, XLA_CPU).values()) <= {"CrossReplicaSum"}


def test_the_sweep_has_every_model_and_every_optimizer():
    swept = [(name, optimizer.name) for name, optimizer in combinations(MODELS)]
    assert {name for name, _ in swept} == set(MODELS)
    assert {optimizer for _, optimizer in swept} == set(EMBEDDING_OPTIMIZERS)
    assert len(set(swept)) == len(swept) == len(MODELS) + len(EMBEDDING_OPTIMIZERS) - 1


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.feature)
def test_an_optimizer_of_tables_adds_the_same_operations_to_every_model(engine):
    """The reason for which the sweep takes each optimizer with one model alone."""

    def operations(model: str, optimizer: Sgd | Adam) -> Counter:
        step = traced_step(MODELS[model], engine, optimizer)
        return Counter(operation.type for operation in step.graph.get_operations())

    def added(model: str) -> Counter:
        with_slots, without = operations(model, Adam(learning_rate=0.1)), operations(model, Sgd(learning_rate=0.1))
        with_slots.subtract(without)
        return Counter({kind: count for kind, count in with_slots.items() if count})

    assert added("rating") == added("two_tower")


def test_an_unknown_shape_is_that_of_bags_or_refused():
    step = tf.function(lambda ids: 2 * ids).get_concrete_function(tf.TensorSpec([None, None]))
    assert step_as_function(step, bags=(4, 3)).arguments[0].shape == (4, 3)
    with pytest.raises(ModelError, match=r"comes from the host with the unknown shape \(None, None\)"):
        step_as_function(step)
    step = tf.function(lambda ids: 2 * ids).get_concrete_function(tf.TensorSpec([None]))
    with pytest.raises(ModelError, match="is not a bag of ids"):
        step_as_function(step, bags=(4, 3))


def test_a_host_only_operation_is_refused_by_name():
    step = tf.function(lambda x: tf.strings.to_number(tf.strings.as_string(2 * x))).get_concrete_function(
        tf.constant(1.0)
    )
    with pytest.raises(ModelError, match=r"a TPU cannot run: AsString \(AsString\), StringToNumber"):
        refuse_host_only_operations(step, XLA_CPU)


def test_a_call_into_python_is_refused_by_name():
    step = tf.function(lambda x: tf.py_function(lambda y: y, [x], tf.float32)).get_concrete_function(tf.constant(1.0))
    with pytest.raises(ModelError, match="EagerPyFunc"):
        refuse_host_only_operations(step, XLA_CPU)
