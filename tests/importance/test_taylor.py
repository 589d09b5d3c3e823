"""First-order Taylor importance against numpy and against differences of the loss."""

import keras
import numpy as np
import pytest

from tests.calculus import array
from tfgates.gating.gate_network import gate_network
from tfgates.graph.network import Network
from tfgates.importance import first_order_taylor

K = keras.layers


def test_by_hand():
    """y = relu(x W + b) V, mean squared error: dL/dz_j = sum over n, k of 2 (y - t) / size * h_j V_jk."""
    inputs = keras.Input((4,))
    hidden = K.Dense(6, activation="relu", name="hidden")
    last = K.Dense(3, name="last")
    model = keras.Model(inputs, last(hidden(inputs)))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)).astype("float32"), rng.normal(size=(20, 3)).astype("float32")
    gated, _, gates = gate_network(Network(model), ("inner",))
    (gate,) = gates.values()
    batches = [(x[:12], y[:12]), (x[12:], y[12:])]
    found = first_order_taylor(gated, [gate], batches, "mse")[gate]
    kernel, bias = (np.asarray(v, np.float64) for v in hidden.weights)
    value, offset = (np.asarray(v, np.float64) for v in last.weights)
    squares = []
    for a, target in batches:
        h = np.maximum(a @ kernel + bias, 0.0)
        error = 2.0 * (h @ value + offset - target) / target.size
        squares.append(np.sum(h * (error @ value.T), axis=0) ** 2)
    np.testing.assert_allclose(found, np.mean(squares, axis=0), rtol=1e-4)


def test_by_differences_and_with_weights_of_examples():
    """Of a convolution behind a normalisation; relu lets a factor on scale and offset through."""
    inputs = keras.Input((5, 5, 2))
    norm = K.BatchNormalization(name="norm")
    x = K.ReLU()(norm(K.Conv2D(4, 3, name="conv")(inputs)))
    model = keras.Model(inputs, K.Dense(3)(K.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(1)
    norm.gamma.assign(rng.uniform(0.5, 1.5, 4))
    norm.beta.assign(rng.normal(size=4))
    x, y = rng.normal(size=(16, 5, 5, 2)).astype("float32"), rng.integers(0, 3, 16)
    weight = rng.uniform(0.0, 2.0, 16).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    gated, _, gates = gate_network(Network(model), ("inner",))
    found = first_order_taylor(gated, list(gates.values()), [(x, y, weight)], loss)
    assert not gated.compiled
    (found,) = found.values()
    gamma, beta = np.array(norm.gamma), np.array(norm.beta)

    def loss_with(unit, factor):
        scaled = np.where(np.arange(4) == unit, factor, 1.0)
        norm.gamma.assign(gamma * scaled)
        norm.beta.assign(beta * scaled)
        return float(array(loss(y, model(x, training=False), sample_weight=weight)))

    slopes = [(loss_with(unit, 1.02) - loss_with(unit, 0.98)) / 0.04 for unit in range(4)]
    np.testing.assert_allclose(found, np.square(slopes), rtol=2e-2)


def test_no_batch_is_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, K.Dense(3)(K.Dense(6)(inputs)))
    gated, _, gates = gate_network(Network(model), ("inner",))
    with pytest.raises(ValueError, match="`data` must have at least one batch. Received: none"):
        first_order_taylor(gated, list(gates.values()), [], "mse")
