"""Spatial gating units: of what is multiplied channel by channel the dense layer over places loses channels."""

import keras
import pytest
from keras import ops

import tfgates
from tests.graph.units import close_half, randomised, same_outputs
from tfgates.graph.network import Network

K = keras.layers
STEPS, WIDTH, HIDDEN = 5, 6, 8


def over_places(x, activation=None):
    y = K.Dense(STEPS, activation=activation, name="places")(ops.transpose(x, (0, 2, 1)))
    return ops.transpose(y, (0, 2, 1))


def gated_unit(x, norm=True, activation=None):
    u, v = ops.split(K.Dense(2 * HIDDEN, activation="gelu", name="both")(x), 2, axis=-1)
    v = K.LayerNormalization(name="norm")(v) if norm else v
    return x + K.Dense(WIDTH, name="back")(u * over_places(v, activation))


def network(unit):
    inputs = keras.Input((STEPS, WIDTH))
    x = K.LayerNormalization()(unit(K.LayerNormalization()(inputs)))
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize(("norm", "activation"), [(True, None), (True, "tanh"), (False, None)])
def test_channels_go(norm, activation):
    gated = tfgates.gate_model(network(lambda x: gated_unit(x, norm, activation)))
    (gate,) = gated.gates
    assert gate.units == HIDDEN
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    half = HIDDEN // 2
    # A normalisation needs all of its channels.
    assert pruned.get_layer("both").units == (HIDDEN + half if norm else HIDDEN)
    assert pruned.get_layer("places").output.shape == (None, half, STEPS)
    assert plan.params == pruned.count_params() and not plan.kept
    assert plan.macs == tfgates.plan_pruning(pruned).dense_macs
    rows = {row.name.rpartition("/")[2]: row for row in plan.layers}
    assert (rows["places"].macs, rows["places"].macs_left) == (HIDDEN * STEPS**2, half * STEPS**2)
    same_outputs(gated, pruned)


def marked(model):
    return [node.name for node in Network(model).nodes if node.by_channel]


def test_others_are_not_marked():
    assert marked(network(gated_unit)) == ["norm", "places"]
    # The hidden units of a mixer have gates of their own.
    mixer = network(lambda x: x + ops.transpose(K.Dense(STEPS)(K.Dense(7)(ops.transpose(x, (0, 2, 1)))), (0, 2, 1)))
    assert marked(mixer) == []

    def read_twice(x):
        y = over_places(x)
        return x * y + y

    assert marked(network(read_twice)) == [] and marked(network(lambda x: x * K.Dense(WIDTH)(x))) == []


def test_a_softmax_over_places_mixes_no_channels_but_is_no_function_of_numbers():
    gated = tfgates.gate_model(network(lambda x: gated_unit(x, activation="softmax")))
    randomised(gated)
    close_half(gated)
    same_outputs(gated, tfgates.prune(gated))
