"""What is frozen stays frozen in every copy, however deep it lies."""

import keras
import numpy as np
import pytest

import tfgates
from tests.opaque import needs_values

K = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Block(K.Layer):
    """A layer that calls layers, and that can have a weight of its own, not be followed, and so stay whole."""

    def __init__(self, whole=False, **kwargs):
        super().__init__(**kwargs)
        self.whole = whole
        self.inner, self.norm = K.Dense(4, name="inner"), K.BatchNormalization(name="norm")

    def build(self, shape):
        self.inner.build(shape)
        self.norm.build((*shape[:-1], 4))
        if self.whole:
            self.offset = self.add_weight(shape=(4,), name="offset")

    def compute_output_shape(self, shape):
        return shape

    def call(self, x, training=None):
        x = self.norm(self.inner(needs_values(x) if self.whole else x), training=training)
        return x + self.offset if self.whole else x

    def get_config(self):
        return {**super().get_config(), "whole": self.whole}


@keras.saving.register_keras_serializable(package="tests")
class Silent(Block):
    """Its config does not say whether it is frozen."""

    def __init__(self, whole=True, name=None):
        super().__init__(whole, name=name)

    def get_config(self):
        return {"whole": self.whole, "name": self.name}


def nested():
    inside = keras.Input((3, 4))
    return keras.Model(inside, K.BatchNormalization()(K.Dense(4)(inside)), name="nested")


def frozen(make, *paths):
    """A layer, of which parts are frozen once it is built."""

    def freeze(layer):
        for path in paths:
            part = layer
            for name in path.split("."):
                part = part[int(name)] if name.isdigit() else getattr(part, name)
            part.trainable = False

    return make, freeze


def inside_a_frozen_one(layer):
    layer.trainable = False
    layer.norm.trainable = True


CASES = {
    "nothing": frozen(Block),
    "a part, opened": frozen(Block, "inner"),
    "normalisation, opened": frozen(Block, "norm"),
    "a part": frozen(lambda: Block(True), "inner"),
    "normalisation": frozen(lambda: Block(True), "norm"),
    "all": frozen(lambda: Block(True), "inner", "norm", "offset"),
    "a variable": frozen(lambda: Block(True), "inner.bias"),
    "a variable, opened": frozen(Block, "inner.bias"),
    "but for a part": (lambda: Block(True), inside_a_frozen_one),
    "but for a part, opened": (Block, inside_a_frozen_one),
    "all of one that does not say so": (Silent, lambda layer: setattr(layer, "trainable", False)),
    "the whole": (lambda: Block(True), lambda layer: setattr(layer, "trainable", False)),
    "bidirectional": frozen(lambda: K.Bidirectional(K.LSTM(2, return_sequences=True)), "backward_layer"),
    "bidirectional, whole": frozen(
        lambda: K.Bidirectional(K.RNN(K.LSTMCell(2), return_sequences=True)), "backward_layer"
    ),
    "distributed": frozen(lambda: K.TimeDistributed(K.BatchNormalization()), "layer"),
    "distributed block": frozen(lambda: K.TimeDistributed(Block(True)), "layer.norm"),
    "nested": frozen(nested, "layers.1"),
    "nested normalisation": frozen(nested, "layers.2"),
    "attention": frozen(lambda: Attention(), "attention._key_dense"),
}


@keras.saving.register_keras_serializable(package="tests")
class Attention(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = K.MultiHeadAttention(2, 2, name="attention")

    def build(self, shape):
        self.attention.build(shape, shape)

    def call(self, x):
        return self.attention(x, x)


def network(layer):
    inputs = keras.Input((3, 4))
    x = K.Dense(6, activation="relu", name="hidden")(layer(inputs))
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling1D()(x)))


def data():
    return np.random.default_rng(0).normal(2.0, 3.0, size=(8, 3, 4)).astype("float32")


def trained(model):
    """The shapes of what training changes, gates apart: by gradients, and by being called."""
    statistics = [v for v in model.non_trainable_variables if "moving" in v.path]
    before = [np.array(v) for v in statistics]
    model(data(), training=True)
    changed = [v for v, old in zip(statistics, before, strict=True) if not np.array_equal(old, np.array(v))]
    return sorted((v.name, *v.shape) for v in [*model.trainable_variables, *changed] if "gate" not in v.path)


def prunable(model):
    """Closes a unit for certain."""
    kernel, bias = np.array(model.get_layer("hidden").kernel), np.array(model.get_layer("hidden").bias)
    kernel[:, 0], bias[0] = 0.0, 0.0
    model.get_layer("hidden").kernel.assign(kernel)
    model.get_layer("hidden").bias.assign(bias)
    return model


@pytest.mark.parametrize("case", CASES)
def test_copies_train_what_the_original_does(case, tmp_path):
    make, freeze = CASES[case]
    layer = make()
    model = network(layer)
    freeze(layer)
    gated = tfgates.gate_model(model, gate="scaling")
    pruned = tfgates.prune(prunable(gated))
    gated.save(tmp_path / "gated.keras")
    loaded = keras.models.load_model(tmp_path / "gated.keras")
    expected = trained(model)
    assert trained(gated) == trained(loaded) == expected
    assert trained(pruned) == sorted((name, *(5 if n == 6 else n for n in shape)) for name, *shape in expected)


def test_nothing_more_is_written_down_where_nothing_is_frozen():
    layer = Block(True)
    gated = tfgates.gate_model(network(layer))
    assert "frozen" not in gated.get_config()
    gated.get_layer(layer.name).inner.trainable = False
    flags = {"layers": [True, False, True], "variables": [True, False, False, True, True, False, False]}
    assert gated.get_config()["frozen"] == {layer.name: flags}


def test_what_was_frozen_can_be_thawed():
    layer = Block(True)
    model = network(layer)
    layer.trainable = False
    gated = tfgates.gate_model(model, gate="scaling")
    gated.get_layer(layer.name).trainable = True
    gated.compile("sgd", loss="mse")
    own = [v for v in gated.get_layer(layer.name).variables if v.shape]
    before = [np.array(v) for v in own]
    gated.fit(data(), np.ones((8, 2)), verbose=0)
    assert len(own) == 7
    assert not any(np.array_equal(old, np.array(v)) for v, old in zip(own, before, strict=True))


@pytest.mark.slow
def test_compress_keeps_what_is_frozen():
    layer = Block(True)
    model = network(layer)
    layer.norm.trainable = False
    expected = [name for name, *_ in trained(model)]
    before = np.array(layer.norm.moving_mean)
    small = tfgates.compress(
        model, (data(), np.ones((8, 2))), tfgates.Budget(params=0.9), "mse", epochs=2, batch_size=4, verbose=0
    )
    assert [name for name, *_ in trained(small)] == expected
    np.testing.assert_array_equal(small.get_layer(layer.name).norm.moving_mean, before)
