"""Gated dense layers against Keras's and against numpy."""

import keras
import numpy as np
import pytest

from tests.layer_test import run_layer_test
from tfgates.gates import HardConcreteGate
from tfgates.layers import GatedDense

X = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
OPEN, CLOSED = 4.6, -4.6


def make(logits=None, gate_arguments=None, units=4, **arguments):
    layer = GatedDense(units, bias_initializer="normal", gate=HardConcreteGate(**gate_arguments or {}), **arguments)
    layer.build((None, 6))
    if logits is not None:
        layer.gate.logits.assign(logits)
    return layer


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"activation": "relu", "use_bias": False},
        {"gate": HardConcreteGate(groups=2, l0=1e-3), "gated": "inputs"},
        {"gate": HardConcreteGate(sampling="example")},
        {"granularity": "weight"},
    ],
)
def test_layer(arguments):
    variables = 2 if arguments.get("use_bias") is False else 3
    run_layer_test(GatedDense, {"units": 4, **arguments}, (6,), (4,), expected_trainable_variables=variables)


def test_layer_on_sequences():
    run_layer_test(GatedDense, {"units": 4}, (5, 6), (5, 4))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"activation": "relu"}, {"use_bias": False}, {"gated": "inputs"}, {"granularity": "weight"}],
)
def test_open_gates_leave_the_layer_of_keras(arguments, training):
    # With noise and these logits, a draw below 1 has a probability of 4e-8.
    layer = make(gate_arguments={"logits_limit": None}, **arguments)
    layer.gate.logits.assign(np.full(layer.gate.logits.shape, 20.0))
    plain_arguments = {k: v for k, v in arguments.items() if k not in ("gated", "granularity")}
    plain = keras.layers.Dense(4, **plain_arguments)
    plain.build((None, 6))
    plain.set_weights([v for v in layer.get_weights() if v is not None][: len(plain.weights)])
    np.testing.assert_allclose(layer(X, training=training), plain(X), atol=1e-6)


def test_gated_outputs_by_numpy():
    layer = make([OPEN, CLOSED, 0.5, 0.0], activation="relu")
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    z = np.array([1.0, 0.0, 1.2 / (1 + np.exp(-0.75)) - 0.1, 0.5])
    np.testing.assert_allclose(layer(X), np.maximum(z * (X @ kernel + bias), 0), atol=1e-5)


def test_gated_inputs_by_numpy():
    z = np.array([1.0, 0.0, 0.5, 1.0, 0.0, 1.0])
    layer = make(np.where(z == 1, OPEN, np.where(z == 0, CLOSED, 0.0)), gated="inputs")
    np.testing.assert_allclose(layer(X), (z * X) @ layer.kernel.numpy() + layer.bias.numpy(), atol=1e-5)


def test_gated_weights_by_numpy():
    z = np.random.default_rng(1).choice([0.0, 0.5, 1.0], (6, 4))
    layer = make(np.where(z == 1, OPEN, np.where(z == 0, CLOSED, 0.0)), granularity="weight")
    expected = X @ (z * layer.kernel.numpy()) + layer.bias.numpy()
    np.testing.assert_allclose(layer(X), expected, atol=1e-5)
    np.testing.assert_allclose(layer.gated_kernel(), z * layer.kernel.numpy(), atol=1e-6)


def test_the_kernel_that_acts_is_the_kernel_where_units_are_gated():
    layer = make([CLOSED] * 4)
    np.testing.assert_array_equal(layer.gated_kernel(), layer.kernel)


def test_a_closed_output_is_zero_whatever_its_bias():
    layer = make([CLOSED] * 4)
    layer.bias.assign([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(layer(X), np.zeros((5, 4)))


@pytest.mark.parametrize("gated", ["outputs", "inputs"])
def test_one_draw_per_example(gated):
    layer = make(gate_arguments={"sampling": "example", "initial_open_probability": 0.5}, gated=gated)
    same = np.tile(X[:1], (64, 1))
    drawn = np.asarray(layer(same, training=True))
    assert len(np.unique(drawn[:, 0])) > 10


@pytest.mark.parametrize(
    ("arguments", "groups", "owned"),
    [
        ({}, None, 6 + 1),
        ({"use_bias": False}, None, 6),
        ({}, 2, 2 * (6 + 1)),
        ({"gated": "inputs"}, None, 4),
        ({"gated": "inputs"}, 3, 2 * 4),
        ({"granularity": "weight"}, None, 1),
    ],
)
def test_penalty_counts_the_weights_that_a_unit_owns(arguments, groups, owned):
    layer = make(gate_arguments={"groups": groups, "l0": 0.01}, **arguments)
    layer.gate.logits.assign(np.random.default_rng(2).normal(size=layer.gate.logits.shape))
    layer(X, training=True)
    (penalty,) = layer.losses
    shifted = layer.gate.logits.numpy() - 2 / 3 * np.log(0.1 / 1.1)
    np.testing.assert_allclose(penalty, 0.01 * owned * np.sum(1 / (1 + np.exp(-shifted))), rtol=1e-5)
    assert layer.gate.weights_per_unit == owned


def test_closed_outputs_need_no_weights():
    # A negative control: the closed column may hold anything, an open one may not.
    layer = make([OPEN, CLOSED, OPEN, OPEN])
    before = np.asarray(layer(X))
    kernel = layer.kernel.numpy()
    kernel[:, 1] = 7.0
    layer.kernel.assign(kernel)
    np.testing.assert_array_equal(layer(X), before)
    kernel[:, 2] = 7.0
    layer.kernel.assign(kernel)
    assert np.abs(np.asarray(layer(X)) - before).max() > 0.1
