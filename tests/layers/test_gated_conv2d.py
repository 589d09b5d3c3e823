"""Gated convolutions against Keras's and against numpy."""

import keras
import numpy as np
import pytest

from tests.layer_test import run_layer_test
from tfgates.gates import HardConcreteGate
from tfgates.layers import GatedConv2D

OPEN, CLOSED = 4.6, -4.6
PLAIN = [
    {},
    {"strides": 2, "padding": "same", "activation": "relu"},
    {"dilation_rate": 2, "use_bias": False},
    {"groups": 2},
    {"data_format": "channels_first"},
]


def images(arguments):
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")
    return np.moveaxis(x, -1, 1) if arguments.get("data_format") == "channels_first" else x


def make(arguments, **gate_arguments):
    keras.utils.set_random_seed(2)
    layer = GatedConv2D(4, 3, bias_initializer="normal", gate=HardConcreteGate(**gate_arguments), **arguments)
    layer.build(images(arguments).shape)
    return layer


def plain_with_weights_of(layer, arguments):
    arguments = {k: v for k, v in arguments.items() if k != "granularity"}
    plain = keras.layers.Conv2D(4, 3, **arguments)
    plain.build(images(arguments).shape)
    plain.kernel.assign(layer.kernel)
    if layer.use_bias:
        plain.bias.assign(layer.bias)
    return plain


@pytest.mark.parametrize(
    ("arguments", "output_shape"),
    [
        ({}, (6, 6, 4)),
        ({"padding": "same", "groups": 2, "use_bias": False, "gate": HardConcreteGate(l0=1e-3)}, (8, 8, 4)),
        ({"strides": 2, "gate": HardConcreteGate(sampling="example", groups=2)}, (3, 3, 4)),
        ({"granularity": "weight", "activation": "relu"}, (6, 6, 4)),
    ],
)
def test_layer(arguments, output_shape):
    run_layer_test(GatedConv2D, {"filters": 4, "kernel_size": 3, **arguments}, (8, 8, 2), output_shape)


def test_layer_with_channels_first():
    arguments = {"filters": 4, "kernel_size": 3, "data_format": "channels_first"}
    layer = run_layer_test(GatedConv2D, arguments, (2, 8, 8), (4, 6, 6), mixed_precision=False)
    assert layer.gate.axis == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("arguments", [*PLAIN, {"granularity": "weight"}])
def test_open_gates_leave_the_layer_of_keras(arguments, training):
    layer = make(arguments, logits_limit=None)
    layer.gate.logits.assign(np.full(layer.gate.logits.shape, 20.0))
    plain = plain_with_weights_of(layer, arguments)
    np.testing.assert_allclose(layer(images(arguments), training=training), plain(images(arguments)), atol=1e-5)


@pytest.mark.parametrize("arguments", PLAIN)
def test_the_gate_stands_between_bias_and_activation(arguments):
    layer = make(arguments)
    layer.gate.logits.assign([OPEN, CLOSED, 0.0, OPEN])
    linear = plain_with_weights_of(layer, {**arguments, "activation": None})
    z = np.array([1.0, 0.0, 0.5, 1.0])
    y = np.asarray(linear(images(arguments)))
    expected = y * z[:, None, None] if arguments.get("data_format") == "channels_first" else y * z
    if arguments.get("activation") == "relu":
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(layer(images(arguments)), expected, atol=1e-5)


def test_gated_weights_are_the_weights_of_a_plain_convolution():
    arguments = {"granularity": "weight"}
    layer = make(arguments)
    z = np.random.default_rng(1).choice([0.0, 0.5, 1.0], layer.kernel.shape)
    layer.gate.logits.assign(np.where(z == 1, OPEN, np.where(z == 0, CLOSED, 0.0)))
    plain = plain_with_weights_of(layer, arguments)
    plain.kernel.assign(z * layer.kernel.numpy())
    np.testing.assert_allclose(layer(images(arguments)), plain(images(arguments)), atol=1e-5)
    np.testing.assert_allclose(layer.gated_kernel(), plain.kernel, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "gate_groups", "owned"),
    [
        ({}, None, 3 * 3 * 2 + 1),
        ({"use_bias": False}, None, 3 * 3 * 2),
        ({"groups": 2}, None, 3 * 3 * 1 + 1),
        ({}, 2, 2 * (3 * 3 * 2 + 1)),
        ({"data_format": "channels_first"}, None, 3 * 3 * 2 + 1),
        ({"granularity": "weight"}, None, 1),
    ],
)
def test_penalty_counts_the_weights_that_a_unit_owns(arguments, gate_groups, owned):
    layer = make(arguments, groups=gate_groups, l0=0.01, initial_open_probability=0.4)
    layer(images(arguments), training=True)
    (penalty,) = layer.losses
    np.testing.assert_allclose(penalty, 0.01 * owned * 0.4 * layer.gate.units, rtol=1e-5)


def test_one_draw_per_example():
    layer = make({}, sampling="example", initial_open_probability=0.5)
    same = np.tile(images({})[:1], (64, 1, 1, 1))
    drawn = np.asarray(layer(same, training=True))
    assert len(np.unique(drawn[:, 0, 0, 0])) > 10
