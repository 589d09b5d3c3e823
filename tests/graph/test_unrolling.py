"""What a `call` does is followed where Keras is told something else of the layers in it, or is told too little."""

import keras
import numpy as np
from keras import ops

import tfgates
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import check, outputs_of
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


class InWindows(K.Layer):
    """Each of the four windows of an example, examples of what it is called on, times a number of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.up, self.down = K.Dense(16, "relu", name="up"), K.Dense(8, name="down")

    def build(self, shape):
        self.up.build(shape)
        self.down.build((*shape[:-1], 16))

    def call(self, x):
        windows = ops.shape(x)[0]
        x = ops.reshape(self.down(self.up(x)), (windows // 4, 4, 3, 8)) * ops.reshape(ops.arange(1.0, 5.0), (4, 1, 1))
        return ops.reshape(x, (windows, 3, 8))


class Windows(K.Layer):
    """Cuts examples into four windows each."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = InWindows(name="inner")

    def build(self, shape):
        self.inner.build((None, 3, 8))

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        batch = ops.shape(x)[0]
        inside = self.inner(ops.reshape(x, (batch * 4, 3, 8)))
        return x + ops.reshape(inside, (batch, 12, 8))


def test_what_can_be_followed_only_where_it_is_called():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 8))
    model = keras.Model(inputs, K.Dense(3, name="head")(Windows(name="layer")(K.Dense(8, name="first")(inputs))))
    # By itself it is not called on numbers of windows that four does not divide.
    assert not [node.whole for node in Network(model).nodes if node.whole]
    randomise(model, 0)
    gated = tfgates.gate_model(model, layers=".*")
    assert [name for name, _ in gated.report.gated] == ["layer/inner/up"]
    close(gated.gates[0], np.random.default_rng(0), 0.4)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert pruned.count_params() == plan.params < model.count_params()
    for size in (1, 5):
        x = np.random.default_rng(size).normal(size=(size, 12, 8)).astype("float32")
        np.testing.assert_allclose(outputs_of(pruned, x)[0], outputs_of(gated, x)[0], atol=1e-5)


class Distances(K.Layer):
    """Numbers that follow from how far steps are from each other, by `==` and by all distances there are."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.up, self.down = K.Dense(16, "relu", name="up"), K.Dense(8, name="down")

    def build(self, shape):
        self.up.build(shape)
        self.down.build((*shape[:-1], 16))

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        steps = ops.shape(x)[1]
        distances = ops.arange(steps - 1, -steps, -1, dtype="float32") * ops.ones((2 * steps - 1,))
        # A number that is near one of those for which it is followed.
        x = x * ops.max(ops.arange(3, 105, 101, dtype="float32")) / 104.0
        same = ops.expand_dims(ops.arange(steps), 1) == ops.arange(steps)
        inside = self.down(self.up(x * ops.cast(x == x, x.dtype)))
        return x + ops.matmul(ops.cast(same, x.dtype), inside) * (1.0 + ops.max(distances) + ops.sum(distances))


def test_numbers_of_steps_in_what_is_counted_and_compared():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, K.Dense(3, name="head")(Distances(name="layer")(inputs)))
    assert not [node.whole for node in Network(model).nodes if node.whole]
    gated = tfgates.gate_model(model)
    assert [name for name, _ in gated.report.gated] == ["layer/up"]
    close(gated.gates[0], np.random.default_rng(0), 0.4)
    pruned = tfgates.prune(gated)
    for batch, steps in ((1, 2), (3, 5)):
        x = np.random.default_rng(steps).normal(size=(batch, steps, 8)).astype("float32")
        np.testing.assert_allclose(outputs_of(pruned, x)[0], outputs_of(gated, x)[0], rtol=1e-4, atol=1e-4)
    # Elsewhere symbolic tensors are told apart by their addresses.
    assert (inputs == model.output) is False and inputs == inputs
