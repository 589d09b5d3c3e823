"""What a `call` does is followed where Keras is told something else of the layers in it, or is told too little."""

import keras
import numpy as np
from keras import ops

import tfgates
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import check
from tfgates.graph.network import Network

K = keras.layers


class Turned(K.Layer):
    """Turns two tensors by angles, and says that it makes one."""

    def call(self, x, y):
        turn = ops.cos(ops.arange(ops.shape(x)[-1], dtype=x.dtype))
        return x * turn, y * turn

    def compute_output_shape(self, shape):
        return shape


class Attention(K.Layer):
    """Attention over a known number of places, by products that are told no number of places.

    The angles of the places are an argument that has no examples.
    """

    def __init__(self, width=8, heads=2, **kwargs):
        super().__init__(**kwargs)
        self.turned, self.heads = Turned(name="turned"), heads
        self.parts = [
            K.EinsumDense("btd,dnh->btnh", (None, heads, width // heads), name=name)
            for name in ("query", "key", "value")
        ]
        self.mixed = K.EinsumDense("btnh,nhd->btd", (None, width), name="mixed")

    def build(self, x_shape, angles_shape):
        width, heads = x_shape[-1], self.heads
        for part in self.parts:
            part.build(x_shape)
        self.mixed.build((*x_shape[:-1], heads, width // heads))

    def compute_output_shape(self, x_shape, angles_shape):
        return x_shape

    def call(self, x, angles):
        batch, places, _ = ops.shape(x)
        query, key, value = (part(x) for part in self.parts)
        query, key = self.turned(query * ops.cos(angles)[:, None, None], key)
        query, key, value = (ops.transpose(part, (0, 2, 1, 3)) for part in (query, key, value))
        weights = ops.softmax(query @ ops.transpose(key, (0, 1, 3, 2)))
        mixed = self.mixed(ops.transpose(weights @ value, (0, 2, 1, 3)))
        return ops.reshape(mixed, (batch, places, -1))


class Angles(K.Layer):
    """Makes one angle for each place of what it is called on, whatever the examples are."""

    def call(self, x):
        return ops.arange(x.shape[1], dtype="float32")


def test_attention_of_which_keras_is_told_something_else():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 8))
    x = K.Dense(8, name="first")(inputs)
    x = Attention(name="layer")(x, Angles(name="angles")(x))
    model = keras.Model(inputs, K.Dense(3, name="head")(K.Flatten()(x)))
    network = Network(model)
    assert {"layer/query", "layer/mixed"} <= {node.name for node in network.nodes}
    assert not [node.whole for node in network.nodes if node.whole]
    randomise(model, 0)
    gated = tfgates.gate_model(model)
    for gate in gated.gates:
        close(gate, np.random.default_rng(0), 0.4)
    check(gated, min_units=1)
    # What the products are told now is written down with them.
    pruned = tfgates.prune(gated, min_units=1)
    assert all(None not in layer.output.shape[1:] for layer in pruned.layers)
