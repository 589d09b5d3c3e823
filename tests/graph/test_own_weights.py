"""Layers that compute with weights of their own are laid out flat, with these weights as tensors."""

import types

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates.graph.network import Network
from tfgates.layers import AsMany, Constant, Weight

K = keras.layers


class Tokens(K.Layer):
    """A class token in front of the patches, and positions that are looked up."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal", name="token")
        self.positions = K.Embedding(shape[1] + 1, shape[-1], name="positions")
        self.positions.build(None)

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        x = ops.concatenate([token, x], axis=1)
        return x + self.positions(ops.arange(x.shape[1]))


class Affine(K.Layer):
    """Scales and shifts each channel."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", regularizer="l2", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="normal", name="beta")
        self.numbers = [self.add_weight(shape=(), initializer="ones", name="number")]

    def call(self, x):
        return self.numbers[0] * (x * ops.cast(self.gamma, x.dtype) + self.beta)


class Norm(K.Layer):
    """`keras_hub`'s: takes a layer's policy, which no config says."""

    def __init__(self, epsilon=1e-6, made_by=None, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="zeros", name="scale")

    def call(self, x):
        mean = ops.mean(ops.square(x), axis=-1, keepdims=True)
        return x * ops.rsqrt(mean + self.epsilon) * (1 + self.scale)


class Unread(K.Layer):
    def build(self, shape):
        self.dense = K.Dense(4)
        self.dense.build(shape)
        self.mask = self.add_weight(shape=(4,), name="mask")

    def call(self, x):
        return self.dense(x)


def randomise(model):
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if "logits" not in variable.path:
            variable.assign(generator.normal(size=variable.shape))


def half_closed(model, **arguments):
    """The gated model and what is left of it, random, with half of the units closed."""
    gated = tfgates.gate_model(model, **arguments)
    randomise(gated)
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) % 2, -4.0, 4.0).reshape(gate.logits.shape))
    return gated, tfgates.prune(gated)


def transformer():
    inputs = keras.Input((5, 4))
    x = K.Dense(6, name="patches")(inputs)
    x = Tokens(name="tokens")(x)
    y = K.Dense(8, activation="gelu", name="free")(Norm(name="norm", made_by=object())(x))
    x = x + Affine(name="affine")(K.Dense(6)(y))
    return keras.Model(inputs, K.Dense(2)(x[:, 0]))


@pytest.fixture(scope="module")
def gated_and_pruned():
    return half_closed(transformer(), residual=("inner", "tied"))


def test_tokens_positions_and_factors(gated_and_pruned, tmp_path):
    gated, pruned = gated_and_pruned
    kinds = [type(layer) for layer in gated.layers]
    assert kinds.count(AsMany) == kinds.count(Constant) == 1
    names = {layer.name for layer in gated.layers if isinstance(layer, Weight)}
    assert names == {"tokens_token", "norm_scale", "affine_number", "affine_gamma", "affine_beta"}
    x = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-4)
    assert gated.get_layer("affine_gamma").losses
    for model in (gated, pruned):
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(np.array(loaded(x)), np.array(model(x)), atol=1e-6)


def test_weights_lose_the_channels_that_go():
    inputs = keras.Input((4,))
    x = K.Dense(8, name="free")(inputs)
    x = K.ReLU()(Affine(name="affine")(x))
    model = keras.Model(inputs, K.Dense(2)(x))
    gated, pruned = half_closed(model)
    assert gated.report.carried["affine/gamma"] == gated.report.carried["affine/beta"] == ["free"]
    # A closed unit is the constant `relu(number * beta)`, which the next layer takes up.
    assert pruned.count_params() == 4 * 4 + 4 + 4 + 4 + 1 + 4 * 2 + 2
    x = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-4)
    # A file of it needs tfgates, and the plan says because of what.
    names = {name for name, _ in tfgates.plan_pruning(gated).needs_tfgates}
    assert names == {"affine_number", "affine_gamma", "affine_beta"}
    said = str(tfgates.report_of(pruned)).partition("needs tfgates to be loaded:")[2]
    assert all(f"{name}: a weight that a layer of yours" in said for name in names)
    # What is left is trained on.
    assert len(pruned.trainable_variables) == len(model.trainable_variables)


