"""The report of `gate_model`: every layer with weights is in it, with what is true of it."""

import re

import keras
import numpy as np
import pytest

import tfgates
from tests.graph.test_reasons import Unknown
from tests.graph.test_traced import Block
from tfgates.gates import HardConcreteGate

K = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Doubled(K.Conv2D):
    """A convolution with a call of its own."""

    def call(self, x):
        return 2.0 * super().call(x)


@keras.saving.register_keras_serializable(package="tests")
class Renamed(K.Conv2D):
    """A convolution under another name."""


@keras.saving.register_keras_serializable(package="tests")
class Shifted(keras.Model):
    """A graph of layers, and more."""

    def call(self, inputs, training=None, mask=None):
        return 1.0 + super().call(inputs, training=training, mask=mask)


def flow(*parts, shape=(8, 8, 3)):
    """The model of a chain of layers, with a hidden layer and a head behind it."""
    inputs = x = keras.Input(shape)
    for part in parts:
        x = part(x)
    x = K.Flatten()(x) if len(x.shape) > 2 else x
    return keras.Model(inputs, K.Dense(2, name="head")(K.Dense(4, activation="relu", name="hidden")(x)))


def residual():
    inputs = keras.Input((8, 8, 3))
    x = K.Conv2D(6, 1, name="stem")(inputs)
    for i in range(2):
        y = K.BatchNormalization(name=f"norm{i}")(K.Conv2D(6, 3, padding="same", name=f"conv{i}")(x))
        y = K.PReLU(shared_axes=[1, 2], name=f"prelu{i}")(y)
        y = K.BatchNormalization(name=f"last{i}")(K.Conv2D(6, 1, name=f"project{i}")(y))
        x = K.Add(name=f"sum{i}")([x, y])
    x = K.BatchNormalization(name="stream")(x)
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling2D()(x)))


def joined():
    inputs = keras.Input((8, 8, 3))
    parts = [K.Conv2D(4, 1, name="a")(inputs), K.Conv2D(5, 1, name="b")(inputs), Unknown(name="odd")(inputs)]
    both = K.BatchNormalization(name="both")(K.Concatenate()(parts[:2]))
    some = K.BatchNormalization(name="some")(K.Concatenate()([both, parts[2]]))
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling2D()(some)))


def words():
    inputs = keras.Input((7,), dtype="int32")
    x = K.Embedding(9, 6, mask_zero=True, name="words")(inputs)
    x = K.LayerNormalization(name="norm")(x)
    x = K.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = K.LSTM(4, return_sequences=True, name="lstm")(K.Dense(6, activation="relu", name="before")(x))
    x = K.Bidirectional(K.GRU(3), name="both")(x)
    return keras.Model(inputs, K.Dense(2, name="head")(x))


def nested():
    return flow(K.Conv2D(6, 3, name="first"), flow(K.BatchNormalization(name="norm"), shape=(6, 6, 6)), shape=(8, 8, 3))


def gated_already():
    return flow(K.Conv2D(6, 3, name="first"), HardConcreteGate(name="there"), K.BatchNormalization(name="norm"))


MODELS = {
    "residual": residual,
    "joined": joined,
    "words": words,
    "nested": nested,
    "gated": gated_already,
    "own call": lambda: flow(K.Conv2D(6, 3), Doubled(5, 3, name="odd"), K.BatchNormalization(name="norm")),
    "composite": lambda: flow(Block(name="block"), K.TimeDistributed(K.Dense(5), name="each"), shape=(7, 6)),
    "depthwise": lambda: flow(
        K.Conv2D(6, 3),
        K.DepthwiseConv2D(3, name="depthwise"),
        K.BatchNormalization(),
        K.LayerNormalization(),
        K.SeparableConv2D(4, 1),
    ),
    "vectors": lambda: flow(K.Dense(5), K.PReLU(), K.BatchNormalization(), K.EinsumDense("ab,bc->ac", 4), shape=(7,)),
    "quantised": lambda: flow(K.Dense(5), K.Dense(6, lora_rank=2), K.SpectralNormalization(K.Dense(3)), shape=(7,)),
}


