"""What gates leave as they stand, told from an analysis made before, is what a plan finds."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.graph.lengths import lengthened
from tfgates.pruning import PruningPlan
from tfgates.pruning.standing import Standing
from tfgates.selection import Unchanged, expected_cost_of

K = keras.layers


@pytest.fixture
def gated():
    """With units closed in each gate, and one gate closed on a whole branch."""
    inputs = keras.Input((8, 8, 3))
    x = K.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):
        y = K.ReLU()(K.BatchNormalization()(K.Conv2D(5, 3, padding="same")(x)))
        x = K.ReLU()(K.Add()([x, K.BatchNormalization()(K.Conv2D(4, 3, padding="same")(y))]))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))
    gated = tfgates.gate_model(model, residual=("inner", "block"), penalty={"macs": 1.0})
    for number, gate in enumerate(gated.gates):
        closed = [number == 2] if gate.axis is None else np.arange(gate.units) % 3 == 0
        gate.logits.assign(np.where(closed, -5.0, 5.0))
    return gated


def test_it_is_what_a_plan_finds(gated):
    standing, plan = Standing(expected_cost_of(gated)), PruningPlan(gated, selection=Unchanged())
    assert standing.left == plan.left and standing.dense == plan.dense
    assert standing.left["macs"] < standing.dense["macs"]
    for found, planned in zip(standing.layers, plan.layers, strict=True):
        assert (found.name, found.kind, found.units, found.units_left) == (
            planned.name,
            planned.kind,
            planned.units,
            planned.units_left,
        )
        assert found.left == planned.left and found.dense == planned.dense
    # What gates say alone: a plan sees filters that are zero too.
    first = gated.layers[1]
    first.kernel.assign(np.zeros(first.kernel.shape))
    first.bias.assign(np.zeros(first.bias.shape))
    assert Standing(expected_cost_of(gated)).left == standing.left != PruningPlan(gated, selection=Unchanged()).left


def test_an_analysis_is_used_again_where_it_is_of_the_same(gated):
    known = expected_cost_of(gated)
    assert known is gated._structure.cost
    assert expected_cost_of(gated, known.costs[:1]).columns == ("params",)
    with lengthened(gated, 7):
        assert expected_cost_of(gated) is not known
    plain = keras.Sequential([keras.Input((3,)), K.Dense(2)])
    assert expected_cost_of(plain) is not expected_cost_of(plain)
