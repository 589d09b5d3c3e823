"""Additions whose operands are constants: the addition goes, the constants stay."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.random_networks import randomise
from tests.graph.test_properties import assert_same, check
from tfgates.gates import HardConcreteGate

K = keras.layers


def network(merge, activation):
    """`merge(x, activation(z * f(x)))` with the gate on f closed."""
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(4, 3, activation="relu", name="stem")(inputs)
    gate = HardConcreteGate(axis=None)
    y = K.Activation(activation)(gate(K.Conv2D(4, 1, name="branch")(x)))
    x = K.Conv2D(3, 1)(merge([x, y]))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(x)))
    gate.logits.assign([-5.0])
    return model


@pytest.mark.parametrize(("activation", "constant"), [("relu", 0.0), ("sigmoid", 0.5), ("softplus", np.log(2.0))])
def test_a_closed_branch_leaves_its_constant(activation, constant):
    model = network(K.Add(), activation)
    plan = tfgates.plan_pruning(model)
    assert plan.dropped == ["branch"]
    pruned = tfgates.prune(model, plan=plan)
    assert not any(isinstance(layer, K.Add) for layer in pruned.layers)
    shifts = [layer.offset for layer in pruned.layers if isinstance(layer, K.Rescaling)]
    assert shifts == ([pytest.approx(constant)] if constant else [])


@pytest.mark.parametrize("earlier", [True, False])
def test_a_closed_branch_goes_though_what_it_is_added_to_is_a_constant_too(earlier):
    inputs = keras.Input((6, 6, 3))
    gate = HardConcreteGate(axis=None)
    x = K.Conv2D(3, 1, activation="relu", name="stem")
    if earlier:
        x = x(inputs)
        y = gate(K.Conv2D(3, 3, padding="same", name="branch")(x))
    else:
        y = gate(K.Conv2D(3, 3, padding="same", name="branch")(inputs))
        x = x(inputs)
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.Add()([x, y]))))
    # What training has closed by its weights alone.
    stem = model.get_layer("stem")
    stem.kernel.assign(np.zeros(stem.kernel.shape))
    stem.bias.assign([0.0, 0.7, 0.0])
    gate.logits.assign([-5.0])
    plan = tfgates.plan_pruning(model, min_units=1)
    assert "branch" in plan.dropped
    pruned = tfgates.prune(model, plan=plan)
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32")
    np.testing.assert_allclose(pruned(x, training=False), model(x, training=False), atol=1e-6)


@pytest.mark.parametrize("merge", [K.Subtract, K.Multiply, K.Maximum, K.Minimum, K.Average])
def test_other_merges_keep_the_operand(merge):
    model = network(merge(), "sigmoid")
    plan = tfgates.plan_pruning(model)
    assert plan.dropped == []
    assert tfgates.prune(model, min_units=1).count_params() <= plan.dense_params


def test_a_product_with_zero_is_zero():
    model = network(K.Multiply(), "relu")
    with pytest.raises(tfgates.pruning.ClosedLayerError):
        tfgates.prune(model)


@keras.saving.register_keras_serializable("tests")
class Attention(keras.layers.Layer):
    """Attention written out, with norms of queries and keys within heads, and a bias between steps for each head."""

    def __init__(self, bias=True, heads=4, **kwargs):
        super().__init__(**kwargs)
        self.bias, self.heads = bias, heads
        self.projections = [K.EinsumDense("btd,dnh->btnh", (6, heads, 3), name=f"to_{i}") for i in range(3)]
        self.out = K.EinsumDense("btnh,nhd->btd", (6, 5), name="out")

    def build(self, shape):
        for layer in self.projections:
            layer.build(shape)
        self.out.build((*shape[:2], self.heads, 3))
        self.scale = self.add_weight(shape=(3,), name="scale", initializer="random_normal")
        self.table = self.add_weight(shape=(self.heads, 1, 6), name="table", initializer="random_normal")

    def call(self, x):
        query, key, value = (layer(x) for layer in self.projections)
        query, key = (y * ops.rsqrt(ops.mean(y**2, axis=-1, keepdims=True) + 1e-3) * self.scale for y in (query, key))
        scores = ops.einsum("bqnh,bknh->bnqk", query, key)
        if self.bias:
            # Differs from step to step, and is no constant for a head.
            scores = scores + self.table
        return self.out(ops.einsum("bnqk,bknh->bqnh", ops.softmax(scores), value))

    def compute_output_shape(self, shape):
        return (*shape[:2], 5)


@pytest.mark.parametrize("bias", [False, True])
def test_heads_with_weights_of_their_width_and_a_tensor_that_has_all_of_them(bias):
    inputs = keras.Input((6, 5))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling1D()(Attention(bias, name="attention")(inputs))))
    gated = tfgates.gate_model(model)
    assert [kind.split(",")[0] for _, kind in gated.report.gated] == ["4 heads", "5 units"]
    randomise(gated, 0)
    gate = gated.gates[0]
    gate.logits.assign(np.where(np.arange(4) % 2, -4.0, 4.0).reshape(gate.logits.shape))
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert_same(plan.network, gated, pruned)
    assert pruned.count_params() == plan.params
    assert pruned.get_layer("attention_to_0").kernel.shape == (5, 2, 3)
    # The weight that has all heads stays, and what is left takes its own of it.
    assert ((4, 1, 6) in [tuple(weight.shape) for weight in pruned.weights]) == bias


def test_of_a_whole_tensor_what_is_left_behind_a_constant_is_the_whole():
    inputs = [keras.Input((6, 6, 3)), keras.Input((6, 6, 4))]
    gate = HardConcreteGate(axis=None)
    x = gate(K.Conv2D(4, 1, name="branch")(inputs[0]))
    model = keras.Model(inputs, K.Conv2D(2, 1, name="last")(K.Add(name="join")([x, inputs[1]])))
    gate.logits.assign([-5.0])
    plan = tfgates.plan_pruning(model)
    assert plan.dropped == ["branch"]
    assert [layer.name for layer in tfgates.prune(model, plan=plan).layers if layer.weights] == ["last"]


def test_a_whole_tensor_with_a_mask_keeps_the_channels():
    tokens, inputs = keras.Input((6,), dtype="int32"), keras.Input((6, 3))
    gate = HardConcreteGate()
    x = gate(K.Dense(4, name="first")(inputs))
    y = K.Activation("softmax")(K.Embedding(9, 4, mask_zero=True)(tokens))
    model = keras.Model([tokens, inputs], K.Dense(2)(K.LSTM(3)(K.Add(name="join")([x, y]))))
    gate.logits.assign([5.0, -5.0, 5.0, -5.0])
    ((_, why),) = tfgates.plan_pruning(model).kept
    assert why == "2 closed: join: it joins the channels with a tensor that keeps its own"
    assert check(model) == "equal"


def test_of_a_whole_tensor_alone_what_nothing_needs_is_not_read():
    """Where a branch goes that was added to it, the expected cost still counts what is closed behind as gone."""
    inputs = keras.Input((6, 6, 3))
    branch = HardConcreteGate(axis=None)
    x = K.Add(name="join")([inputs, branch(K.Conv2D(3, 1, name="branch")(inputs))])
    gate = HardConcreteGate()
    x = gate(K.DepthwiseConv2D(3, name="depthwise")(x))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(x)))
    branch.logits.assign([-5.0])
    gate.logits.assign([-5.0, -5.0, 5.0])
    plan = tfgates.plan_pruning(model)
    assert plan.dropped == ["branch"] and plan.kept == []
    assert {row.name: row.units_left for row in plan.layers}["depthwise"] == 1
    assert tfgates.cost(model).params == plan.params
    assert check(model) == "smaller"
