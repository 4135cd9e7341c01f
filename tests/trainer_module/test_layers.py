import numpy as np
import tensorflow as tf

from trainer_module.layers import MLP, DotInteraction


def test_dot_interaction_by_hand():
    a, b, c = (tf.constant([row]) for row in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]))
    # b.a = 3 + 8, c.a = 5 + 12, c.b = 15 + 24
    np.testing.assert_array_equal(DotInteraction()([a, b, c]), [[11.0, 17.0, 39.0]])


def test_dot_interaction_has_static_shapes():
    traced = tf.function(DotInteraction().call).get_concrete_function([tf.TensorSpec([None, 4])] * 5)
    assert traced.output_shapes.as_list() == [None, 10]
    assert not [op for op in traced.graph.get_operations() if op.type in ("Where", "BooleanMask")]


def test_mlp_starts_at_its_output_bias():
    output = MLP((), 1, output_bias=3.5)(tf.zeros([2, 4]))
    np.testing.assert_array_equal(output, [[3.5], [3.5]])


def test_mlp_drops_units_in_training_only():
    mlp = MLP((64,), 1, dropout=0.5)
    inputs = tf.ones([1, 8])
    assert mlp(inputs) == mlp(inputs)
    assert len({mlp(inputs, training=True).numpy().item() for _ in range(5)}) > 1
