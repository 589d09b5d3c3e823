"""Scaling factors: the factor itself, whatever the mode."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import array, gradients
from tests.layer_test import run_layer_test
from tfgates.gates import ScalingGate


@pytest.mark.parametrize("arguments", [{}, {"axis": 1, "groups": 2, "l0": 1e-3}, {"axis": None, "initial_scale": 0.5}])
def test_layer(arguments):
    run_layer_test(ScalingGate, arguments, (4, 6), expected_trainable_variables=1, random=False)


def test_values():
    gate = ScalingGate(groups=3)
    gate.build((None, 6))
    np.testing.assert_array_equal(gate.scale, np.ones(3))
    gate.scale.assign([0.0, -0.5, 2.0])
    np.testing.assert_array_equal(gate.test_gates(), [0.0, -0.5, 2.0])
    np.testing.assert_array_equal(gate.open_probability(), [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(gate.open_units(), [False, True, True])
    x = np.arange(12, dtype="float32").reshape(2, 6)
    expected = x * np.array([0, 0, -0.5, -0.5, 2, 2], "float32")
    for training in (False, True):
        np.testing.assert_array_equal(gate(x, training=training), expected)


def test_openness_is_relative_to_the_largest():
    gate = ScalingGate()
    gate.build((None, 4))
    np.testing.assert_array_equal(array(gate.openness()), np.ones(4))
    gate.scale.assign([0.0, -0.5, 2.0, 1.0])
    (pull,) = gradients(lambda: ops.sum(gate.openness()), [gate.scale])
    np.testing.assert_allclose(array(gate.openness()), [0.0, 0.25, 1.0, 0.5])
    # Of |s_i| / max: each small factor is pulled to 0, and the largest up by what the others weigh.
    np.testing.assert_allclose(pull, [0.0, -0.5, -1.5 / 4.0, 0.5])
    gate.scale.assign(np.zeros(4))
    np.testing.assert_array_equal(array(gate.openness()), np.zeros(4))


@pytest.mark.parametrize("scale, expected", [(0.0, 0.0), (-0.25, 0.5), (0.5, 1.0), (2.0, 1.0)])
def test_openness_of_a_single_factor_is_relative_to_the_initial_one(scale, expected):
    gate = ScalingGate(axis=None, initial_scale=0.5)
    gate.build((None, 4))
    gate.scale.assign([scale])
    (pull,) = gradients(lambda: ops.sum(gate.openness()), [gate.scale])
    assert float(array(ops.sum(gate.openness()))) == expected
    np.testing.assert_array_equal(pull, 2.0 * np.sign([scale]))


def test_a_budget_follows_the_size_of_factors_on_their_way():
    """Its cost falls before a factor is 0, and the choice for a budget closes the smallest of each gate first."""
    inputs = keras.Input((3,))
    x = tfgates.layers.GatedDense(4, gate="scaling", name="first")(inputs)
    model = tfgates.GatedModel(inputs, keras.layers.Dense(2)(x), budget=tfgates.Budget(params=0.6))
    scale = model.get_layer("first").gate.scale
    scale.assign([1.0, 0.1, 0.6, 0.3])
    dense, each = 3 * 4 + 4 + 4 * 2 + 2, 3 + 1 + 2
    fractions = model._structure.cost.fractions()
    np.testing.assert_allclose(fractions[0], (each * 2.0 + 2) / dense, rtol=1e-6)
    assert tfgates.cost(model, chosen=False).params == dense
    assert tfgates.cost(model).params == 2 * each + 2
    small = tfgates.prune(model)
    np.testing.assert_allclose(
        small.get_layer("first").kernel, model.get_layer("first").kernel[:, ::2] * np.array([1.0, 0.6]), rtol=1e-6
    )


def test_name():
    gate = tfgates.gates.get("scaling", axis=None)
    assert isinstance(gate, ScalingGate)
    assert gate.axis is None


@pytest.mark.parametrize("value", [0, 0.0, float("nan")])
def test_initial_scale_is_checked(value):
    with pytest.raises(ValueError, match=r"`initial_scale` must be .* Received: initial_scale="):
        ScalingGate(initial_scale=value)


def test_logits_are_refused():
    gate = ScalingGate()
    with pytest.raises(ValueError, match="`logits` must be None for a ScalingGate"):
        gate(np.ones((2, 3), "float32"), logits=np.zeros(3, "float32"))
