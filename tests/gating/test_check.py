"""`gate_model` compares what it made with the original: what is wrong is never returned."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates.gating import GatingError, gated_builder
from tfgates.graph.equality import Difference, amplified

K = keras.layers


def network():
    inputs = keras.Input((4,))
    x = K.ReLU()(K.BatchNormalization()(K.Dense(6, name="first")(inputs)))
    return keras.Model(inputs, K.Dense(2, name="last")(K.Dense(5, activation="relu", name="second")(x)))


def forget(monkeypatch, kind, weight):
    """Leaves out one of the weights that are copied into gated layers made of those of a kind."""
    read = gated_builder.by_attribute

    def forgetful(layer, values):
        values = dict(read(layer, values))
        if type(layer) is kind:
            del values[weight]
        return values

    monkeypatch.setattr(gated_builder, "by_attribute", forgetful)


@pytest.mark.parametrize("arguments", [{}, {"compensate": True}, {"gate": "scaling"}, {"generator": "forward"}])
def test_a_weight_that_is_not_copied_is_found(monkeypatch, arguments):
    model = network()
    tfgates.gate_model(model, **arguments)
    forget(monkeypatch, K.Dense, "kernel")
    with pytest.raises(GatingError, match="Output 'last' of the gated network, with its gates open, differs by .* Rec"):
        tfgates.gate_model(model, **arguments)


def test_statistics_that_are_not_copied_are_found(monkeypatch):
    model = network()
    model.layers[2].moving_mean.assign(np.arange(6.0))
    tfgates.gate_model(model)
    forget(monkeypatch, K.BatchNormalization, "moving_mean")
    with pytest.raises(GatingError):
        tfgates.gate_model(model)


@keras.saving.register_keras_serializable(package="tests")
class Scaled(K.Layer):
    """Its config does not say by what it scales."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return K.Layer.get_config(self)


def test_a_config_that_does_not_say_all():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, K.Dense(2)(K.Dense(5)(Scaled(3.0)(inputs))))
    for copy_weights in (True, False):
        with pytest.raises(GatingError, match="give its class a complete `get_config`"):
            tfgates.gate_model(model, copy_weights=copy_weights)


def test_gates_that_are_there_already_keep_their_values():
    gated = tfgates.gate_model(network(), layers="first")
    gated.gates[0].logits.assign([-5.0, 5.0] * 3)
    tfgates.gate_model(gated)


def test_half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        tfgates.gate_model(network())
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_what_a_model_makes_of_rounding_is_no_bug(dtype):
    inputs = keras.Input((4,))
    # In half precision a change of a millionth is none.
    factor = 1e6 if dtype == "float32" else 1e3
    model = keras.Model(inputs, K.Identity(name="out", dtype=dtype)(ops.sin(factor * inputs)))
    x = np.ones((2, 4), "float32")
    expected = [np.asarray(model(x))]
    assert amplified(model, x, expected, Difference("out", 0, 0.5, 1.0, 1e-4))
    assert not amplified(model, x, expected, Difference("out", 0, 50.0, 1.0, 1e-4))


def test_averages_that_are_written_and_read_in_an_order_of_calls():
    inner = keras.Input((8,))
    base = keras.Model(inner, K.BatchNormalization(name="norm")(K.Dense(6)(inner)), name="base")
    inputs = keras.Input((8,))
    both = K.Add()([base(inputs, training=True), base(inputs, training=False)])
    model = keras.Model(inputs, K.Dense(2)(both))
    with pytest.raises(GatingError, match=r"depends on which of them runs first.*Received: .* layers \['base/norm'\]"):
        tfgates.gate_model(model)
