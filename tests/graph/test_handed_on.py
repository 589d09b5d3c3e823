"""Layers that hold others, and hand on the mask of what they read, are opened: what reads the mask goes on doing so."""

import contextlib
import gc

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import array
from tests.graph.units import close_half, randomised
from tfgates.graph.network import Network
from tfgates.keras_internals import mask_of
from tfgates.layers import WithMask

K = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking")
CLASSES = 3


@keras.saving.register_keras_serializable(package="tests")
class AsksForMasks(K.Dense):
    """Might ask what it is called on for its mask."""


@keras.saving.register_keras_serializable(package="tests")
class HandingOn(K.Layer):
    """A block of a transformer as many write it: masks are handed on by default, and the last call is an addition."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.first, self.second = K.Dense(9, activation="relu", name="first"), K.Dense(6, name="second")
        self.norm = K.LayerNormalization()

    def build(self, shape):
        self.norm.build(shape)
        self.first.build(shape)
        self.second.build((*shape[:-1], 9))

    def call(self, x):
        return x + self.second(self.first(self.norm(x)))


@keras.saving.register_keras_serializable(package="tests")
class Attending(HandingOn):
    """Its attention takes the mask off what it is called on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention, self.behind = K.MultiHeadAttention(2, 4, dropout=0.1), K.LayerNormalization()

    def build(self, shape):
        super().build(shape)
        self.attention.build(shape, shape)
        self.behind.build(shape)

    def call(self, x):
        return super().call(self.behind(x + self.attention(x, x)))


def words(length=7):
    inputs = keras.Input((length,), dtype="int32")
    return inputs, K.Embedding(9, 6, mask_zero=True)(inputs)


def both(units=4):
    return K.Bidirectional(K.LSTM(units, return_sequences=True, name="lstm"), name="both")


def sequence(*layers):
    """Words through layers, and scores for each step or for all."""
    inputs, x = words()
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, K.Dense(CLASSES, activation="softmax", name="head")(x))


def tagger(length=7):
    inputs, x = words(length)
    x = K.Dropout(0.2)(both()(x))
    x = K.Bidirectional(K.GRU(4, return_sequences=True), name="again")(x)
    return keras.Model(inputs, K.TimeDistributed(K.Dense(CLASSES, activation="softmax"), name="head")(x))


def multiplied():
    """The masks of what is multiplied are joined."""
    inputs, x = words()
    x = both()(x)
    return keras.Model(inputs, K.Dense(CLASSES, activation="softmax")(K.LSTM(3)(K.Multiply()([x, x]))))


def states():
    """Sequences that carry a mask, and states that carry none."""
    inputs, x = words()
    layer = K.Bidirectional(K.LSTM(4, return_sequences=True, return_state=True), name="both")
    y, *rest = layer(x)
    scores = K.Dense(CLASSES, activation="softmax")(y)
    return keras.Model(inputs, [scores, K.Dense(2)(K.Concatenate()(rest))])


def inner(units):
    return keras.Sequential([keras.Input((7, units)), K.Dense(4)])


# Networks, the layer that is opened, and how many gates there are: what the user's layer reads stays, and what is
# multiplied where steps are masked.
NETWORKS = {
    "tagger": (tagger, "both", 4),
    "an output": (lambda: sequence(both()), "both", 2),
    "of a user": (lambda: sequence(both(), AsksForMasks(4), K.LSTM(3)), "both", 1),
    "a product": (multiplied, "both", 1),
    "nested": (lambda: sequence(both(), inner(8), K.LSTM(3)), "both", 4),
    "block": (lambda: sequence(HandingOn(name="block"), HandingOn(name="again"), K.LSTM(5)), "block", 3),
    "block, an output": (lambda: sequence(HandingOn(name="block")), "block", 1),
    "attention": (lambda: sequence(Attending(name="block"), Attending(name="again"), K.LSTM(5)), "block", 5),
    "attention, an output": (lambda: sequence(Attending(name="block")), "block", 2),
    "states": (states, "both", 2),
}


def some(batch, length=7):
    return np.random.default_rng(batch).integers(0, 3, (batch, length))