def weighted(model, prefix=""):
    """The names of all layers with weights, those of nested models by their paths."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from weighted(layer, f"{prefix}{layer.name}/")
        elif layer.weights and not isinstance(layer, HardConcreteGate):
            yield f"{prefix}{layer.name}"


@pytest.mark.parametrize(
    ("name", "residual"), [("residual", "tied"), ("residual", "block"), *((name, "inner") for name in MODELS)]
)
def test_every_layer_with_weights_is_in_it(name, residual):
    model = MODELS[name]()
    report = tfgates.gate_model(model, residual=residual).report
    named = [listed for listed, _ in [*report.gated, *report.skipped]]
    # A layer that holds others stands for them where it is kept whole.
    missing = [layer for layer in weighted(model) if not any(n == layer or n.startswith(f"{layer}/") for n in named)]
    assert missing == []
    assert all(why for _, why in report.skipped)
    printed = str(report)
    assert all(layer in printed for layer in named)


def test_what_goes_with_a_gate():
    report = tfgates.gate_model(residual()).report
    found = dict(report.skipped)
    assert found["norm0"] == found["prelu0"] == "goes with the gate of conv0"
    assert found["last0"].startswith("no gate is on its channels") and found["stream"] == found["last0"]
    assert str(report).splitlines()[:3] == [
        "gated (2)",
        "  conv0     6 units, with norm0, prelu0",
        "  conv1     6 units, with norm1, prelu1",
    ]
    assert str(report).splitlines()[3] == "skipped (7)"


def test_what_goes_with_a_stream_and_with_a_branch():
    found = dict(tfgates.gate_model(residual(), residual="tied").report.skipped)
    assert found["stream"] == "goes with the gate of stem, project0, project1"
    gated = tfgates.gate_model(residual(), residual="block")
    found = dict(gated.report.skipped)
    assert found["conv0"] == found["norm0"] == found["last0"] == "goes with the gate of sum0"
    assert found["stem"] == "it is in no branch with a gate" and found["head"] == found["stem"]
    assert "  sum0      the whole branch, with conv0, norm0, prelu0, project0, last0" in str(gated.report).splitlines()


def test_it_is_whole_in_the_error_too():
    with pytest.raises(ValueError, match="has no layer that can be gated") as error:
        tfgates.gate_model(words(), residual="block")
    # Of a layer that was opened, its parts.
    assert all(re.search(rf"\n  {layer}[ /]", str(error.value)) for layer in weighted(words()))


def test_what_goes_with_several_gates_or_in_part():
    gated = tfgates.gate_model(joined())
    found = dict(gated.report.skipped)
    assert found["both"] == "goes with the gates of a, b"
    assert found["some"] == "9 of its 12 channels go with the gates of a, b"
    assert "  a     4 units, with both, some" in str(gated.report).splitlines()


def test_what_has_no_gate():
    report = tfgates.gate_model(words()).report
    found = dict(report.skipped)
    assert found["words"] == "no gates are placed on the features of an embedding"
    assert found["norm"] == "its statistics are averaged over the channels, so none of them can go"
    assert dict(report.gated)["attention"] == "2 heads"
    assert dict(report.gated)["lstm"] == "4 units"


@pytest.mark.parametrize(("kind", "own"), [(Doubled, " whose `call` is its own"), (Renamed, "")])
def test_subclasses_are_kept_whole(kind, own):
    gated = tfgates.gate_model(flow(K.Conv2D(6, 3, name="before"), kind(5, 3, name="odd")))
    found = dict(gated.report.skipped)
    reason = f"tfgates has no rule for this layer, a subclass of Conv2D{own}; it is kept whole"
    assert found["odd"] == reason and found["before"] == f"odd ({kind.__name__}): {reason}"
    tfgates.prune(gated, min_units=1)


def test_a_model_whose_call_is_its_own_is_opened():
    plain = flow(K.Conv2D(6, 3, name="conv"))
    shifted = Shifted(plain.input, plain.output)
    gated = tfgates.gate_model(shifted)
    assert "conv" in [name for name, _ in gated.report.gated]
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) % 2, 5.0, -5.0))
    small, x = tfgates.prune(gated), np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    assert small.count_params() < shifted.count_params()
    expected = np.asarray(gated(x, training=False))
    np.testing.assert_allclose(
        np.asarray(small(x, training=False)), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_a_nested_model_whose_call_is_its_own_is_opened():
    inner = keras.Input((6, 6, 6))
    shifted = Shifted(inner, K.Conv2D(6, 3)(inner), name="shifted")
    gated = tfgates.gate_model(flow(K.Conv2D(6, 3, name="before"), shifted))
    names = [name for name, _ in [*gated.report.gated, *gated.report.skipped]]
    assert "before" in names and any(name.startswith("shifted/") for name in names)
    tfgates.prune(gated, min_units=1)


def test_a_call_that_was_set_on_a_layer_is_refused():
    layer = K.Conv2D(5, 3, name="odd")
    original = layer.call
    layer.call = lambda x: 2.0 * original(x)
    with pytest.raises(ValueError, match="Layer 'odd' has a `call` that was set on the object.*Received: Conv2D"):
        tfgates.gate_model(flow(K.Conv2D(6, 3), layer))


def test_channels_of_one_layer_that_fall_together():
    inputs = keras.Input((6, 8))
    value, gate = keras.ops.split(K.Dense(12, name="both")(inputs), 2, axis=-1)
    x = K.Dense(3, activation="relu")(value * keras.ops.sigmoid(gate))
    report = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(x))).report
    assert dict(report.gated)["both"] == "6 units"
