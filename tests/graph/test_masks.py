"""Masks of steps are the same whatever is cut out."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.random_networks import randomise
from tfgates.graph.network import Network

K = keras.layers
# Keras says so of each layer that does not hand a mask on.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking")
SHAPE = (7, 5)


def steps():
    """Sequences with masked steps."""
    x = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype("float32")
    x[0, 2:4] = x[1, 5:] = x[2] = 0.0
    return x


def branch(x):
    """A residual branch whose convolution hands no mask on."""
    return tfgates.layers.GatedDense(5, gate=closed(), name="branch_end")(K.Conv1D(5, 3, padding="same")(x))


def closed():
    return tfgates.gates.HardConcreteGate(initial_open_probability=0.01)


def pruned_and_compared(build):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, build(inputs))
    randomise(model, 0, closed=0.0)
    for layer in model._flatten_layers():
        if layer.name == "branch_end":
            layer.gate.logits.assign(np.full(5, -5.0))
        elif isinstance(layer, tfgates.layers.GatedDense):
            layer.gate.logits.assign([-5.0, -5.0, 2.0, 2.0, 2.0])
    pruned = tfgates.prune(model, min_units=1, inputs=steps())
    np.testing.assert_allclose(pruned(steps()), model(steps()), atol=1e-5)
    # In training and in evaluation, the outputs' masks decide what counts.
    masks = [getattr(m.outputs[0], "_keras_mask", None) is None for m in (model, pruned)]
    assert masks[0] == masks[1]
    return pruned


def names(model):
    return [layer.name for layer in model.layers]


def test_an_addition_whose_result_carries_no_mask_stays():
    def build(x):
        x = K.Masking()(x)
        return K.Multiply()([x, K.Add(name="sum")([x, branch(x)])])

    assert "sum" in names(pruned_and_compared(build))


def test_an_addition_of_one_mask_goes():
    def build(x):
        x = K.Masking()(x)
        end = tfgates.layers.GatedDense(5, gate=closed(), name="branch_end")(K.Dense(5, name="inner")(x))
        return K.LSTM(3)(K.Add(name="sum")([x, end]))

    assert "sum" not in names(pruned_and_compared(build))


def test_an_operator_hands_no_mask_on():
    def build(x):
        x = K.Masking()(x)
        end = tfgates.layers.GatedDense(5, gate=closed(), name="branch_end")(x)
        return K.LSTM(3)(x + end)

    pruned_and_compared(build)


@pytest.mark.parametrize("merge", [K.Multiply, K.Maximum, K.Minimum])
def test_masked_steps_are_left_out_of_merges(merge):
    """A closed channel is not the same constant at the steps that are left out."""

    def build(x):
        x = K.Masking()(x)
        a, b = (tfgates.layers.GatedDense(5, activation="sigmoid")(x) for _ in range(2))
        return K.Dense(2)(merge()([a, b]))

    pruned_and_compared(build)


def test_concatenations_keep_what_carries_the_mask():
    def build(x):
        masked = tfgates.layers.GatedDense(5, gate=closed(), name="branch_end")(K.Masking()(x))
        return K.LSTM(3)(K.Concatenate(name="joined")([masked, K.Conv1D(5, 3, padding="same")(x)]))

    pruned_and_compared(build)


def test_picked_features_keep_their_mask():
    def build(x):
        x = K.LayerNormalization()(K.Masking()(x))
        return K.LSTM(3)(tfgates.layers.GatedDense(5, gated="inputs")(x))

    pruned_and_compared(build)


def test_which_tensors_carry_which_mask():
    inputs = keras.Input(SHAPE)
    inner = keras.Input(SHAPE)
    base = keras.Model(inner, K.Dense(5)(inner))
    x = K.Masking()(inputs)
    y = K.Conv1D(5, 3)(x)
    model = keras.Model(inputs, [K.Dropout(0.2)(base(x)), y, ops.relu(x), K.LSTM(3)(x, mask=inputs[..., 0] > 0)])
    calls = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    network = Network(model)
    carries = {type(node.op).__name__: network.masks[node.outputs[0]] for node in network.nodes}
    mask = carries["Masking"]
    assert mask is not None and carries["Dense"] is mask and carries["Dropout"] is mask
    assert carries["Conv1D"] is None and carries["Relu"] is None
    # The layers do not remember that they were called.
    assert calls == [len(layer._inbound_nodes) for layer in model._flatten_layers()]


def test_networks_without_masks_are_not_called():
    inputs = keras.Input(SHAPE)
    network = Network(keras.Model(inputs, K.Dense(3)(inputs)))
    assert network.masks == [None] * len(network.shapes)


def test_blocks_are_gated_where_their_addition_can_go():
    def network(masked):
        inputs = keras.Input(SHAPE)
        x = K.Masking()(inputs) if masked else inputs
        x = K.Add()([x, K.Conv1D(5, 3, padding="same")(x)])
        return keras.Model(inputs, K.Dense(2)(K.Dense(4, name="hidden")(K.LSTM(3)(x))))

    for masked in (True, False):
        gated = tfgates.gate_model(network(masked), residual=("inner", "block"))
        assert ("the whole branch" in dict(gated.report.gated).values()) != masked


def scores(x, size):
    """Something of each step to mask by, half of which is closed."""
    gated = tfgates.layers.GatedDense(size, name="scores")
    y = gated(x)
    gated.gate.logits.assign([-5.0] * (size // 2) + [2.0] * (size - size // 2))
    return ops.tanh(y) > 0.0


@pytest.mark.parametrize("kind", ["attention", "pooling", "normalisation"])
def test_what_masks_are_made_of_stays(kind):
    inputs = keras.Input(SHAPE)
    x = K.Dense(6, name="before")(inputs)
    if kind == "attention":
        x = K.MultiHeadAttention(2, 3)(x, x, attention_mask=scores(x, SHAPE[0]))
    else:
        mask = scores(K.GlobalMaxPooling1D()(x), SHAPE[0])
        x = K.GlobalAveragePooling1D()(x, mask=mask) if kind == "pooling" else K.BatchNormalization()(x, mask=mask)
    model = keras.Model(inputs, K.Dense(2)(x))
    plan = tfgates.plan_pruning(model)
    assert {row.name: row.units_left for row in plan.layers}["scores"] == SHAPE[0]
    pruned = tfgates.prune(model, plan=plan)
    np.testing.assert_allclose(pruned(steps()), model(steps()), atol=1e-5)


def test_attention_takes_the_mask_off_what_it_reads():
    """A second attention behind the sum then sees none, and would see one if the first went."""
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(5, 4, mask_zero=True)(tokens)
    y = keras.layers.Add(name="sum")([x, keras.layers.MultiHeadAttention(1, 2, name="first")(x, x)])
    z = keras.layers.MultiHeadAttention(1, 2, name="second")(y, y)
    with pytest.raises(ValueError, match="sum .* what is left has not the shape, or not the mask, of the sum"):
        tfgates.gate_model(keras.Model(tokens, z), residual="block")
