"""Gated recurrent layers against numpy, step by step, and against Keras's."""

import keras
import numpy as np
import pytest

import tfgates
from tests.layer_test import run_layer_test
from tfgates.gates import BernoulliGate, HardConcreteGate
from tfgates.layers import GatedGRU, GatedLSTM, GatedSimpleRNN

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
UNITS = 6
# Closed, open, and in between: 1.2 sigmoid(0.75) - 0.1 and 0.5.
LOGITS = np.array([-4.6, 4.6, 0.5, 0.0, -4.6, 4.6])
Z = np.array([0.0, 1.0, 1.2 / (1 + np.exp(-0.75)) - 0.1, 0.5, 0.0, 1.0])


def make(kind, **arguments):
    keras.utils.set_random_seed(1)
    layer = kind(UNITS, bias_initializer="normal", return_sequences=True, return_state=True, **arguments)
    layer(X)
    layer.gate.logits.assign(LOGITS)
    return layer


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def of_simple(x, h, kernel, recurrent, bias):
    return (np.tanh(x @ kernel + (Z * h[0]) @ recurrent + bias),)


def of_lstm(x, states, kernel, recurrent, bias):
    h, c = states
    i, f, g, o = np.split(x @ kernel + (Z * h) @ recurrent + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def of_gru(x, states, kernel, recurrent, bias):
    (h,) = states
    left, right = np.split(x @ kernel + bias[0], [2 * UNITS], axis=-1), np.split(recurrent, [2 * UNITS], axis=-1)
    keep, reset = np.split(sigmoid(left[0] + (Z * h) @ right[0] + bias[1][: 2 * UNITS]), 2, axis=-1)
    new = np.tanh(left[1] + reset * ((Z * h) @ right[1] + bias[1][2 * UNITS :]))
    return (keep * h + (1 - keep) * new,)


def of_gru_reset_before(x, states, kernel, recurrent, bias):
    (h,) = states
    left, right = np.split(x @ kernel + bias, [2 * UNITS], axis=-1), np.split(recurrent, [2 * UNITS], axis=-1)
    keep, reset = np.split(sigmoid(left[0] + (Z * h) @ right[0]), 2, axis=-1)
    new = np.tanh(left[1] + (reset * Z * h) @ right[1])
    return (keep * h + (1 - keep) * new,)


CASES = [
    (GatedSimpleRNN, {}, of_simple),
    (GatedLSTM, {}, of_lstm),
    (GatedGRU, {}, of_gru),
    (GatedGRU, {"reset_after": False}, of_gru_reset_before),
]


@pytest.mark.parametrize(("kind", "arguments", "step"), CASES, ids=lambda x: getattr(x, "__name__", ""))
def test_by_numpy(kind, arguments, step):
    layer = make(kind, **arguments)
    weights = [np.array(w, "float64") for w in layer.cell.weights]
    states = [np.zeros((3, UNITS)) for _ in layer.state_size]
    expected = []
    for t in range(5):
        states = step(X[:, t], states, *weights)
        expected.append(Z * states[0])
    outputs, *found = (np.array(y) for y in layer(X))
    np.testing.assert_allclose(outputs, np.stack(expected, axis=1), atol=1e-5)
    for a, b in zip(found, states, strict=True):
        np.testing.assert_allclose(a, Z * b, atol=1e-5)
    # And the kernel is what it was.
    np.testing.assert_array_equal(np.array(layer.cell.recurrent_kernel, "float64"), weights[1])


@pytest.mark.parametrize(("kind", "arguments", "step"), CASES[1:3], ids=lambda x: getattr(x, "__name__", ""))
def test_open_gates_leave_the_layer_of_keras(kind, arguments, step):
    layer = make(kind, gate=HardConcreteGate(logits_limit=None), dropout=0.3, recurrent_dropout=0.2, seed=3)
    layer.gate.logits.assign(np.full(UNITS, 20.0))
    plain = kind.__mro__[3](UNITS, return_sequences=True, dropout=0.3, recurrent_dropout=0.2, seed=3)
    plain(X)
    plain.set_weights([np.array(w) for w in layer.cell.weights])
    mask = np.arange(5) < np.array([[5], [2], [4]])
    state = [np.full((3, UNITS), 0.3, "float32")] * len(layer.state_size)
    for training in (False, True):
        for arguments in ({}, {"mask": mask}, {"initial_state": state}):
            for each in (layer, plain):
                each.cell.seed_generator.state.assign([1, 2])
            found, expected = layer(X, training=training, **arguments)[0], plain(X, training=training, **arguments)
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_error_inside_leaves_the_kernel():
    layer = make(GatedLSTM)
    kernel = layer.cell.recurrent_kernel
    with pytest.raises(Exception, match="."):
        layer.call(X, initial_state=[np.zeros((3, UNITS + 1), "float32")] * 2)
    assert layer.cell.recurrent_kernel is kernel


def test_a_unit_owns_its_part_of_all_weights():
    layer = GatedLSTM(6, gate=HardConcreteGate(groups=3))
    layer(X)
    assert layer.gate.units == 3 and layer.gate.weights_per_unit == 2 * 4 * (4 + 6 + 1)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (GatedLSTM, {"gate": HardConcreteGate(groups=2, l0=1e-3)}),
        pytest.param(GatedGRU, {"gate": BernoulliGate(), "use_bias": False}, marks=pytest.mark.slow),
        pytest.param(GatedSimpleRNN, {}, marks=pytest.mark.slow),
    ],
)
def test_layer(kind, arguments):
    # Gates that draw zeros and ones are trained in a model that asks for a second pass alone.
    model_class = tfgates.GatedModel if isinstance(arguments.get("gate"), BernoulliGate) else keras.Model
    run_layer_test(kind, {"units": 4, "return_sequences": True, **arguments}, (5, 3), (5, 4), model_class=model_class)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gate": HardConcreteGate(sampling="example")}, "`sampling='batch'`: .*Received: axis=-1, sampling='example'"),
        ({"gate": HardConcreteGate(axis=None)}, "must have `axis=-1`.*Received: axis=None"),
        ({"granularity": "weight"}, "`granularity` must be 'unit' .* Received: granularity='weight'"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedGRU(4, **arguments)
