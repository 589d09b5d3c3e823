"""ReinMax: its gradient by its formula, its mean against enumeration, and what it is exact for."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.calculus import array, gradients
from tests.layer_test import run_layer_test
from tests.training.enumeration import sigmoid
from tfgates import gates

LOGITS = np.array([-0.3, 0.0, 0.2], "float32")


def made(**arguments):
    gate = gates.ReinMaxGate(**arguments)
    gate.build_units((3,))
    gate.logits.assign(LOGITS)
    return gate


def test_layer():
    run_layer_test(
        gates.ReinMaxGate, {"initial_open_probability": 0.5, "l0": 1e-3}, (4, 6), expected_trainable_variables=1
    )


def mean_gradient(gate, loss):
    """The expected gradient of the log odds: over all states, the noise in the middle of what makes each."""
    p, total = sigmoid(7.0 * LOGITS.astype("float64")), np.zeros(3)
    for state in np.ndindex(2, 2, 2):
        noise = np.where(state, p / 2, (1 + p) / 2).astype("float32")
        (found,) = gradients(lambda noise=noise: loss(gate.draw(True, noise=noise)), [gate.logits])
        total += np.prod(np.where(state, p, 1 - p)) * found / 7.0
    return total


def exact_gradient(loss):
    p, total = sigmoid(7.0 * LOGITS.astype("float64")), np.zeros(3)
    for state in np.ndindex(2, 2, 2):
        value = float(ops.convert_to_numpy(loss(ops.convert_to_tensor(np.array(state, "float32")))))
        chances = np.where(state, p, 1 - p)
        total += np.where(state, 1.0, -1.0) * value * np.array([np.prod(np.delete(chances, k)) for k in range(3)])
    return p * (1 - p) * total


def quadratic(z):
    return z[0] * z[1] + 2.0 * ops.square(z[1]) - 3.0 * z[2] * z[0] + ops.square(z[2] - 0.3)


def cubic(z):
    return quadratic(z) + z[0] ** 3


def test_draws_are_binary_and_the_gradient_is_that_of_the_formula():
    gate = made()
    noise = np.array([0.05, 0.6, 0.4], "float32")
    p = sigmoid(7.0 * LOGITS)
    z = ops.convert_to_numpy(gate.draw(True, noise=noise))
    np.testing.assert_array_equal(z, (noise < p).astype("float32"))
    assert set(z) == {0.0, 1.0}
    (found,) = gradients(lambda: ops.sum(gate.draw(True, noise=noise) * np.array([1.0, 2.0, 5.0])), [gate.logits])
    np.testing.assert_allclose(found, 7.0 * np.array([1.0, 2.0, 5.0]) * np.where(z, 1 - p, p) / 2, rtol=1e-5)


def test_no_bias_for_losses_that_are_quadratic_in_each_gate_and_one_beyond():
    np.testing.assert_allclose(mean_gradient(made(), quadratic), exact_gradient(quadratic), rtol=1e-4)
    found, exact = mean_gradient(made(), cubic), exact_gradient(cubic)
    p = sigmoid(7.0 * LOGITS[0])
    # (f'(0) + f'(1)) / 2 is 3 / 2 in the place of 1.
    np.testing.assert_allclose(found - exact, [0.5 * p * (1 - p), 0.0, 0.0], atol=1e-5)


def test_it_trains_in_a_plain_model():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(made(sampling="example")(inputs)))
    model.compile("sgd", "mse")
    before = array(model.layers[1].logits)
    model.fit(np.ones((4, 3), "float32"), np.ones((4, 1), "float32"), verbose=0)
    assert not np.array_equal(before, ops.convert_to_numpy(model.layers[1].logits))


def test_errors():
    with pytest.raises(ValueError, match=r"`threshold` must lie strictly between 0 and 1. Received: threshold=1.0"):
        gates.ReinMaxGate(threshold=1.0)
