"""Of tensors that stay whole what is left of the channels is picked where products and concatenations read them."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.test_own_weights import half_closed

K = keras.layers


class Mixing(K.Layer):
    """Mixes its channels, in no way that is known."""

    def call(self, x):
        return ops.cumsum(x, axis=-1) / 8.0


def gated_unit(x):
    """A product with what stays whole, in either order."""
    y = K.Dense(6, name="free")(x)
    y = ops.multiply(y, Mixing()(K.Dense(6, name="whole")(x)))
    return K.Multiply()([Mixing()(K.Dense(6, name="other")(x)), y])


def spatial_gate(x):
    """Of gMLP: one half is multiplied with what a dense layer makes along the places."""
    u, v = ops.split(K.Dense(12, name="free")(x), 2, axis=-1)
    v = K.LayerNormalization()(v)
    v = ops.transpose(K.Dense(5, name="places")(ops.transpose(v, (0, 2, 1))), (0, 2, 1))
    return u * v


def attention(x):
    """Scores that keep all heads, by a bias that differs from head to head."""

    def heads(name):
        return K.EinsumDense("btd,dnh->btnh", (None, 6, 3), name=name)(x)

    scores = Mixing()(ops.einsum("bqnh,bknh->bqkn", heads("query"), heads("key")))
    weights = ops.softmax(ops.transpose(scores, (0, 3, 1, 2)), axis=-1)
    y = ops.einsum("bnqk,bknh->bqnh", weights, heads("free"))
    return K.EinsumDense("btnh,nhd->btd", (None, 4), name="merge")(y)


def sinks(x):
    """Beside the scores one for each head, which stays whole, as in GPT-OSS."""

    def heads(name):
        return K.EinsumDense("btd,dnh->btnh", (None, 6, 3), name=name)(x)

    scores = ops.einsum("bqnh,bknh->bnqk", heads("query"), heads("key"))
    whole = ops.transpose(Mixing()(K.Dense(6, name="sinks")(x)), (0, 2, 1))[..., None]
    weights = ops.softmax(ops.concatenate([scores, whole], axis=-1), axis=-1)[..., :-1]
    y = ops.einsum("bnqk,bknh->bqnh", weights, heads("free"))
    return K.EinsumDense("btnh,nhd->btd", (None, 4), name="merge")(y)


class Rotation(K.Layer):
    """Turns the numbers of heads by angles that it is given."""

    def call(self, x, positions):
        angle = ops.cast(positions, x.dtype)[..., None, None]
        a, b = ops.split(x, 2, axis=-1)
        return ops.concatenate([a * ops.cos(angle) - b * ops.sin(angle), a * ops.sin(angle) + b * ops.cos(angle)], -1)


def rotated(x):
    """Heads that a layer without weights turns by other numbers."""
    y = K.EinsumDense("btd,dnh->btnh", (5, 6, 4), name="free")(x)
    y = Rotation()(y, ops.sum(x, axis=-1))
    return K.EinsumDense("btnh,nhd->btd", (None, 4), name="merge")(y)


CASES = {
    gated_unit: ("6 units", {"whole": 6, "other": 6}),
    spatial_gate: ("6 units", {"places": 5}),
    attention: ("6 heads", {"query": 6, "key": 6}),
    sinks: ("6 heads", {"query": 3, "key": 3, "sinks": 6}),
    rotated: ("6 units", {}),
}


@pytest.mark.parametrize("part", CASES)
def test_what_is_left_is_picked(part, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, K.Dense(2, name="out")(part(inputs)))
    gated, pruned = half_closed(model)
    units, widths = CASES[part]
    assert dict(gated.report.gated)["free"] == units
    shapes = {name: pruned.get_layer(name).kernel.shape[1] for name in widths}
    assert shapes == widths and pruned.count_params() < model.count_params()
    x = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32")
    expected = np.array(gated(x))
    np.testing.assert_allclose(np.array(pruned(x)), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    # What is pruned can be gated and pruned again.
    again, smaller = half_closed(pruned)
    np.testing.assert_allclose(np.array(smaller(x)), np.array(again(x)), rtol=1e-3, atol=1e-3 * np.abs(again(x)).max())


class Weighed(K.Layer):
    """Multiplies by a weight that is read otherwise too, so that it stays whole."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="normal", name="factor")

    def call(self, x):
        return x * self.factor * (1.0 + ops.sum(ops.softmax(self.factor)))


def test_a_weight_that_stays_whole():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, K.Dense(2, name="out")(Weighed(name="weighed")(K.Dense(6, name="free")(inputs))))
    gated, pruned = half_closed(model)
    assert pruned.count_params() == 4 * 3 + 3 + 6 + 3 * 2 + 2
    x = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-4)
    assert tfgates.cost(pruned).macs < tfgates.cost(model).macs


class Late(K.Layer):
    """Adds something at late positions and where other numbers are large: heads that are 0 do not stay so."""

    def call(self, x, positions):
        late = ops.relu(ops.cast(positions, x.dtype) - 100.0)
        return x + late[..., None, None]


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
def test_what_other_tensors_do_is_tried_with_large_numbers_too(dtype):
    keras.utils.set_random_seed(0)
    inputs, positions = keras.Input((5, 4)), keras.Input((5,), dtype=dtype)
    y = Late()(K.EinsumDense("btd,dnh->btnh", (5, 6, 4), name="free")(inputs), positions)
    model = keras.Model([inputs, positions], K.EinsumDense("btnh,nhd->btd", (None, 4), name="merge")(y))
    model = keras.Model(model.inputs, K.Dense(2)(K.Dense(3, name="other")(model.outputs[0])))
    assert "free" not in dict(tfgates.gate_model(model).report.gated)