def test_flags_and_the_weights_themselves():
    inputs = keras.Input((4,))
    affine = Affine(name="affine")
    model = keras.Model(inputs, K.Dense(2)(K.Dense(8)(affine(K.Dense(4)(inputs)))))
    affine.beta.trainable = False
    gated = tfgates.gate_model(model)
    flags = {layer.name: layer.value.trainable for layer in gated.layers if isinstance(layer, Weight)}
    assert flags == {"affine_gamma": True, "affine_beta": False, "affine_number": True}
    same = tfgates.gate_model(model, copy_weights=False)
    held = [layer.value for layer in same.layers if isinstance(layer, Weight)]
    assert {id(v) for v in held} == {id(v) for v in affine.weights}


def test_a_weight_that_nothing_reads_is_left_out_and_said_so():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, K.Dense(2)(Unread(name="unread")(inputs)))
    gated = tfgates.gate_model(model)
    assert dict(gated.report.skipped)["unread/mask"] == "left out: nothing that the model computes reads this weight"
    assert gated.count_params() - sum(g.units for g in gated.gates) == model.count_params() - 4


class Making(K.Layer):
    """Makes a layer in each call, and returns numbers beside what it makes of its input."""

    def build(self, shape):
        self.dense = K.Dense(6)
        self.dense.build(shape)

    def call(self, x):
        x = K.Activation("relu")(self.dense(x))
        return ops.reshape(x, (ops.shape(x)[0], 2, 3)), ops.zeros((0, 4))

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 2, 3)), keras.KerasTensor((0, 4))


def test_layers_that_a_call_makes_and_numbers_that_it_returns():
    inputs = keras.Input((4,))
    x = K.Flatten()(Making(name="making")(inputs)[0])
    gated, pruned = half_closed(keras.Model(inputs, K.Dense(2)(x)))
    assert dict(gated.report.gated) == {"making/dense": "6 units"}
    x = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-4)


class Odd(K.Layer):
    """Uses its weights where nothing is known of them."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 5), name="kernel")
        self.bias = self.add_weight(shape=(5,), name="bias")

    def call(self, x):
        return ops.conv(x, 2.0 * self.kernel) + ops.reshape(ops.softplus(self.bias), (1, 1, 1, 5))


def test_operators_that_know_nothing_of_weights():
    inputs = keras.Input((5, 5, 2))
    x = K.Flatten()(Odd(name="odd")(K.Conv2D(3, 1, name="before")(inputs)))
    gated, pruned = half_closed(keras.Model(inputs, K.Dense(2)(K.Dense(6, name="free")(x))))
    assert dict(gated.report.gated) == {"free": "6 units"}
    x = np.random.default_rng(1).normal(size=(3, 5, 5, 2)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-4)


class ByValue(K.Layer):
    """Cannot be followed, and looks numbers up."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")
        self.positions = K.Embedding(5, shape[-1])
        self.positions.build(None)

    def call(self, x):
        # Of sizes that are open numbers are made of the inputs, where a call is followed.
        ones = np.asarray(ops.convert_to_numpy(ops.ones((1, 1))) if ops.shape(x)[0] is None else 1.0)
        return self.factor.value * x * ones + self.positions(ops.arange(5))


class AroundByValue(K.Layer):
    def build(self, shape):
        self.first, self.second, self.inner = K.Dense(6, name="first"), K.Dense(4, name="second"), ByValue(name="inner")
        self.first.build(shape)
        self.second.build((*shape[:-1], 6))
        self.inner.build((*shape[:-1], 4))

    def call(self, x):
        examples = ops.shape(x)[0]
        return ops.reshape(self.inner(self.second(self.first(x))), (examples, 5, 4))


def test_a_layer_that_stays_whole_is_traced_as_it_is():
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, K.Dense(2)(AroundByValue(name="around")(inputs)))
    (inner,) = [node for node in Network(model).nodes if node.whole is not None]
    assert inner.name == "around/inner"
    gated, pruned = half_closed(model)
    assert dict(gated.report.gated) == {"around/first": "6 units"}
    x = np.random.default_rng(1).normal(size=(3, 5, 3)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-4)


def test_mixed_precision():
    model = keras.Sequential([keras.Input((4,)), K.Dense(4), Affine(dtype="mixed_bfloat16"), K.Dense(3), K.Dense(2)])
    network = Network(model)
    weights = [node for node in network.nodes if isinstance(node.op, Weight)]
    assert {network.dtypes[node.outputs[0]] for node in weights} == {"bfloat16"}
    assert tfgates.gate_model(model).count_params() > model.count_params()


