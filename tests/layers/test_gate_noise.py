"""Noise that several calls of a gate share."""

import keras
import numpy as np
import pytest

from tests.reload import predict_in_fresh_process
from tfgates.gates import HardConcreteGate
from tfgates.layers import GateNoise
from tfgates.training import GatedModel


def test_two_calls_share_a_draw():
    inputs = keras.Input((40,))
    gate = HardConcreteGate(initial_open_probability=0.5)
    noise = GateNoise(40, seed=1)(inputs)
    model = keras.Model(inputs, [gate(inputs, noise=noise), gate(inputs, noise=noise)])
    x = np.ones((2, 40), "float32")
    a, b = model(x, training=True)
    np.testing.assert_array_equal(a, b)
    assert 5 < np.count_nonzero(np.array(a)[0] == 0.0) < 35
    c, _ = model(x, training=True)
    assert np.any(np.array(a) != np.array(c))
    free = keras.Model(inputs, [gate(inputs), gate(inputs)])
    a, b = free(x, training=True)
    assert np.any(np.array(a) != np.array(b))


def test_no_draw_without_training(tmp_path):
    inputs = keras.Input((6,))
    layer = GateNoise(6, seed=1)
    model = GatedModel(inputs, HardConcreteGate()(inputs, noise=layer(inputs)))
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    state = np.array(layer.seed_generator.state)
    expected = np.array(model(x))
    np.testing.assert_array_equal(layer.seed_generator.state, state)
    path = str(tmp_path / "model.keras")
    model.save(path)
    (reloaded,) = predict_in_fresh_process(path, x, tmp_path)
    np.testing.assert_allclose(reloaded, expected, atol=1e-6)


def test_range_and_precision():
    keras.config.set_dtype_policy("mixed_float16")
    noise = GateNoise(10_000, seed=3)(np.zeros((1, 1), "float32"), training=True)
    assert keras.backend.standardize_dtype(noise.dtype) == "float32"
    noise = np.array(noise)
    assert 0.0 < noise.min() < 0.01
    assert 0.99 < noise.max() < 1.0
    assert abs(noise.mean() - 0.5) < 0.02
    again = GateNoise.from_config(GateNoise(10_000, seed=3).get_config())
    np.testing.assert_array_equal(again(np.zeros((1, 1), "float32"), training=True), noise)


@pytest.mark.parametrize("units", [0, 2.0, None])
def test_bad_units(units):
    with pytest.raises(ValueError, match="`units` must be a positive integer. Received: units="):
        GateNoise(units)
