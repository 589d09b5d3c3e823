"""Copies draw no random weights that they lose at once; what is given none is drawn."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.graph.fresh import Waiting, draw, wait
from tfgates.keras_internals import layers_within

K = keras.layers


@pytest.fixture
def drawn(monkeypatch):
    """The shapes that were drawn, a list that grows."""
    shapes = []
    for kind in (keras.initializers.GlorotUniform, keras.initializers.HeNormal, keras.initializers.Orthogonal):
        original = kind.__call__

        def counted(self, shape, dtype=None, original=original):
            shapes.append(tuple(shape))
            return original(self, shape, dtype=dtype)

        monkeypatch.setattr(kind, "__call__", counted)
    return shapes


def model():
    inputs = keras.Input((6, 64))
    x = K.MultiHeadAttention(4, 16)(inputs, inputs)
    x = K.Dense(80, "relu", kernel_initializer=keras.initializers.HeNormal(), name="hidden")(K.Add()([inputs, x]))
    return keras.Model(inputs, K.Dense(2)(K.LSTM(32, name="lstm")(x)))


def test_gating_and_pruning_draw_nothing_large(drawn):
    original = model()
    assert (64, 80) in drawn and (64, 4, 16) in drawn and (32, 128) in drawn
    drawn.clear()
    gated = tfgates.gate_model(original)
    small = tfgates.prune(gated)
    assert {np.prod(shape) < 4096 for shape in drawn} <= {True}
    x = np.random.default_rng(0).normal(size=(2, 6, 64)).astype("float32")
    np.testing.assert_allclose(np.array(small(x)), np.array(gated(x, training=False)), atol=1e-5)
    for made in (gated, small):
        assert isinstance(made.get_layer("hidden").kernel_initializer, keras.initializers.HeNormal)
        held = [value for layer in layers_within(made) for value in vars(layer).values()]
        assert not any(isinstance(value, Waiting) for value in held)


def test_what_is_given_no_weights_is_drawn():
    layer = K.Dense(80)
    wait(layer)
    layer.build((None, 64))
    assert not np.any(layer.kernel)
    draw(layer, {id(layer.bias)})
    assert np.std(layer.kernel) > 0.05 and isinstance(layer.kernel_initializer, keras.initializers.GlorotUniform)


def test_seeds_go_on_as_they_would():
    """A layer that makes others with its initializer takes as many seeds."""
    states = []
    for waits in (False, True):
        keras.utils.set_random_seed(0)
        layer = K.MultiHeadAttention(4, 16)
        if waits:
            wait(layer)
        layer.build((None, 6, 64), (None, 6, 64))
        states.append(keras.initializers.GlorotUniform().seed)
    assert states[0] == states[1]


def test_a_seed_that_was_asked_for_is_left_alone():
    layer = K.Dense(80, kernel_initializer=keras.initializers.HeNormal(seed=3))
    wait(layer)
    assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal)
