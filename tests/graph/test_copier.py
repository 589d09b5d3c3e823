"""What is copied with a layer, and what is said where it cannot be."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow

K = keras.layers


def classifier(inputs, features, name=None):
    hidden = K.Dense(6, activation="relu", name="hidden")(features)
    return keras.Model(inputs, K.Dense(2, name="head")(hidden), name=name)


def adapted():
    layer = K.Normalization(name="scaled")
    layer.adapt(np.random.default_rng(0).normal(5.0, 3.0, size=(50, 4)))
    return layer


def lookup(kind, words, **arguments):
    tensorflow("Keras's lookups are made of it")
    layer = kind(**arguments)
    layer.adapt(words)
    return layer


def same_at_inference(model, x):
    gated = tfgates.gate_model(model, compensate=True)
    pruned = tfgates.prune(model, inputs=x)
    expected = np.asarray(model(x, training=False))
    for other in (gated, pruned):
        np.testing.assert_allclose(np.asarray(other(x, training=False)), expected, atol=1e-5)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_adapted_normalization(wrapped):
    inputs = keras.Input((3, 4) if wrapped else (4,))
    layer = K.TimeDistributed(adapted()) if wrapped else adapted()
    model = classifier(inputs, K.Flatten()(layer(inputs)))
    same_at_inference(model, np.random.default_rng(1).normal(size=(5, *inputs.shape[1:])).astype("float32"))


def test_an_adapted_integer_lookup():
    layer = lookup(K.IntegerLookup, np.array([[11, 12, 13, 14]]))
    inputs = keras.Input((3,), dtype="int64")
    model = classifier(inputs, K.Flatten()(K.Embedding(5, 4)(layer(inputs))))
    same_at_inference(model, np.array([[11, 14, 99], [13, 12, 11]]))


@pytest.mark.parametrize("mode", ["int", "tf_idf"])
def test_an_adapted_string_lookup(mode):
    layer = lookup(K.StringLookup, np.array([["a", "b"], ["c", "a"]]), output_mode=mode)
    inputs = keras.Input((3,), dtype="string")
    x = layer(inputs)
    model = classifier(inputs, K.Flatten()(K.Embedding(5, 4)(x)) if mode == "int" else x)
    same_at_inference(model, keras.ops.convert_to_tensor(np.array([["a", "b", "?"], ["c", "c", "a"]])))


def test_adapted_text():
    layer = lookup(K.TextVectorization, ["a b c", "d e"], max_tokens=10, output_sequence_length=4)
    inputs = keras.Input((), dtype="string")
    model = classifier(inputs, K.Flatten()(K.Embedding(10, 4)(layer(inputs))))
    same_at_inference(model, keras.ops.convert_to_tensor(np.array(["a b", "e ? c"])))


def test_an_adapted_discretization():
    layer = lookup(K.Discretization, np.random.default_rng(0).normal(size=(50, 4)), num_bins=4)
    inputs = keras.Input((4,))
    model = classifier(inputs, K.Flatten()(K.Embedding(5, 3)(layer(inputs))))
    same_at_inference(model, np.random.default_rng(1).normal(size=(5, 4)).astype("float32"))


def nested_sum():
    inputs = keras.Input((4,))
    return keras.Model(inputs, K.Dense(4, activation="relu")(inputs) + inputs)


@pytest.mark.parametrize("copy_weights", [True, False])
def test_an_operator_in_a_nested_model_that_is_called_twice(copy_weights):
    shared = nested_sum()
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = classifier(inputs, K.Concatenate()([shared(x) for x in inputs]))
    x = [np.random.default_rng(i).normal(size=(5, 4)).astype("float32") for i in range(2)]
    gated = tfgates.gate_model(model, copy_weights=copy_weights, initial_open_probability=0.999)
    pruned = tfgates.prune(model)
    expected = np.asarray(model(x))
    for other in (gated, pruned):
        np.testing.assert_allclose(np.asarray(other(x)), expected, atol=1e-5)
    assert len({operation.name for operation in pruned.operations}) == len(pruned.operations)


def test_a_nested_layer_with_the_name_of_an_input():
    nested = keras.Sequential([keras.Input((4,)), K.Dense(4, name="image")])
    inputs = keras.Input((4,), name="image")
    model = classifier(inputs, nested(inputs))
    same_at_inference(model, np.ones((2, 4), "float32"))
    with pytest.raises(ValueError, match=r"`copy_weights=True`.*Received: several named \['image'\]"):
        tfgates.gate_model(model, copy_weights=False)


def test_layers_of_two_nested_models_with_one_name():
    inputs = keras.Input((4,))
    parts = [keras.Sequential([keras.Input((4,)), K.Dense(4, name="d")]) for _ in range(2)]
    model = classifier(inputs, K.Concatenate()([part(inputs) for part in parts]))
    tfgates.gate_model(model)
    with pytest.raises(ValueError, match=r"no two layers of its nested models.*\['d'\]"):
        tfgates.gate_model(model, copy_weights=False)


def test_a_layer_with_the_name_of_a_gate():
    inputs = keras.Input((4,))
    x = K.Dense(5, name="other_gate")(K.Dense(5, name="other", activation="sigmoid")(inputs))
    gated = tfgates.gate_model(classifier(inputs, x))
    assert len({operation.name for operation in gated.operations}) == len(gated.operations)


class Subclassed(keras.Model):
    """It asks for the value of a weight, so it is not opened."""

    def __init__(self, width):
        super().__init__()
        self.dense = K.Dense(width)
        self.offset = self.add_weight(shape=())

    def call(self, x):
        return self.dense(x) + self.offset.value

    def get_config(self):
        return {"breadth": 3}


class Nameless(K.Layer):
    def __init__(self, width):
        super().__init__()
        self.dense = K.Dense(width)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {"width": self.dense.units}


class Forgetful(K.Layer):
    """Its config does not say how many layers it has."""

    def __init__(self, depth=1, **kwargs):
        super().__init__(**kwargs)
        self.parts = [K.Dense(4) for _ in range(depth)]
        self.offset = self.add_weight(shape=())

    def build(self, shape):
        for part in self.parts:
            part.build(shape)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x + self.offset.value

    def get_config(self):
        return keras.layers.Layer.get_config(self)


@pytest.mark.parametrize("layer", [Subclassed(3), Forgetful(2, name="forgetful")])
def test_layers_that_cannot_be_copied_are_named(layer):
    inputs = keras.Input((4,))
    model = classifier(inputs, layer(K.Dense(4)(inputs)))
    message = f"Layer '{layer.name}' cannot be copied.*complete `get_config`.*Received: "
    with pytest.raises(ValueError, match=message):
        tfgates.gate_model(model)
    with pytest.raises(ValueError, match=message):
        tfgates.prune(model)
    # Pruning would copy it after training.
    with pytest.raises(ValueError, match=message):
        tfgates.gate_model(model, copy_weights=False)


class Bare(K.Layer):
    """Takes no keywords, so that its config makes no layer."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return self.factor * x


