"""What copies hold: the same values in memory of their own."""

import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import tfgates

K = keras.layers


class Scaled(K.Layer):
    """Computes with what is no variable; saves it as it is told to."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.height, self.widths, self.table = 1, [1.0, 1.0, 1.0, 1.0], np.ones(4, "float16")

    def call(self, x):
        return x * self.height * ops.convert_to_tensor(self.widths) + ops.cast(self.table, "float32")

    def save_own_variables(self, store):
        store["height"], store["widths"], store["table"] = self.height, self.widths, ops.convert_to_tensor(self.table)

    def load_own_variables(self, store):
        assert list(store.keys()) == ["height", "table", "widths"]
        # What Keras hands over are arrays.
        self.height, self.widths, self.table = int(store["height"][()]), store["widths"].tolist(), store["table"][:]


class Filed(K.Layer):
    """Keeps a number in a file beside the model."""

    number = 0.0

    def call(self, x):
        return x + self.number

    def save_assets(self, folder):
        pathlib.Path(folder, "number.txt").write_text(str(self.number))

    def load_assets(self, folder):
        self.number = float(pathlib.Path(folder, "number.txt").read_text())


class Worded(Scaled):
    def build(self, shape):
        self.add_weight(shape=())

    def save_own_variables(self, store):
        store["words"] = "not a number"


def with_layer(layer):
    inputs = keras.Input((4,))
    hidden = K.Dense(6, activation="relu", name="hidden")(layer(inputs))
    return keras.Model(inputs, K.Dense(2, name="head")(hidden))


def scaled():
    layer = Scaled()
    layer.height, layer.widths, layer.table = 2, [1.0, 2.0, 3.0, 4.0], np.arange(4.0, dtype="float16")
    return layer


def filed():
    layer = Filed()
    layer.number = 2.5
    return layer


def same_at_inference(model):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    expected = np.asarray(model(x))
    for other in (tfgates.gate_model(model, compensate=True), tfgates.prune(with_zero_unit(model))):
        np.testing.assert_allclose(np.asarray(other(x)), expected, atol=1e-5)


def with_zero_unit(model):
    """The model, of which a unit can go without a change."""
    bias = np.array(model.get_layer("hidden").bias)
    kernel = np.array(model.get_layer("head").kernel)
    bias[0], kernel[0] = 0.0, 0.0
    model.get_layer("hidden").bias.assign(bias)
    model.get_layer("head").kernel.assign(kernel)
    return model


@pytest.mark.parametrize("make", [scaled, filed])
def test_a_layer_that_saves_what_is_no_variable(make):
    same_at_inference(with_zero_unit(with_layer(make())))


def test_what_keras_cannot_save_is_named():
    with pytest.raises(ValueError, match=r"Layer 'worded' cannot be copied.*Received: ValueError: Invalid dtype"):
        tfgates.gate_model(with_layer(Worded(name="worded")))


def memory(variable):
    """The very memory of a variable."""
    if keras.backend.backend() == "torch":
        return variable.value.detach().numpy()
    if keras.backend.backend() == "jax":
        return np.asarray(variable.value)
    return np.asarray(memoryview(variable.value.read_value()))


def network():
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(4, 3, activation=K.PReLU())(inputs)
    x = K.Dropout(0.1)(K.BatchNormalization()(x))
    x = K.SimpleRNN(3)(K.Reshape((16, 4))(x))
    return keras.Model(inputs, K.Dense(2)(K.Dense(5, activation="relu")(x)))


def test_copies_have_memory_of_their_own():
    model = network()
    model.compile("adam", loss="mse")
    gated = tfgates.gate_model(model, gate="scaling")
    gated.compile("adam", loss="mse")
    with pytest.warns(tfgates.GatesWarning, match="removes nothing"):
        models = [model, gated, tfgates.prune(gated)]
    found = [variable for each in models for variable in each.variables if variable.shape]
    assert len({id(variable) for variable in found}) == len(found)
    arrays = [memory(variable) for variable in found]
    for i, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:i]), found[i].path
