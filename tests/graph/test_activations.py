"""Networks whose activations are not Keras's own, and elementwise operators without a rule."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import check
from tfgates.graph.network import Network

K = keras.layers


def both(x):
    return ops.where(x > 0.0, x, 0.1 * ops.power(x, 3.0))


def gated_and_pruned(model, skipped=()):
    """Gates a model, closes half of the units, prunes it and checks all; returns the pruned model."""
    randomise(model, 0)
    gated = tfgates.gate_model(model)
    carried = gated.report.carried
    assert [name for name, _ in gated.report.skipped if name not in ("head", *skipped, *carried)] == [], gated.report
    generator = np.random.default_rng(1)
    for gate in gated.gates:
        close(gate, generator, 0.5)
    assert check(gated) == "smaller"
    return gated, tfgates.prune(gated)


def dense_network(activation, layer=K.Dense):
    inputs = keras.Input((6,))
    x = layer(8, activation=activation, name="first")(inputs)
    x = layer(8, activation=activation if not isinstance(activation, keras.Layer) else None, name="second")(x)
    return keras.Model(inputs, K.Dense(3, name="head")(x))


@pytest.mark.parametrize(
    "activation",
    [ops.gelu, lambda x: ops.softplus(x) * x, both, K.LeakyReLU(0.3), K.PReLU("ones"), K.PReLU(shared_axes=[1])],
    ids=["gelu", "lambda", "function", "leaky", "prelu", "prelu_shared"],
)
def test_activations_of_dense_layers(activation):
    gated, pruned = gated_and_pruned(dense_network(activation))
    assert len(gated.gates) == 2
    assert pruned.get_layer("first").units < 8 and pruned.get_layer("second").units < 8
    if not isinstance(activation, keras.Layer):
        assert pruned.get_layer("first").activation is activation


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a function of TensorFlow")
@pytest.mark.parametrize("name", ["relu", "gelu", "swish"])
def test_functions_of_tensorflow(name):
    import tensorflow as tf

    gated, pruned = gated_and_pruned(dense_network(getattr(tf.nn, name)))
    assert len(gated.gates) == 2 and pruned.get_layer("second").activation is getattr(tf.nn, name)


def test_of_the_same_name_but_another_function():
    """Keras writes both down as `gelu`; ops.gelu is the approximate one."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, K.Dense(1, use_bias=False, kernel_initializer="ones", activation=ops.gelu)(inputs))
    x = np.linspace(-3.0, 3.0, 50, dtype="float32")[:, None]
    np.testing.assert_array_equal(np.array(tfgates.prune(model)(x)), np.array(model(x)))
    assert np.abs(np.array(keras.activations.gelu(x)) - np.array(model(x))).max() > 1e-5


def convolutional_network(activation, kind):
    inputs = keras.Input((6, 6, 4))
    x = K.Conv2D(8, 3, activation="relu", name="first")(inputs)
    if kind == "depthwise":
        x = K.DepthwiseConv2D(3, activation=activation, name="second")(x)
    else:
        x = getattr(K, kind)(8, 3, activation=activation, name="second")(x)
    return keras.Model(inputs, K.Dense(3, name="head")(K.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("kind", ["Conv2D", "SeparableConv2D", "Conv2DTranspose", "depthwise"])
@pytest.mark.parametrize("axes", [[1, 2], [1, 2, 3]])
def test_prelu_inside_of_convolutions(kind, axes):
    _, pruned = gated_and_pruned(convolutional_network(K.PReLU("ones", shared_axes=axes), kind))
    alpha = pruned.get_layer("second").activation.alpha
    assert alpha.shape[:2] == (1, 1)


def test_prelu_with_weights_for_each_place_is_kept_whole():
    model = convolutional_network(K.PReLU("ones"), "Conv2D")
    _, pruned = gated_and_pruned(model, skipped=["second"])
    assert pruned.get_layer("second").filters == 8 and pruned.get_layer("first").filters < 8
    report = dict(tfgates.gate_model(model).report.skipped)
    assert report["second"] == "its activation has weights along other axes than the channels' too"


def test_layers_with_weights_as_activation_are_kept_whole():
    model = dense_network(K.Dense(8, kernel_initializer="random_normal"))
    _, pruned = gated_and_pruned(model, skipped=["first"])
    assert pruned.get_layer("first").units == 8 and pruned.get_layer("second").units < 8


def test_a_gated_layer_takes_the_weights_of_its_activation_along():
    model = dense_network(K.PReLU())
    Network(model)
    randomise(model, 0)
    gated = tfgates.gate_model(model)
    first = gated.get_layer("first")
    assert isinstance(first, tfgates.layers.GatedDense)
    assert np.abs(first.activation.alpha).max() > 0.0
    alpha = model.get_layer("first").activation.alpha
    np.testing.assert_array_equal(first.activation.alpha, alpha)


OPERATORS = {
    "where": lambda x: ops.where(x > 0.5, x, ops.power(x, 3.0)),
    "clip": lambda x: ops.clip(x, -0.5, 2.0),
    "logaddexp": lambda x: ops.logaddexp(x, 0.3 * x),
    "arctan2": lambda x: ops.arctan2(x, 1.0 + ops.abs(x)),
    "squared_difference": lambda x: ops.square(x - ops.mean(x, axis=[1, 2], keepdims=True)),
    "cast": lambda x: ops.cast(ops.cast(2.0 * x, "int32"), "float32") * x,
    "lambda": lambda x: K.Lambda(lambda v: ops.sin(v) + 1.0)(x),
    "isnan": lambda x: ops.where(ops.isnan(x), 1.0, x),
    "erf": lambda x: ops.erf(x),
    "layer": lambda x: Wave()(x),
}


@keras.saving.register_keras_serializable(package="tests")
class Wave(K.Layer):
    """`x * sin(x)`, with noise in training."""

    def call(self, x, training=False):
        y = x * ops.sin(x)
        return y + keras.random.normal(ops.shape(x)) if training else y


@pytest.mark.parametrize("name", OPERATORS)
def test_elementwise_operators_by_nature(name):
    inputs = keras.Input((5, 5, 4))
    x = OPERATORS[name](K.Conv2D(8, 3, name="conv")(inputs))
    model = keras.Model(inputs, K.Dense(3, name="head")(K.GlobalAveragePooling2D()(x)))
    _, pruned = gated_and_pruned(model)
    assert pruned.get_layer("conv").filters < 8


def test_operators_that_are_not():
    inputs = keras.Input((5, 8))
    x = K.Dense(8, name="dense")(inputs)
    for y, reason in [
        (ops.sort(x, axis=-1), "sort (Sort): tfgates has no rule for this layer, and it treats channels or places"),
        (ops.cumsum(x, axis=-1), "cumsum (Cumsum): tfgates has no rule for this layer, and it treats channels or"),
    ]:
        model = keras.Model(inputs, K.Dense(2, name="head")(K.Dense(4, name="next")(y)))
        assert reason in dict(tfgates.gate_model(model).report.skipped)["dense"]