class Silent(Bare):
    """Has no config at all."""

    def get_config(self):
        raise NotImplementedError("no config")


class Own(K.Lambda):
    """Not Keras's Lambda itself, whose function is taken as it is."""


@pytest.mark.parametrize(
    "make", [lambda: Bare(np.float32(2.0)), lambda: Silent(2.0), lambda: Own(lambda x: 2.0 * x), lambda: Worded()]
)
@pytest.mark.parametrize("copy_weights", [True, False])
def test_layers_without_weights_that_cannot_be_copied_are_used_again(make, copy_weights):
    layer = make()
    inputs = keras.Input((4,))
    model = classifier(inputs, layer(K.Dense(4, name="first")(inputs)))
    gated = tfgates.gate_model(model, copy_weights=copy_weights, initial_open_probability=0.999)
    gated.compile("sgd", loss="mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    gated.fit(x, np.zeros((8, 2)), verbose=0)
    gate = next(g for g in gated.gates if g.name == "hidden_gate")
    gate.logits.assign([-5.0] * 3 + [5.0] * 3)
    pruned = tfgates.prune(gated)
    assert pruned.get_layer(layer.name) is layer
    np.testing.assert_allclose(np.asarray(pruned(x)), np.asarray(gated(x)), atol=1e-5)


class Worded(K.Layer):
    """Saves what Keras writes into no file."""

    def call(self, x):
        return x

    def save_own_variables(self, store):
        store["words"] = "words"


class Hidden(Silent):
    """Keeps what it was given under another name."""

    def __init__(self, factor):
        super().__init__(factor)
        self.times = vars(self).pop("factor")

    def call(self, x):
        return self.times * x


def test_what_a_layer_keeps_under_the_names_of_its_arguments_is_its_config():
    inputs = keras.Input((4,))
    first, second = [keras.Sequential([keras.Input((4,)), K.Identity(name="same")]) for _ in range(2)]
    second.pop()
    silent = Silent(2.0)
    silent.name = "same"
    second.add(silent)
    model = classifier(inputs, second(first(inputs)))
    gated = tfgates.gate_model(model, compensate=True)
    (copy,) = [layer for layer in gated.layers if isinstance(layer, Silent)]
    assert copy is not silent
    assert copy.factor == 2.0
    x = np.ones((2, 4), "float32")
    np.testing.assert_allclose(np.asarray(gated(x)), np.asarray(model(x)), atol=1e-5)


def test_a_layer_that_is_used_again_needs_its_name():
    inputs = keras.Input((4,))
    first = keras.Sequential([keras.Input((4,)), K.Dense(4, name="same")])
    second, factor = Hidden(2.0), [2.0]
    second.name, second.times = "same", 2.0
    # Attribute by attribute it is not copied either: who knows what a function of yours holds.
    second.function = lambda: factor
    model = classifier(inputs, second(first(inputs)))
    with pytest.raises(ValueError, match="Layer 'same' cannot be copied.*or the layer a name that no other has"):
        tfgates.gate_model(model)


class Around(K.Layer):
    """Has a weight, and a layer with a function."""

    def __init__(self, inner=None, **kwargs):
        super().__init__(**kwargs)
        self.function = lambda: self
        self.inner = keras.saving.deserialize_keras_object(inner) if isinstance(inner, dict) else inner

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return self.factor.value * self.inner(x)

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_inside_is_read_where_the_user_allowed_it():
    inputs = keras.Input((4,))
    around = Around(K.Lambda(lambda x: 2.0 * x, output_shape=(4,)), name="around")
    model = classifier(inputs, around(K.Dense(4)(inputs)))
    with pytest.raises(
        ValueError, match=r"'around' cannot be copied.*`keras.config.enable_unsafe_deserialization\(\)`"
    ):
        tfgates.gate_model(model)
    keras.config.enable_unsafe_deserialization()
    try:
        same_at_inference(model, np.ones((2, 4), "float32"))
    finally:
        keras.utils.clear_session()


def test_a_layer_that_takes_no_name():
    inputs = keras.Input((4,))
    model = classifier(inputs, Nameless(5)(inputs))
    same_at_inference(model, np.ones((2, 4), "float32"))


class Tabled(K.Layer):
    """Computes with a table that it saves in a way of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = np.zeros(4, "float32")

    def call(self, x):
        return x + self.table

    def save_own_variables(self, store):
        store["table"] = self.table

    def load_own_variables(self, store):
        self.table = np.asarray(store["table"])


def test_a_layer_that_saves_in_a_way_of_its_own():
    layer = Tabled()
    layer.table = np.arange(4.0, dtype="float32")
    inputs = keras.Input((4,))
    same_at_inference(classifier(inputs, layer(inputs)), np.ones((2, 4), "float32"))


class Whole(Around):
    """A dense layer inside, whose function has a name that stands for another one."""


def test_functions_of_layers_inside():
    inputs = keras.Input((4,))
    whole = Whole(K.Dense(4, activation=keras.ops.gelu))
    same_at_inference(classifier(inputs, whole(inputs)), np.linspace(-2.0, 2.0, 8).reshape(2, 4).astype("float32"))


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("functional", [False, True])
def test_a_nested_model_that_stays_whole_keeps_its_functions(functional):
    """Keras writes `keras.ops.gelu` down as the name of another function."""
    tokens = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(9, 5, mask_zero=True)(tokens)
    inner_inputs = keras.Input((6, 5))
    inner_layers = [keras.layers.Dense(5, activation=keras.ops.gelu), keras.layers.Activation(keras.ops.gelu)]
    inner = keras.Sequential([inner_inputs, *inner_layers])
    if functional:
        inner = keras.Model(inner_inputs, inner_layers[1](inner_layers[0](inner_inputs)))
    y = inner(x, mask=keras.ops.not_equal(tokens, 3))
    model = keras.Model(tokens, keras.layers.Dense(3)(keras.layers.Dense(8, activation="relu")(y)))
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    x = np.arange(12).reshape(2, 6) % 9
    gated = tfgates.gate_model(model, compensate=True)
    np.testing.assert_allclose(gated(x), model(x), atol=1e-4)
    np.testing.assert_allclose(tfgates.prune(model)(x), model(x), atol=1e-4)


class Holder(K.Layer):
    """Has a layer in its config and no `from_config` that reads it."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape):
        self.inner.build(shape)
        self.scale = self.add_weight(shape=(1,))

    def call(self, x):
        return self.inner(x) * self.scale.value

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}


def test_a_config_with_a_layer_that_is_not_read():
    inputs = keras.Input((8,))
    x = K.Dense(6, activation="relu")(Holder(K.Dense(4), name="holder")(inputs))
    model = keras.Model(inputs, K.Dense(2)(x))
    for call in (tfgates.gate_model, tfgates.prune):
        with pytest.raises(ValueError, match=r"Layer 'holder' cannot be copied.*\(and `from_config`\).*AttributeError"):
            call(model)


@keras.saving.register_keras_serializable(package="tests")
class Telling(keras.layers.Layer):
    """Writes down what it works out, which its constructor does not take."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "doubled": 2 * self.factor}


def test_what_a_class_writes_down_too_much_is_left_out():
    inputs = keras.Input((4,))
    x = Telling(3.0, name="telling")(keras.layers.Dense(5, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    assert tfgates.gate_model(model).get_layer("telling").factor == 3.0
