"""Scaling factors: the factor itself, whatever the mode."""

import numpy as np
import pytest

import tfgates
from tests.layer_test import run_layer_test
from tfgates.gates import ScalingGate


@pytest.mark.parametrize(
    "arguments", [{}, {"axis": 1, "groups": 2, "l0": 1e-3}, {"axis": None, "initial_scale": 0.5}]
)
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
