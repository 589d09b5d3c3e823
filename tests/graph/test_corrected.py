"""Layers of which Keras was told other ranks than they make, in the graph of a model."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import outputs_of
from tfgates.graph.network import Network

K = keras.layers


class Positions(K.Layer):
    """A number for each step, the same for all examples."""

    def call(self, x):
        return ops.arange(ops.shape(x)[1], dtype="float32")


class Angles(K.Layer):
    """Two angles for each step; it says that it makes what it reads, as layers do that inherit saying so."""

    def build(self, shape):
        self.speed = self.add_weight(shape=(2,), name="speed")

    def compute_output_shape(self, shape):
        return shape

    def call(self, positions):
        return ops.reshape(ops.outer(positions, self.speed), (ops.shape(positions)[0], -1))


class Turning(K.Layer):
    """Turns two channels by the last of the angles, all examples alike, and two dense layers beside them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.up, self.down = K.Dense(16, activation="relu", name="up"), K.Dense(8, name="down")

    def build(self, x_shape, angles_shape):
        self.up.build(x_shape)
        self.down.build((*x_shape[:-1], 16))

    def compute_output_shape(self, x_shape, angles_shape):
        return x_shape

    def call(self, x, angles):
        steps = ops.shape(x)[1]
        turned = x[..., :2] * ops.cos(ops.reshape(angles[:steps, :], (1, steps, 2)))
        x = ops.concatenate([turned, x[..., 2:]], axis=-1)
        return x + self.down(self.up(x))


def turned(more=0, **kwargs):
    """A network with angles for as many steps as there are, or for more."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 8))
    longer = K.ZeroPadding1D((0, more))(inputs) if more else inputs
    angles = Angles(name="angles", **kwargs)(Positions(name="positions")(longer))
    x = K.Dense(6, activation="relu", name="free")(Turning(name="turning")(inputs, angles))
    model = keras.Model(inputs, K.Dense(3, name="head")(x))
    randomise(model, 0)
    return model


@pytest.mark.parametrize("more", [0, 2])
def test_what_keras_was_told_otherwise_is_followed(more):
    model = turned(more)
    network = Network(model)
    assert not [node.whole for node in network.nodes if node.whole]
    # What was not told by the layer itself is found by tracing it.
    assert [network.shapes[n.outputs[0]] for n in network.nodes if "angles/reshape" in n.name] == [(None, 2)]
    gated = tfgates.gate_model(model)
    assert {"turning/up", "free"} <= set(dict(gated.report.gated))
    for gate in gated.gates:
        close(gate, np.random.default_rng(0), 0.4)
    pruned = tfgates.prune(gated)
    assert pruned.count_params() < model.count_params()
    for batch, steps in ((1, 3), (4, 9)):
        x = np.random.default_rng(steps).normal(size=(batch, steps, 8)).astype("float32")
        np.testing.assert_allclose(outputs_of(pruned, x)[0], outputs_of(gated, x)[0], atol=1e-5)


def test_what_stays_whole_tells_keras_the_same_again():
    model = turned(activity_regularizer="l2")
    whole = {node.name: node.whole for node in Network(model).nodes if node.whole}
    assert "ranks and types" in whole["angles"] and whole.keys() == {"angles", "turning"}
    assert [name for name, _ in tfgates.gate_model(model).report.gated] == ["free"]
