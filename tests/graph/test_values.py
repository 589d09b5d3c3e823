"""What is known of constants when the weights may become anything."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.layer_scale import LayerScale
from tfgates.graph.values import GENERIC, combine_constants, map_constants, through_weights
from tfgates.graph.walk import Walk

K = keras.layers
NAN = np.nan


# The three things that can be known of a constant.


@pytest.mark.parametrize("function", [ops.relu, ops.sigmoid, ops.tanh, ops.negative, lambda x: ops.clip(x, 0.0, 1.0)])
def test_a_function_of_some_constant_is_some_constant(function):
    result = map_constants(function, np.array([GENERIC, NAN, 0.0, GENERIC]))
    np.testing.assert_array_equal(np.isnan(result), [False, True, False, False])
    np.testing.assert_array_equal(np.isposinf(result), [True, False, False, True])


@pytest.mark.parametrize("function", [ops.log, ops.sqrt, ops.log1p, ops.reciprocal, ops.rsqrt])
def test_a_function_that_is_not_always_finite_may_make_no_constant(function):
    result = map_constants(function, np.array([GENERIC, 1.0]))
    assert np.isnan(result[0]) and np.isfinite(result[1])


def test_what_is_not_finite_is_no_constant():
    assert np.isnan(map_constants(ops.log, np.array([0.0]))).all()
    assert np.isnan(combine_constants(lambda values: values[0] / values[1], [np.ones(1), np.zeros(1)])).all()


def test_combinations():
    a = np.array([GENERIC, GENERIC, GENERIC, 1.0, NAN])
    b = np.array([0.0, GENERIC, NAN, 2.0, 2.0])
    for function in (np.min, np.max, np.sum):
        result = combine_constants(lambda values, f=function: f(values, axis=0), [a, b])
        np.testing.assert_array_equal(result, [GENERIC, GENERIC, NAN, function([1.0, 2.0]), NAN])


def test_weights():
    value = np.array([0.0, 2.0, GENERIC, NAN])
    np.testing.assert_array_equal(through_weights(value, keeps_zero=True), [0.0, GENERIC, GENERIC, NAN])
    np.testing.assert_array_equal(through_weights(value, keeps_zero=False), [GENERIC, GENERIC, GENERIC, NAN])


# Layers: what becomes of a channel that a gate has closed, whatever the weights are.


def closed(x):
    gate = tfgates.gates.ScalingGate()
    y = gate(x)
    gate.scale.assign(np.zeros(gate.unit_shape))
    return y


SAME = {"padding": "same", "use_bias": False}
LAYERS = {
    "batch normalisation": (lambda x: K.BatchNormalization()(x), GENERIC),
    "batch normalisation without offset": (lambda x: K.BatchNormalization(center=False, scale=False)(x), GENERIC),
    "layer scale": (lambda x: LayerScale()(x), 0.0),
    "layer scale of a number": (lambda x: LayerScale()(x + 3.0), GENERIC),
    "prelu": (lambda x: K.PReLU(shared_axes=[1, 2])(x), 0.0),
    "prelu of a number": (lambda x: K.PReLU(shared_axes=[1, 2])(x - 3.0), GENERIC),
    "depthwise": (lambda x: K.DepthwiseConv2D(3, **SAME)(x), 0.0),
    "depthwise with a bias": (lambda x: K.DepthwiseConv2D(3, padding="same")(x), GENERIC),
    "depthwise at the border": (lambda x: K.DepthwiseConv2D(3, **SAME)(x + 3.0), NAN),
    "padding of a number": (lambda x: K.ZeroPadding2D()(x + 3.0), NAN),
    "padding of some constant": (lambda x: K.ZeroPadding2D()(K.BatchNormalization()(x)), NAN),
    "sigmoid": (lambda x: K.Activation("sigmoid")(x), 0.5),
    "sigmoid of some constant": (lambda x: ops.sigmoid(K.BatchNormalization()(x)), GENERIC),
    "gate that is closed today": (lambda x: closed(K.BatchNormalization()(x)), GENERIC),
    "product with 0": (lambda x: K.Multiply()([x, K.BatchNormalization()(x)]), 0.0),
    "product with a number": (lambda x: K.BatchNormalization()(x) * 2.0, GENERIC),
    "product with the number 0": (lambda x: K.BatchNormalization()(x) * 0.0, 0.0),
    "smallest of 0 and some constant": (lambda x: K.Minimum()([x, K.BatchNormalization()(x)]), GENERIC),
    "difference of two constants": (lambda x: K.Subtract()([K.BatchNormalization()(x) for _ in "ab"]), GENERIC),
    "quotient by some constant": (lambda x: x / K.BatchNormalization()(x), NAN),
    "quotient of some constant": (lambda x: K.BatchNormalization()(x) / 2.0, GENERIC),
    "side by side along places": (lambda x: K.Concatenate(axis=1)([K.BatchNormalization()(x) for _ in "ab"]), NAN),
    "side by side along channels": (lambda x: K.Concatenate()([x, K.BatchNormalization()(x)]), [0.0, GENERIC]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_symbolic_walk_knows(name):
    make, expected = LAYERS[name]
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(2, 3, padding="same")(inputs)
    y = make(tfgates.gates.HardConcreteGate(axis=-1)(x))
    walk = Walk(keras.Model(inputs, K.Dense(3)(y)), symbolic=True)
    channels = walk.output(walk.network.nodes[-2])
    np.testing.assert_array_equal(channels.value, np.repeat(expected, len(channels) // np.size(expected)))
    # What is no constant is live.
    np.testing.assert_array_equal(channels.live == 1, np.isnan(channels.value))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_a_kernel_on_a_branch_that_is_closed_as_a_whole(bias, padding, shift):
    inputs = keras.Input((6, 6, 3))
    x = tfgates.gates.HardConcreteGate(axis=None)(K.Conv2D(2, 3)(inputs)) + shift
    y = K.Conv2D(5, 3, padding=padding, use_bias=bias)(x)
    walk = Walk(keras.Model(inputs, K.Dense(3)(y)), symbolic=True)
    channels = walk.output(walk.network.nodes[-2])
    differs = padding == "same" and shift
    assert np.all(channels.live == 1) == bool(differs)
    if not differs:
        np.testing.assert_array_equal(channels.value, [GENERIC if bias or shift else 0.0] * 5)


def test_a_rule_of_ones_own_with_weights_may_say_what_it_likes():
    """Its `apply` speaks of today's weights, which a symbolic walk must not believe."""

    class Shift(keras.Layer):
        def build(self, shape):
            self.offset = self.add_weight(shape=(shape[-1],), initializer="zeros")

        def call(self, x):
            return x + self.offset

    @tfgates.graph.register_rule(Shift)
    class ShiftRule(tfgates.graph.ElementwiseRule):
        def apply(self, walk, node, x):
            return x.value + walk.weight(node.op.offset)

    inputs = keras.Input((6,))
    y = Shift()(tfgates.gates.HardConcreteGate()(K.Dense(4)(inputs)))
    walk = Walk(keras.Model(inputs, K.Dense(3)(y)), symbolic=True)
    np.testing.assert_array_equal(walk.output(walk.network.nodes[-2]).value, [GENERIC] * 4)
