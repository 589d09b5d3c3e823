"""Layers of users whose weights are single numbers, and layers whose config has more in it than their class takes."""

import keras
import numpy as np
from keras import ops

import tfgates
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import check

K = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Affine(K.Layer):
    """`scale * x + bias`, as in HGNetV2."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
        self.bias = self.add_weight(shape=(1,), initializer="zeros", name="bias")

    def call(self, x):
        return self.scale * x + self.bias


@keras.saving.register_keras_serializable(package="tests")
class Mixing(Affine):
    """Mixes channels once its weight is not 0."""

    def call(self, x):
        return x + self.bias * ops.mean(x, axis=-1, keepdims=True)


def network(layer):
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(8, 3, padding="same", name="first")(inputs)
    x = layer(K.ReLU()(K.BatchNormalization()(x)))
    x = K.Conv2D(4, 3, padding="same", activation="relu", name="second")(x)
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))


def test_channels_go_behind_a_layer_that_shifts_them_alike():
    model = network(Affine(name="affine"))
    gated = tfgates.gate_model(model)
    # In front of it a closed channel would become a constant, which the border of the next convolution has not.
    assert {"first", "second"} <= set(dict(gated.report.gated))
    randomise(gated, 0)
    for gate in gated.gates:
        close(gate, np.random.default_rng(0), 0.5)
    assert check(gated, min_units=1) == "smaller"
    assert any(isinstance(layer, Affine) for layer in tfgates.prune(gated, min_units=1).layers)


def test_a_layer_that_mixes_channels_with_other_weights_stays_whole():
    report = tfgates.gate_model(network(Mixing(name="mixing"))).report
    assert "or mixes them" in dict(report.skipped)["first"] and "second" in dict(report.gated)


def test_an_operator_that_is_given_a_weight_is_not_trusted_for_what_it_does_now():
    """With a weight of -200 it keeps 0; what training makes of the weight is not known."""
    number = keras.Variable(-200.0)
    trusted, given = (tfgates.gate_model(network(lambda x, y=y: ops.logaddexp(x, y))).report for y in (-200.0, number))
    assert "first" in dict(trusted.gated) and "is given a weight" in dict(given.skipped)["first"]


@keras.saving.register_keras_serializable(package="tests")
class Talkative(K.Layer):
    """Writes down what it works out, and what `shown` says."""

    def __init__(self, units, shown=1.0, hidden=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.shown = units, shown if hidden is None else hidden

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")

    def call(self, x):
        return self.shown * ops.matmul(x, self.kernel.value)

    def get_config(self):
        name = "shown" if self.units < 5 else "not_taken"
        return super().get_config() | {"units": self.units, "area": self.units**2, name: self.shown}


def model_of(layer):
    inputs = keras.Input((5,))
    x = layer(K.Dense(6, activation="relu", name="free")(inputs))
    return keras.Model(inputs, K.Dense(2)(K.Dense(4, activation="relu")(x)))


def test_a_config_with_more_than_the_class_takes():
    model = model_of(Talkative(4, shown=2.0))
    gated = tfgates.gate_model(model)
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    for gate in gated.gates:
        close(gate, np.random.default_rng(0), 0.0)
    small = tfgates.prune(gated, min_units=1)
    np.testing.assert_allclose(np.array(small(x)), np.array(gated(x, training=False)), atol=1e-5)
    (copy,) = [layer for layer in small.layers if isinstance(layer, Talkative)]
    assert copy.shown == 2.0


def test_what_a_class_would_forget_is_copied_or_refused():
    # The number is written down under a name that the class does not take.
    model = model_of(Talkative(6, shown=2.0, name="talkative"))
    copy = tfgates.gate_model(model).get_layer("talkative")
    original = model.get_layer("talkative")
    assert copy.shown == 2.0 and copy is not original and copy.kernel is not original.kernel
