"""Subclassed models are opened like layers that call others."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.random_networks import close
from tests.graph.test_properties import check, outputs_of
from tfgates.graph.network import Network

K = keras.layers


class Convolutional(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convs = [K.Conv2D(8, 3, name="first"), K.Conv2D(8, 3, name="second")]
        self.norm, self.drop = K.BatchNormalization(name="norm"), K.Dropout(0.3)
        self.pool, self.head = K.GlobalAveragePooling2D(), K.Dense(3, name="head")

    def call(self, x, training=None):
        x = ops.relu(self.norm(self.convs[0](x), training=training))
        x = self.pool(ops.relu(self.convs[1](x)))
        return self.head(self.drop(x, training=training))


class Words(keras.Model):
    def __init__(self):
        super().__init__()
        self.table, self.dense, self.head = K.Embedding(9, 8), K.Dense(6, activation="relu"), K.Dense(2)

    def call(self, x):
        return self.head(self.dense(self.table(x)))


class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = K.Dense(8, activation="relu"), K.Dense(8, activation="relu"), K.Dense(2)

    def call(self, inputs):
        return {"sum": self.head(self.a(inputs["left"]) + self.b(inputs["right"]))}


class ByValue(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = K.Dense(4)

    def call(self, x):
        return self.dense(x) if float(ops.max(x)) > 0.0 else x


def gated_and_pruned(model, x, **arguments):
    expected = outputs_of(model, x)
    names = [layer.name for layer in model.layers]
    gated = tfgates.gate_model(model, compensate=True, **arguments)
    for a, b in zip(expected, outputs_of(gated, x), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)
    generator = np.random.default_rng(0)
    for gate in gated.gates:
        close(gate, generator, 0.4)
    assert check(gated, min_units=1) == "smaller"
    assert [layer.name for layer in model.layers] == names
    assert not any(layer._inbound_nodes for layer in model.layers)
    return gated


IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("built", [False, True])
def test_a_model_of_images(built):
    model = Convolutional()
    if built:
        model(IMAGES)
    gated = gated_and_pruned(model, IMAGES, **({} if built else {"inputs": IMAGES}))
    assert {name for name, _ in gated.report.gated} == {"first", "second"}
    assert gated.name == model.name and gated.input_shape == (None, 8, 8, 3)
    # Dropout and averages are those of training.
    assert [type(layer) for layer in gated.layers].count(K.Dropout) == 1


def test_it_trains_and_prunes_like_any_other():
    model = Convolutional()
    gated = tfgates.gate_model(model, inputs=IMAGES, budget=tfgates.Budget(params=0.5))
    gated.compile("adam", "sparse_categorical_crossentropy")
    gated.fit(IMAGES, np.arange(4) % 3, epochs=1, verbose=0)
    small = tfgates.prune(gated)
    assert small.count_params() <= 0.5 * model.count_params()


def test_a_model_that_is_built_is_counted_and_pruned_as_it_is():
    model = Convolutional()
    model(IMAGES)
    model.convs[0].kernel.assign(np.array(model.convs[0].kernel) * (np.arange(8) > 2))
    model.convs[0].bias.assign(np.zeros(8))
    small = tfgates.prune(model)
    assert small.get_layer("first").filters == 5
    assert tfgates.cost(model).params == small.count_params()
    np.testing.assert_allclose(np.array(small(IMAGES)), np.array(model(IMAGES)), atol=1e-5)


def test_indices_need_an_example():
    model, x = Words(), np.array([[1, 2, 8]], "int32")
    model(x)
    with pytest.raises(ValueError, match="Layer 'embedding.*' reads indices.*give an example as `inputs`. Received: "):
        tfgates.gate_model(model)
    gated = gated_and_pruned(model, x, inputs=x)
    assert gated.inputs[0].dtype == "int32"


def test_dicts():
    model = Pair()
    x = {key: np.random.default_rng(i).normal(size=(3, 4)) for i, key in enumerate(("left", "right"))}
    model(x)
    gated = gated_and_pruned(model, x, inputs=x, residual="tied")
    assert set(gated(x)) == {"sum"}
    assert set(Network(model).functional.input) == {"left", "right"}


class WithoutCall(keras.Model):
    """Trains two models, as a variational autoencoder is often written."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = (keras.Sequential([keras.Input((4,)), K.Dense(4)]) for _ in "ab")


@pytest.mark.parametrize("inputs", [None, np.ones((2, 4), "float32")], ids=["", "inputs"])
def test_a_model_that_says_not_what_it_computes(inputs):
    with pytest.raises(ValueError, match=r"must have a `call`.*its parts \(`encoder`, `decoder`\).*model=WithoutCall"):
        tfgates.gate_model(WithoutCall(), inputs=inputs)


def test_models_that_cannot_be_followed():
    model = ByValue()
    x = np.ones((2, 4), "float32")
    with pytest.raises(ValueError, match="must be one that can be followed, layer by layer.*Received: model=ByValue"):
        tfgates.gate_model(model, inputs=x)
    with pytest.raises(ValueError, match="give `tfgates.gate_model` an example.*Received: model=ByValue.*not built"):
        tfgates.gate_model(ByValue())


def test_one_inside_of_a_functional_model():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, K.Dense(2, name="last")(Convolutional(name="inner")(K.Conv2D(3, 1)(inputs))))
    assert "inner/first" in [node.name for node in Network(model).nodes]
    gated = tfgates.gate_model(model)
    assert {"inner/first", "inner/second"} <= {name for name, _ in gated.report.gated}


@pytest.mark.parametrize("as_dataset", [False, True])
def test_compress(as_dataset):
    x, y = np.arange(12).reshape(4, 3) % 9, np.arange(12).reshape(4, 3) % 2
    data = (x, y)
    if as_dataset:
        tf = pytest.importorskip("tensorflow")
        data = tf.data.Dataset.from_tensor_slices(data).batch(2)
    loss = "sparse_categorical_crossentropy"
    small = tfgates.compress(Words(), data, tfgates.Budget(params=0.8), loss, epochs=2, verbose=0)
    # Whole numbers are of 32 bits with JAX.
    whole = "int32" if keras.backend.backend() == "jax" else "int64"
    assert small.inputs[0].dtype == whole and small.input_shape == (None, 3)
