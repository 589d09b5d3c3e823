"""Layers that share weights: they are shared in every copy as well, or it is refused by name before training."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import tfgates

K = keras.layers


class Holder(K.Layer):
    """A layer that is given others and writes them down in its config."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        written = isinstance(inner, dict) or (isinstance(inner, list) and isinstance(inner[0], dict))
        self.inner = keras.saving.deserialize_keras_object(inner) if written else inner

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}


@keras.saving.register_keras_serializable(package="tests")
class Tied(Holder):
    """A dense layer by the transposed kernel of another one."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(self.inner.kernel.shape[0],), name="bias")

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.inner.kernel)) + self.bias


@keras.saving.register_keras_serializable(package="tests")
class TiedToList(Holder):
    def call(self, x):
        for layer in self.inner:
            x = ops.matmul(x, ops.transpose(layer.kernel))
        return x


@keras.saving.register_keras_serializable(package="tests")
class Head(Holder):
    """Logits by the table of an embedding."""

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.inner.embeddings))


@keras.saving.register_keras_serializable(package="tests")
class Own(Holder):
    """Calls another layer, and has a weight of its own, so that it is not opened."""

    def build(self, shape):
        if not self.inner.built:
            self.inner.build(shape)
        self.factor = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return self.factor * self.inner(x)


@keras.saving.register_keras_serializable(package="tests")
class Opened(Holder):
    def build(self, shape):
        if not self.inner.built:
            self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


def autoencoder():
    inputs = keras.Input((8,))
    code = K.Dense(4, name="code")
    x = code(K.Dense(8)(K.Dense(6, activation="relu", name="free")(inputs)))
    return keras.Model(inputs, Tied(code, name="decoded")(x))


def deep_autoencoder():
    inputs = keras.Input((8,))
    layers = [K.Dense(6, activation="relu", name="first"), K.Dense(4, name="second")]
    x = K.Dense(8)(K.Dense(6, activation="relu", name="free")(inputs))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, TiedToList(layers[::-1], name="decoded")(x))


def language():
    inputs = keras.Input((5,), dtype="int32")
    table = K.Embedding(7, 4, name="table")
    x = K.Dense(6, activation="relu", name="free")(table(inputs))
    return keras.Model(inputs, Head(table, name="logits")(K.Dense(4, name="back")(x)))


def language_by_an_operator():
    inputs = keras.Input((5,), dtype="int32")
    table = K.Embedding(7, 4, name="table")
    x = K.Dense(4, name="back")(K.Dense(6, activation="relu", name="free")(table(inputs)))
    return keras.Model(inputs, ops.einsum("bsc,vc->bsv", x, table.embeddings))


def two_holders(first=Own, second=Own):
    inputs = keras.Input((4,))
    shared = K.Dense(4, name="shared")
    x = K.Dense(4, activation="relu", name="back")(first(shared)(inputs))
    x = K.Dense(6, activation="relu", name="free")(second(shared)(x))
    return keras.Model(inputs, K.Dense(2)(x))


def held_and_called():
    inputs = keras.Input((4,))
    shared = K.Dense(4, name="shared")
    x = K.Dense(4, activation="relu", name="back")(Own(shared)(inputs))
    return keras.Model(inputs, K.Dense(2)(K.Dense(6, activation="relu", name="free")(shared(x))))


def nested_and_outside():
    shared = K.Dense(4, name="shared")
    inside = keras.Input((4,))
    nested = keras.Model(inside, shared(K.Dense(4, activation="relu")(inside)))
    inputs = keras.Input((4,))
    x = K.Dense(6, activation="relu", name="free")(nested(shared(inputs)))
    return keras.Model(inputs, K.Dense(2)(x))


def one_variable():
    """A layer that takes the very variable."""
    inputs = keras.Input((4,))
    shared = K.Dense(4, name="shared")
    x = K.Dense(6, activation="relu", name="free")(shared(inputs))
    return keras.Model(inputs, Tied(shared)(K.Dense(4)(x)))


KEPT = [
    autoencoder, deep_autoencoder, language, language_by_an_operator, two_holders,
    lambda: two_holders(Opened, Opened), lambda: two_holders(Own, Opened), lambda: two_holders(Opened, Own),
    held_and_called, nested_and_outside, one_variable,
]  # fmt: skip

# Keras itself cannot load the others.
SAVED = [autoencoder, deep_autoencoder, language, one_variable]


def own(model):
    """The weights but for those of gates."""
    return [v for v in model.weights if "gate" not in v.path]


def example(model):
    shape = (3, *model.input_shape[1:])
    generator = np.random.default_rng(0)
    if "int" in model.inputs[0].dtype:
        return generator.integers(0, 7, shape)
    return generator.normal(size=shape).astype("float32")


def lost_in_files():
    """The warning before a training whose `.keras` file would hold a weight of a layer twice."""
    return pytest.warns(tfgates.GatesWarning, match=r"share a weight: Keras.*Received: '.*embeddings', which 'einsum")


def test_what_files_hold_of_a_table_that_an_operator_is_given(tmp_path):
    with lost_in_files():
        gated = tfgates.gate_model(language_by_an_operator(), gate="scaling")
    gated.save(tmp_path / "model.keras")
    gated.save_weights(tmp_path / "model.weights.h5")
    loaded, x = keras.models.load_model(tmp_path / "model.keras"), example(gated)
    for model in (gated, loaded):
        model.get_layer("table").embeddings.assign(np.ones((7, 4)))
    # All logits are equal where the table is read twice.
    assert np.ptp(np.asarray(gated(x))) < 1e-6 < np.ptp(np.asarray(loaded(x)))
    gated.load_weights(tmp_path / "model.weights.h5")
    assert np.ptp(np.asarray(gated(x))) > 1e-6


@pytest.mark.parametrize("make", KEPT)
def test_what_is_tied_stays_tied(make, tmp_path):
    model = make()
    x = example(model)
    with lost_in_files() if make is language_by_an_operator else contextlib.nullcontext():
        gated = tfgates.gate_model(model, gate="scaling")
    assert len(own(gated)) == len(model.weights)
    assert gated.count_params() - sum(g.units for g in gated.gates) == model.count_params()
    (gate,) = [g for g in gated.gates if g.name == "free_gate"]
    gate.scale.assign([1.0] * (gate.units - 1) + [0.0])
    # In training a weight that is shared moves in all places.
    for variable in gated.trainable_variables:
        if len(variable.shape) == 2:
            variable.assign(variable * 1.1)
    pruned = tfgates.prune(gated)
    plan = tfgates.plan_pruning(gated)
    assert len(pruned.weights) == len(model.weights)
    assert pruned.count_params() == plan.params < plan.dense_params
    assert plan.dense_params == model.count_params() == tfgates.cost(model).params
    np.testing.assert_allclose(np.asarray(pruned(x)), np.asarray(gated(x)), atol=1e-5)
    if make in SAVED:
        for each in (gated, pruned):
            each.save(tmp_path / "model.keras")
            loaded = keras.models.load_model(tmp_path / "model.keras")
            assert len(loaded.weights) == len(each.weights)
            np.testing.assert_allclose(np.asarray(loaded(x)), np.asarray(each(x)), atol=1e-6)


def test_the_report_says_what_is_tied():
    gated = tfgates.gate_model(autoencoder())
    skipped = dict(gated.report.skipped)
    assert skipped["code"] == "it shares weights with 'decoded'"
    assert skipped["decoded"].startswith(
        "Tied stays whole: its `call` uses its weights in a way that cannot be followed"
    )
    assert ("decoded", "decoded (Tied): it shares weights with 'code'") in tfgates.plan_pruning(autoencoder()).alone


class Wrapped:
    def __init__(self, layer):
        self.layer = layer


@keras.saving.register_keras_serializable(package="tests")
class Hidden(Tied):
    """Holds it in an object of its own, beside what Keras tracks."""

    def __init__(self, inner, **kwargs):
        K.Layer.__init__(self, **kwargs)
        self.box = Wrapped(inner)
        self.kernel = getattr(inner, "kernel", None)

    @property
    def inner(self):
        return self.box.layer

    @classmethod
    def from_config(cls, config):
        inner = K.Dense(4)
        inner.build((None, 8))
        return cls(inner, **config)

    def get_config(self):
        return K.Layer.get_config(self)


@pytest.mark.parametrize("copy_weights", [True, False])
def test_what_cannot_stay_tied_is_refused_by_name(copy_weights):
    inputs = keras.Input((8,))
    code = K.Dense(4, name="code")
    x = code(K.Dense(8)(K.Dense(6, activation="relu", name="free")(inputs)))
    model = keras.Model(inputs, Hidden(code, name="hidden")(x))
    message = r"Layers 'code' and 'hidden' share weights.*Received: 'hidden' \(Hidden\) with"
    with pytest.raises(ValueError, match=message):
        tfgates.gate_model(model, copy_weights=copy_weights)


def test_an_operator_before_the_layer_whose_weight_it_is_given():
    inputs = keras.Input((4,))
    shared = K.Dense(4, name="shared")
    shared.build((None, 4))
    x = ops.einsum("bc,cd->bd", inputs, shared.kernel)
    model = keras.Model(inputs, K.Dense(2)(K.Dense(6, activation="relu")(shared(x))))
    with pytest.raises(
        ValueError, match=r"`einsum\w*` is given a weight of a layer that comes behind it.*Rec.*: shared"
    ):
        tfgates.gate_model(model)


def test_a_view_of_a_weight_that_an_operator_is_given():
    """With PyTorch it is trained with the weight, elsewhere it is a constant, as it is then in each copy."""
    inputs = keras.Input((5,), dtype="int32")
    table = K.Embedding(7, 4, name="table")
    x = K.Dense(4)(K.Dense(6, activation="relu")(table(inputs)))
    model = keras.Model(inputs, ops.matmul(x, ops.transpose(table.embeddings)))
    if keras.backend.backend() == "torch":
        with pytest.raises(ValueError, match=r"given a weight itself.*Rec.*: `matmul` with a view of table/embeddings"):
            tfgates.gate_model(model)
        return
    gated, tokens = tfgates.gate_model(model, gate="scaling"), np.arange(10).reshape(2, 5) % 7
    gated.get_layer("table").embeddings.assign(np.ones((7, 4)))
    assert np.ptp(np.asarray(gated(tokens))) > 1e-3


class Language(keras.Model):
    """Logits by the table of the embedding, either way."""

    def __init__(self, transposed):
        super().__init__(name="language")
        self.table, self.free, self.back = K.Embedding(7, 4), K.Dense(6, activation="relu"), K.Dense(4)
        self.transposed = transposed

    def call(self, x):
        x = self.back(self.free(self.table(x)))
        if self.transposed:
            return ops.matmul(x, ops.transpose(self.table.embeddings))
        return ops.einsum("bsc,vc->bsv", x, self.table.embeddings)


@pytest.mark.parametrize("transposed", [True, False])
def test_a_subclassed_model_with_a_tied_table(transposed):
    model = Language(transposed)
    tokens = np.arange(10).reshape(2, 5) % 7
    model(tokens)
    if transposed:
        with pytest.raises(ValueError, match=r"computes with weights of layers .* tied. Received: .*'language'"):
            tfgates.gate_model(model, inputs=tokens)
    else:
        with lost_in_files():
            gated = tfgates.gate_model(model, gate="scaling", inputs=tokens)
        gated.get_layer("embedding").embeddings.assign(np.ones((7, 4)))
        assert len(own(gated)) == len(model.weights) and np.ptp(np.asarray(gated(tokens))) < 1e-6


def test_a_gate_that_two_layers_hold():
    gate = tfgates.gates.HardConcreteGate(name="both")
    inputs = keras.Input((4,))
    x = tfgates.layers.GatedDense(4, gate=gate, activation="relu")(inputs)
    x = tfgates.layers.GatedDense(4, gate=gate, activation="relu")(x)
    model = keras.Model(inputs, K.Dense(2)(K.Dense(6, activation="relu", name="free")(x)))
    gated = tfgates.gate_model(model)
    assert sorted(g.name for g in gated.gates) == ["both", "free_gate"]
    assert len(gated.weights) == len(model.weights) + 1
