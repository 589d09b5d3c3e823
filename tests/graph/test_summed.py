"""Sums of products over channels: pairs of which one is closed go from both factors."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.units import close_half, randomised, same_outputs

K = keras.layers
STEPS, WIDTH = 5, 6


def gate():
    return tfgates.gates.HardConcreteGate()


def attention(x):
    """One head of attention, as in a non-local block."""
    query, key, value = (K.Dense(6, name=name)(x) for name in ("query", "key", "value"))
    return ops.matmul(ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 2.0, axis=-1), value)


def of_one_layer(x):
    """Queries and values come from the same layer."""
    both, key = K.Dense(12, name="both")(x), K.Dense(6, name="key")(x)
    weights = ops.softmax(ops.einsum("bqd,bkd->bqk", both[..., :6], key) / 2.0, axis=-1)
    return ops.matmul(weights, both[..., 6:])


def of_constants(closes):
    """Factors of which channels are closed to other constants than 0, by gates of their own."""

    def build(x):
        pairs = [K.Dense(6, name=name)(x) for name in ("first", "second")]
        pairs = [closes[i](gate()(y)) for i, y in enumerate(pairs)]
        return ops.einsum("bik,bjk->bij", *pairs)

    return build


def towers(x):
    first, second = (K.Dense(6, name=name)(x) for name in ("first", "second"))
    return K.Dot(axes=(2, -1))([ops.relu(first), second])


def beside_whole(x):
    """One factor is read by a normalisation too: it stays whole, and is read in part."""
    return ops.matmul(K.Dense(WIDTH, name="first")(x), ops.transpose(K.LayerNormalization()(x), (0, 2, 1)))


def gram(x):
    y = K.Dense(6, name="first")(x)
    return ops.einsum("bki,bkj->bij", ops.transpose(y, (0, 2, 1)), ops.transpose(y, (0, 2, 1)))


# What is built, and the units of each gate that `gate_model` finds.
NETWORKS = {
    "attention": (attention, [6, 6]),
    "of one layer": (of_one_layer, [12]),
    "towers": (towers, [6]),
    "beside a whole one": (beside_whole, [6]),
    "gram": (gram, [6]),
}


def network(build):
    inputs = keras.Input((STEPS, WIDTH))
    return keras.Model(inputs, K.Dense(3, name="head")(build(inputs)))


@pytest.mark.parametrize("name", NETWORKS)
def test_pairs_go(name):
    build, units = NETWORKS[name]
    gated = tfgates.gate_model(network(build))
    assert [each.units for each in gated.gates] == units
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert plan.params == pruned.count_params() and not plan.kept
    before, left = units_of(gated), units_of(pruned)
    assert all(left[each] < before[each] for each in before) and plan.macs < 0.7 * plan.dense_macs
    assert plan.macs == tfgates.plan_pruning(pruned).dense_macs
    same_outputs(gated, pruned)


def units_of(model):
    return {layer.name: layer.units for layer in model.layers if isinstance(layer, K.Dense) and layer.name != "head"}


def test_queries_and_keys_share_a_gate():
    report = tfgates.gate_model(network(attention)).report
    assert dict(report.gated) == {"query": "6 features", "value": "6 units"}


@pytest.mark.parametrize(
    ("closes", "left"), [((ops.tanh, ops.sigmoid), 2), ((ops.sigmoid, ops.sigmoid), 6), ((ops.tanh, ops.tanh), 2)]
)
def test_of_a_pair_one_has_to_be_zero(closes, left):
    """Channels that are closed to 0 go with those beside them; two other constants stay, as their product counts."""
    model = network(of_constants(closes))
    randomised(model)
    gates = [layer for layer in model.layers if isinstance(layer, tfgates.gates.Gate)]
    gates[0].logits.assign([-5.0, -5.0, -5.0, 2.0, 2.0, -5.0])
    gates[1].logits.assign([-5.0, 2.0, 2.0, 2.0, 0.5, 2.0])
    pruned = tfgates.prune(model)
    assert units_of(pruned) == dict.fromkeys(("first", "second"), left)
    same_outputs(model, pruned)


def test_a_product_of_nothing_is_refused():
    gated = tfgates.gate_model(network(towers))
    for each in gated.gates:
        each.logits.assign(np.full(each.units, -5.0))
    with pytest.raises(tfgates.pruning.ClosedLayerError, match="first"):
        tfgates.prune(gated, min_units=0)


def translation(steps=None, **options):
    """Sequence to sequence: states and values of the first LSTM are those of the second, and what it attends to."""
    source, target = (keras.Input((steps, 4), name=name) for name in ("source", "target"))
    read, *state = K.LSTM(6, return_sequences=True, return_state=True, name="reads")(source)
    written = K.LSTM(6, return_sequences=True, name="writes")(target, initial_state=state)
    context = K.Attention(**options)([written, read])
    x = K.Dense(5, activation="tanh", name="joined")(K.Concatenate()([context, written]))
    return keras.Model([source, target], K.Dense(3, name="head")(x))


@pytest.mark.parametrize(("steps", "options"), [(None, {}), (5, {"use_scale": True, "dropout": 0.3})])
def test_units_of_both_networks_go_by_themselves(steps, options):
    gated = tfgates.gate_model(translation(steps, **options))
    assert [each.units for each in gated.gates] == [6, 6, 5]
    randomised(gated)
    shut = {"reads": [0, 2, 5], "writes": [0, 1], "joined": [1]}
    for (name, closed), each in zip(shut.items(), gated.gates, strict=True):
        each.logits.assign(np.where(np.isin(np.arange(each.units), closed), -5.0, 1.0))
        assert name in each.name
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    units = {name: pruned.get_layer(name).units for name in shut}
    assert units == {"reads": 3, "writes": 4, "joined": 4} and plan.params == pruned.count_params() and not plan.kept
    generator = np.random.default_rng(0)
    x = [generator.normal(size=(3, 5, 4)).astype("float32") for _ in range(2)]
    for call in ({}, {"training": False}):
        np.testing.assert_allclose(gated(x, **call), pruned(x, **call), atol=1e-5)
    if steps:
        assert plan.macs == tfgates.plan_pruning(pruned).dense_macs


@pytest.mark.parametrize("options", [{"score_mode": "concat"}, {"use_causal_mask": True}])
def test_what_other_attention_does(options):
    called = {name: value for name, value in options.items() if name == "use_causal_mask"}
    made = {name: value for name, value in options.items() if name == "score_mode"}
    query, key = K.Input((STEPS, WIDTH)), K.Input((STEPS, WIDTH))
    x = [K.Dense(6, name=name)(each) for name, each in (("query", query), ("value", key), ("key", key))]
    x = K.Dense(6, name="behind")(K.Attention(**made)(x, **called))
    gated = tfgates.gate_model(keras.Model([query, key], K.Dense(2, name="head")(x)))
    if made:
        assert "with other scores than products" in dict(gated.report.skipped)["query"]
    else:
        assert dict(gated.report.gated) == {"query": "6 features", "value": "6 units", "behind": "6 units"}
    randomised(gated)
    close_half(gated)
    same_outputs(gated, tfgates.prune(gated))
