"""Gates that are frozen stay as inference uses them."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array

X = np.random.default_rng(0).normal(1.0, 2.0, (40, 6, 6, 2)).astype("float32")


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3, padding="same")(inputs)))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3)(x)))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("generator", [None, "forward"])
def test_frozen_gates_stay(generator):
    model = tfgates.gate_model(network(), generator=generator, budget=tfgates.Budget(macs=0.5))
    tfgates.freeze_gates(model)
    model.compile("sgd", "mse")
    before = [array(gate.value()) for gate in model.gates]
    model.fit(X, np.ones((40, 3)), epochs=2, verbose=0)
    for gate, expected in zip(model.gates, before, strict=True):
        np.testing.assert_array_equal(array(gate.value()), expected)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    np.testing.assert_allclose(model(X, training=True), model(X, training=False), rtol=1e-5)


def test_gates_must_be_there():
    with pytest.raises(ValueError, match="`model` must have gates. Received: model="):
        tfgates.freeze_gates(network())