def test_a_constant_comes_back_from_its_config():
    # Whole numbers are of 32 bits with JAX.
    layer = Constant(range(3), value_dtype="int32" if keras.backend.backend() == "jax" else None)
    again = Constant.from_config(layer.get_config())
    np.testing.assert_array_equal(np.array(again(np.zeros(1))), [0, 1, 2])
    assert again.value_dtype == keras.backend.standardize_dtype(layer(np.zeros(1)).dtype)
    weight = Weight((2, 3), initializer="ones", regularizer="l2", learns=False, name="w")
    again = Weight.from_config(weight.get_config())
    assert again.get_config() == weight.get_config()
    assert np.array(again(np.zeros(1))).shape == (2, 3)
    assert not again.trainable_variables


class Hidden(K.Layer):
    """Holds its weights where no attribute is a variable: in an object and in a closure; another in Keras's list."""

    def build(self, shape):
        self.held = types.SimpleNamespace(factor=self.add_weight(shape=(shape[-1],), initializer="ones"))
        shift = self.add_weight(shape=(shape[-1],), initializer="zeros")
        self.shifted = lambda x: x + shift
        self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return self.shifted(x * self.held.factor) * self.trainable_weights[2]


def test_weights_that_no_attribute_holds_are_those_of_the_copy():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, K.Dense(2)(Hidden(name="hidden")(K.Dense(8, name="free")(inputs))))
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables]
    gated, pruned = half_closed(model)
    assert len(gated.trainable_variables) - len(gated.gates) == len(pruned.trainable_variables) == len(before)
    assert not {id(v) for v in model.variables} & {id(v) for v in gated.variables}
    assert pruned.count_params() == 4 * 4 + 4 + 3 * 4 + 4 * 2 + 2
    x = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    expected = np.array(gated(x))
    for variable in model.trainable_variables:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(np.array(gated(x)), expected)
    np.testing.assert_allclose(np.array(pruned(x)), expected, rtol=1e-4, atol=1e-4)


class Rounds(K.Layer):
    """Multiplies by a weight in a loop, whose function reads it when it runs."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

    def call(self, x):
        return ops.fori_loop(0, 3, lambda i, y: y * self.factor, x)


def test_a_layer_whose_loop_reads_a_weight_stays_whole():
    """Followed, the loop would read the weight of the original, which nothing trains any more."""
    inputs = keras.Input((4,))
    x = K.Dense(5, activation="relu", name="free")(Rounds(name="rounds")(K.Dense(8)(inputs)))
    model = keras.Model(inputs, K.Dense(2)(x))
    gated, pruned = half_closed(model)
    assert dict(gated.report.skipped)["rounds"].endswith("gives a function to ForiLoop, which may read weights")
    assert len(gated.trainable_variables) - len(gated.gates) == len(pruned.trainable_variables) == 7
    assert not {id(v) for v in model.variables} & {id(v) for v in gated.variables}


def test_a_weight_that_no_attribute_holds_in_half_precision_leaves_the_layer_whole():
    model = keras.Sequential([keras.Input((4,)), K.Dense(4), Hidden(name="hidden", dtype="mixed_bfloat16"), K.Dense(2)])
    (inner,) = [node for node in Network(model).nodes if node.whole is not None]
    assert "`call` casts a weight that no attribute of it holds" in inner.whole


class Autoencoder(K.Layer):
    """Calls a layer, and computes with its kernel beside."""

    def build(self, shape):
        self.code = K.Dense(shape[-1], activation="relu")
        self.code.build(shape)

    def call(self, x):
        return ops.matmul(self.code(x), self.code.kernel)


def test_a_tie_that_would_be_lost_in_a_file_leaves_the_layer_whole():
    # Keras saves a variable among the arguments of an operator as a constant.
    model = keras.Sequential([keras.Input((4,)), K.Dense(4), Autoencoder(name="tied"), K.Dense(2)])
    (tied,) = [node for node in Network(model).nodes if node.whole is not None]
    assert "weights that are tied" in tied.whole


class HeadNorm(K.Layer):
    """`keras_hub`'s normalisation of queries: over the numbers of each head, with a factor for each number."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="normal", name="scale")

    def call(self, x):
        mean = ops.mean(ops.square(x), axis=-1, keepdims=True)
        return x * ops.rsqrt(mean + 1e-3) * self.scale


def test_a_weight_for_the_numbers_of_heads_stays_whole_and_the_heads_go():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4))
    x = HeadNorm(name="norm")(K.EinsumDense("btd,dnh->btnh", (None, 6, 3), name="heads")(inputs))
    model = keras.Model(inputs, K.EinsumDense("btnh,nhd->btd", (None, 2), name="out")(x))
    gated, pruned = half_closed(model)
    assert dict(gated.report.gated) == {"heads": "6 units"}
    assert pruned.count_params() == 4 * 3 * 3 + 3 + 3 * 3 * 2
    x = np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-4)