def same(first, second, x):
    """Outputs and their masks, in each of the ways in which a network is called."""
    for call in ({}, {"training": False}):
        pairs = zip(keras.tree.flatten(first(x, **call)), keras.tree.flatten(second(x, **call)), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(array(a), array(b), atol=1e-5)
            assert (mask_of(a) is None) == (mask_of(b) is None)
            if mask_of(a) is not None:
                np.testing.assert_array_equal(array(mask_of(a)), array(mask_of(b)))
                assert 0 < array(mask_of(a)).mean() < 1


@pytest.mark.parametrize("name", NETWORKS)
def test_what_reads_the_mask_goes_on_doing_so(name):
    make, opened, gates = NETWORKS[name]
    model = make()
    nodes = Network(model).nodes
    assert not [node.name for node in nodes if node.whole]
    assert any(node.name.startswith(f"{opened}/with_mask") and isinstance(node.op, WithMask) for node in nodes)
    randomised(model)
    gated = tfgates.gate_model(model)
    assert len(gated.gates) == gates
    with contextlib.ExitStack() as stack:
        for gate in gated.gates:
            stack.enter_context(gate.held(np.ones(gate.unit_shape)))
        for batch in (1, 4):
            same(gated, model, some(batch))
    randomised(gated, seed=1)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert plan.params == pruned.count_params() < model.count_params()
    assert "a mask that a layer hands on" in str(plan)
    for batch in (1, 4):
        same(gated, pruned, some(batch))


def test_losses_leave_the_same_steps_out(tmp_path):
    """Of what a tagger says of steps that are not there the loss knows nothing, gated, pruned and loaded."""
    gated = tfgates.gate_model(tagger())
    randomised(gated)
    close_half(gated)
    pruned = tfgates.prune(gated)
    pruned.save(tmp_path / "small.keras")
    x = some(8)
    y = np.random.default_rng(0).integers(0, CLASSES, x.shape)
    found = []
    for model in (gated, pruned, keras.saving.load_model(tmp_path / "small.keras")):
        model.compile(loss="sparse_categorical_crossentropy")
        other = (y + 1) % CLASSES
        labels = (y, np.where(x == 0, other, y), np.where(x == 0, y, other))
        losses = [np.ravel(model.evaluate(x, each, verbose=0))[0] for each in labels]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
        assert abs(losses[2] - losses[0]) > 1e-3
        found.append(losses[0])
    np.testing.assert_allclose(found, found[0], rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="what TensorFlow logs")
def test_sequences_of_any_length(caplog):
    """The mask that is an argument is as long as what carries it wherever it is tried: TensorFlow logs no error."""
    gated = tfgates.gate_model(tagger(None), length=9)
    assert len(gated.gates) == 4
    randomised(gated)
    close_half(gated)
    pruned = tfgates.prune(gated)
    for length in (5, 11):
        same(gated, pruned, some(4, length))
    gc.collect()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@keras.saving.register_keras_serializable(package="tests")
class HandingOnOthers(HandingOn):
    """Hands on a mask of its own."""

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else ops.logical_not(mask)


def test_another_mask_than_that_of_what_is_read():
    (whole,) = [node.whole for node in Network(sequence(HandingOnOthers(name="block"))).nodes if node.name == "block"]
    assert whole == "it hands on other masks at inference than the calls that it makes"


def test_what_carries_the_mask_is_left():
    """Where nothing is left of a block, or of what it reads, the steps still count as they did."""
    gated = tfgates.gate_model(sequence(K.Dense(6, name="before"), both()))
    randomised(gated)
    for gate in gated.gates:
        closed = np.full(gate.units, -5.0)
        closed[0] = 5.0
        getattr(gate, gate.variable_name).assign(closed)
    pruned = tfgates.prune(gated)
    assert pruned.get_layer("before").units == 1
    same(gated, pruned, some(4))


def test_something_of_what_carries_the_mask_has_to_be_left():
    """Nothing reads the numbers of what carries it."""
    inputs, x = words()
    masked = K.Dense(4, name="carries")(x)
    y = WithMask(name="given")([K.Dense(5, name="free")(keras.ops.copy(x)), masked])
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.LSTM(3)(y))))
    randomised(gated)
    assert {"carries", "free"} <= dict(gated.report.gated).keys()
    carries = gated.get_layer("carries")
    carries.gate.logits.assign(np.full(4, -5.0))
    plan = tfgates.plan_pruning(gated)
    assert "carries" in plan.empty
    with pytest.raises(tfgates.pruning.ClosedLayerError, match="carries"):
        tfgates.prune(gated, plan=plan)
    pruned = tfgates.prune(gated, min_units=1)
    assert pruned.get_layer("carries").units == 1
    same(gated, pruned, some(4))


def test_a_layer_of_its_own():
    layer = WithMask.from_config(WithMask(name="given").get_config())
    x, steps = ops.ones((2, 3, 4)), K.Masking()(ops.ones((2, 3, 5)))
    y = layer([x, steps])
    np.testing.assert_array_equal(array(y), array(x))
    assert array(mask_of(y)).all() and mask_of(x) is None
    assert mask_of(layer([x, ops.ones((2, 3, 5))])) is None
    # Another mask than the one that the tensor carried before.
    carried = K.Masking()(ops.zeros((2, 3, 4)))
    assert array(mask_of(layer([carried, steps]))).all() and not array(mask_of(carried)).any()
    symbolic = layer([keras.Input((3, 4)), K.Masking()(keras.Input((3, 5)))])
    assert symbolic.shape == (None, 3, 4) and mask_of(symbolic) is not None
