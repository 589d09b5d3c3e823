"""Gates on whole branches, and on whole layers that end with a normalisation."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfgates
from tests.opaque import needs_values


def test_a_branch_whose_last_axis_is_open():
    """Scores of attention: how many there are nobody knows, and one gate is on all of them."""
    inputs = keras.Input((None, 4))
    queries, keys = layers.Dense(4)(inputs), layers.Dense(4)(inputs)
    gate = tfgates.gates.HardConcreteGate(axis=None)
    scores = gate(ops.matmul(queries, ops.transpose(keys, (0, 2, 1))))
    gated = tfgates.GatedModel(inputs, ops.matmul(ops.softmax(scores), inputs), length=5)
    gate.logits.assign([0.2])
    small = tfgates.prune(gated)
    for steps in (5, 3):
        x = np.random.default_rng(steps).normal(size=(2, steps, 4)).astype("float32")
        np.testing.assert_allclose(small(x), gated(x), rtol=1e-5, atol=1e-6)


def encoder(masked=False, depth=2):
    """Of BERT's kind: sums that are normalised."""
    inputs = keras.Input((None,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(12, 8, mask_zero=masked)(inputs))
    for i in range(depth):
        y = layers.MultiHeadAttention(2, 4, name=f"attention_{i}")(x, x)
        x = layers.LayerNormalization(name=f"first_{i}")(layers.Add(name=f"add_{i}")([x, y]))
        y = layers.Dense(8, name=f"out_{i}")(layers.Dense(12, "relu", name=f"hidden_{i}")(x))
        x = layers.LayerNormalization(name=f"second_{i}")(layers.Add(name=f"sum_{i}")([x, y]))
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    generator = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(generator.normal(size=variable.shape) * 0.4)
    return model


TOKENS = [np.random.default_rng(steps).integers(0, 12, (2, steps)) for steps in (5, 3)]


def set_gates(gated, **logits):
    for gate in gated.gates:
        gate.logits.assign(np.full(gate.unit_shape, logits.get(gate.name.removesuffix("_gate"), 4.6)))


def assert_same(first, second):
    for x in TOKENS:
        np.testing.assert_allclose(first(x), second(x), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def both():
    """A network and the same with gates, which tests set as they like."""
    model = encoder()
    return model, tfgates.gate_model(model, residual=("inner", "layer"), length=5)


def test_a_whole_layer_goes_with_its_normalisation(both):
    model, gated = both
    assert dict(gated.report.gated)["add_0"] == dict(gated.report.gated)["sum_1"] == "the whole layer"
    assert dict(gated.report.skipped)["second_0"] == "goes with the gate of sum_0"
    # Open it is what it was, and leaves no trace.
    set_gates(gated)
    assert_same(model, gated)
    small = tfgates.prune(gated)
    assert [layer.name for layer in small.layers[1:]] == [layer.name for layer in model.layers[1:]]
    assert_same(model, small)
    # Closed what comes in goes on.
    set_gates(gated, add_0=-4.6, sum_0=-4.6)
    plan = tfgates.plan_pruning(gated)
    assert {"attention_0", "first_0", "hidden_0", "out_0", "second_0"} <= set(plan.dropped)
    small = tfgates.prune(gated, plan=plan)
    shorter = encoder(depth=1)
    names = [layer.name.replace("_1", "_0") for layer in small.layers]
    assert names[3:] == [layer.name for layer in shorter.layers[3:]]
    assert small.count_params() == plan.params == shorter.count_params()
    assert_same(gated, small)
    # In between it is a sum of both.
    set_gates(gated, add_1=0.2, sum_0=-4.6)
    assert_same(gated, tfgates.prune(gated))


def test_the_expected_cost_of_a_whole_layer(both):
    _, gated = both
    set_gates(gated, add_0=-30.0, sum_0=-30.0)
    cost = tfgates.cost(gated)
    assert cost.params == encoder(depth=1).count_params()
    np.testing.assert_allclose(cost.expected_params, cost.params, rtol=0.05)


def test_masks_go_on_where_a_whole_layer_goes():
    model = encoder(masked=True)
    gated = tfgates.gate_model(model, residual="layer", length=5)
    # Attention takes the mask off what it reads, so that a sum with it has to stay.
    assert [name for name, _ in gated.report.gated] == ["sum_0", "sum_1"]
    set_gates(gated, sum_0=-4.6, sum_1=0.2)
    small = tfgates.prune(gated)
    assert not {"hidden_0", "second_0"} & {layer.name for layer in small.layers}
    assert_same(gated, small)


def test_branches_that_nothing_normalises():
    inputs = keras.Input((6,))
    x = layers.Add(name="plain")([inputs, layers.Dense(6)(inputs)])
    gated = tfgates.gate_model(keras.Model(inputs, layers.Dense(2)(x)), residual=("layer", "block"))
    assert gated.report.gated == [("plain", "the whole branch")]


def test_shrinking_takes_whole_layers_along(both):
    _, gated = both
    set_gates(gated, add_0=-30.0, sum_0=-30.0)
    smaller = tfgates.shrinking.shrink(gated)
    assert "first_0" not in {layer.name for layer in smaller.layers}
    assert_same(gated, smaller)


class Whole(layers.Layer):
    """It cannot be followed."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        return ops.matmul(needs_values(x), self.kernel)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_a_layer_that_stays_whole_goes_with_its_branch():
    inputs = keras.Input((6,))
    x = layers.Add(name="behind")([inputs, layers.Dense(6, name="known")(Whole(name="first")(inputs))])
    x = layers.Add(name="last")([x, Whole(name="second")(x)])
    gated = tfgates.gate_model(keras.Model(inputs, layers.Dense(2)(x)), residual="block")
    assert [name for name, _ in gated.report.gated] == ["behind"]
    # Of what nothing is known it is not said that nobody had asked for it.
    assert dict(gated.report.skipped)["last"] == "its branch cannot be followed"
    gated.gates[0].logits.assign([-5.0])
    plan = tfgates.plan_pruning(gated)
    assert plan.dropped == ["first", "known"]
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    np.testing.assert_allclose(tfgates.prune(gated, plan=plan)(x), gated(x), rtol=1e-5, atol=1e-6)
