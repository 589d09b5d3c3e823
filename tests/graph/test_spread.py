"""Channels that are spread over several axes and joined again: units are what falls together."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.units import close_half, randomised, same_outputs

K = keras.layers


def image(*steps, size=4, channels=3):
    x = inputs = keras.Input((size, size, channels))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, K.Dense(2, name="head")(x))


def shuffle(x):
    """ShuffleNet's: two groups of channels, one channel of each in turn."""
    height, width, channels = x.shape[1:]
    x = ops.reshape(x, (-1, height, width, 2, channels // 2))
    return ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, height, width, channels))


def pixels(x):
    height, width, channels = x.shape[1:]
    x = K.Permute((1, 3, 2, 4, 5))(K.Reshape((height, width, 2, 2, channels // 4))(x))
    return K.Reshape((2 * height, 2 * width, channels // 4))(x)


def tokens(x):
    """Patches of 2 x 2 places as tokens."""
    height, width, channels = x.shape[1:]
    x = K.Permute((1, 3, 2, 4, 5))(K.Reshape((height // 2, 2, width // 2, 2, channels))(x))
    return K.Reshape((height * width // 4, 4 * channels))(x)


def split_and_multiplied(x):
    value, gate = ops.split(x, 2, axis=-1)
    return value * ops.sigmoid(gate)


def generator():
    inputs = keras.Input((5,))
    x = K.LeakyReLU()(K.BatchNormalization()(K.Dense(3 * 2 * 8, use_bias=False, name="first")(inputs)))
    x = K.Conv2DTranspose(4, 3, strides=2, padding="same")(K.Reshape((3, 2, 8))(x))
    return keras.Model(inputs, K.Conv2DTranspose(1, 3, padding="same")(K.ReLU()(x)))


def conv(filters, name="first", **arguments):
    return K.Conv2D(filters, 3, padding="same", activation="relu", name=name, **arguments)


# Networks; the units of the gates; and what is left of the first layer with half of them closed.
NETWORKS = {
    "shuffle": (lambda: image(conv(8), shuffle, conv(8, name="behind")), [8, 8], 4),
    "pixel shuffle": (lambda: image(conv(12), pixels), [3], 8),
    "depth to space": (lambda: image(conv(16), lambda x: ops.depth_to_space(x, 2)), [4], 8),
    "space to depth": (lambda: image(conv(6), lambda x: ops.space_to_depth(x, 2)), [6], 3),
    "patches": (lambda: image(conv(6), tokens), [6], 3),
    "a map made by a dense layer": (generator, [8, 4], 24),
    "a split that is multiplied": (lambda: image(K.Dense(12, name="first"), split_and_multiplied), [6], 6),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_what_falls_together(name):
    make, units, left = NETWORKS[name]
    gated = tfgates.gate_model(make())
    assert [gate.units for gate in gated.gates] == units
    assert dict(gated.report.gated)["first"] == f"{units[0]} units"
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    first = pruned.get_layer("first")
    assert (first.units if isinstance(first, K.Dense) else first.filters) == left
    assert plan.params == pruned.count_params() and not plan.kept and not plan.alone
    same_outputs(gated, pruned)


def test_the_expected_cost_of_units_of_several_channels():
    gated = tfgates.gate_model(image(conv(16), pixels), gate="bernoulli")
    gated.gates[0].logits.assign([50.0, -50.0, 50.0, -50.0])
    cost = tfgates.cost(gated)
    np.testing.assert_allclose(cost.expected_params, cost.params, rtol=1e-5)
    assert cost.params == 8 * (27 + 1) + 2 * 2 + 2


@pytest.mark.parametrize("closed", [[0, 1, 2, 3], [0, 4], [1, 2, 7]])
def test_any_channels_of_a_shuffle(closed):
    """Whole groups, the same of each group, and others: no shuffle is left of those."""
    model = image(conv(8), shuffle, conv(3, name="behind"))
    randomised(model)
    kernel, bias = (np.array(w) for w in model.get_layer("first").weights)
    kernel[..., closed] = 0.0
    bias[closed] = 0.0
    model.get_layer("first").set_weights([kernel, bias])
    pruned = tfgates.prune(model)
    assert pruned.get_layer("first").filters == 8 - len(closed)
    same_outputs(model, pruned)


def test_what_is_read_in_between():
    """A layer that reads the channels while they are apart ties those that it takes for one."""
    inputs = keras.Input((4, 4, 3))
    x = ops.reshape(conv(8)(inputs), (-1, 4, 4, 2, 4))
    y = K.GlobalAveragePooling3D()(K.Conv3D(3, 1, name="apart")(x))
    z = K.Dense(3, name="behind")(K.GlobalAveragePooling2D()(ops.reshape(ops.swapaxes(x, 3, 4), (-1, 4, 4, 8))))
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.Concatenate()([y, z]))))
    randomised(gated)
    close_half(gated)
    same_outputs(gated, tfgates.prune(gated))


def test_channels_that_no_axis_tells_apart():
    """Rows of 4 of 6 channels each: every position has several, and each several positions."""
    inputs = keras.Input((4, 4, 3))
    x = K.Reshape((24, 4), name="rows")(conv(6)(inputs))
    model = keras.Model(inputs, K.Dense(2)(K.Dense(3, activation="relu", name="free")(x)))
    gated = tfgates.gate_model(model)
    assert "rows" in dict(gated.report.skipped)["first"]
    randomised(gated)
    close_half(gated)
    same_outputs(gated, tfgates.prune(gated))


def test_a_spread_that_is_an_output():
    inputs = keras.Input((5,))
    x = K.Dense(12, name="first")(inputs)
    model = keras.Model(inputs, [K.Reshape((2, 2, 3))(x), K.Dense(2)(K.Dense(4, activation="relu")(inputs))])
    gated = tfgates.gate_model(model)
    assert dict(gated.report.skipped)["first"] == "an output of the model"


def test_a_pixel_shuffle_that_is_flattened():
    """Told in two steps: no axis of the flat map tells the channels apart, but those of the map do."""
    gated = tfgates.gate_model(image(conv(16), lambda x: ops.depth_to_space(x, 2), K.Flatten()))
    assert [gate.units for gate in gated.gates] == [4]
    randomised(gated)
    close_half(gated)
    pruned = tfgates.prune(gated)
    assert pruned.get_layer("first").filters == 8
    same_outputs(gated, pruned)


def test_one_channel_is_not_told_along_places():
    inputs = keras.Input((None, 4))
    x = keras.layers.Reshape((-1, 1, 1))(keras.layers.Dense(1, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Reshape((-1, 1))(x)))
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    np.testing.assert_allclose(tfgates.prune(model)(x), model(x), atol=1e-6)


class OverPlaces(K.Layer):
    """Attention of all places of a map of open size, as in the middle of a VAE."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.query, self.key, self.value = (K.Conv2D(6, 1, name=name) for name in ("query", "key", "value"))

    def call(self, x):
        batch, height, width = ops.shape(x)[:3]
        query, key, value = (ops.reshape(part(x), (batch, height * width, 6)) for part in self.parts())
        weights = ops.softmax(ops.einsum("bic,bjc->bij", query, key), axis=-1)
        return ops.reshape(ops.einsum("bij,bjc->bic", weights, value), (batch, height, width, 6))

    def parts(self):
        return self.query, self.key, self.value


def test_reshapes_to_open_sizes_leave_the_last_axis_as_it_is():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(OverPlaces(name="attention")(inputs))))
    gated = tfgates.gate_model(model)
    assert dict(gated.report.gated) == {"attention/query": "6 features", "attention/value": "6 features"}
    randomised(gated)
    close_half(gated)
    pruned = tfgates.prune(gated)
    assert {layer.filters for layer in pruned.layers if isinstance(layer, K.Conv2D)} == {3}
    for size in ((2, 4, 3, 3), (1, 2, 2, 3)):
        x = np.random.default_rng(0).normal(size=size).astype("float32")
        for call in ({}, {"training": False}):
            np.testing.assert_allclose(gated(x, **call), pruned(x, **call), atol=1e-5)
