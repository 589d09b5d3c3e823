"""How often a network is walked through: once before gates are placed, once after, and not in training."""

import dataclasses

import keras
import numpy as np
import pytest

import tfgates
from tfgates.gating.blocks import block_places
from tfgates.gating.placement import candidates_of, unit_places
from tfgates.graph.network import Network
from tfgates.graph.walk import Walk
from tfgates.training.report import Report

K = keras.layers


@pytest.fixture
def walks(monkeypatch):
    """The walks that were made, a list that grows; each is whether it was symbolic."""
    found, original = [], Walk.__init__

    def counted(self, network, symbolic=False, candidates=None):
        found.append(symbolic)
        original(self, network, symbolic, candidates)

    monkeypatch.setattr(Walk, "__init__", counted)
    return found


def plain():
    inputs = keras.Input((8, 8, 3))
    x = K.Conv2D(6, 3, activation="relu")(inputs)
    x = K.ReLU()(K.BatchNormalization()(K.DepthwiseConv2D(3)(x)))
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))


def residual():
    """The convolutions that add into the stream can have no gate of their own."""
    inputs = keras.Input((8, 8, 3))
    x = K.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    y = K.ReLU()(K.BatchNormalization()(K.Conv2D(5, 3, padding="same")(x)))
    x = K.ReLU()(K.Add()([x, K.BatchNormalization()(K.Conv2D(4, 3, padding="same")(y))]))
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))


def attention():
    """Gates on heads; the convolution of the stream joins what comes from outside."""
    inputs = keras.Input((4, 6))
    x = K.Add()([inputs, K.MultiHeadAttention(2, 3)(inputs, inputs)])
    for _ in range(2):
        x = K.Add()([x, K.Dense(6)(K.Dense(5, activation="relu")(x))])
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize(
    "network, residual, gates",
    [
        (plain, "inner", 1),
        (residual, "inner", 1),
        (residual, "tied", 2),
        (residual, "block", 1),
        (residual, ("inner", "tied", "block"), 3),
        (attention, "inner", 3),
        (attention, "tied", 3),
        (attention, ("inner", "block"), 6),
    ],
)
def test_gating_walks_once_before_and_once_after(network, residual, gates, walks):
    # Of all layers by name: nothing is tried for streams then, which would take a walk more.
    gated = tfgates.gate_model(network(), residual=residual, layers=".*", budget=tfgates.Budget(macs=0.9))
    assert walks == [True, True] and len(gated.gates) == gates


@pytest.mark.parametrize("network", [plain, residual])
def test_without_a_budget_nothing_is_walked_after(network, walks):
    tfgates.gate_model(network(), layers=".*")
    assert walks == [True]


def test_training_does_not_walk(walks):
    """With a budget, nothing: not to compile, not for the metrics, not for the epochs that a monitor shows."""
    gated = tfgates.gate_model(plain(), budget=tfgates.Budget(macs=0.7))
    walks.clear()
    gated.compile("sgd", "mse")
    x, y = np.ones((4, 8, 8, 3), "float32"), np.ones((4, 2), "float32")
    history = gated.fit(x, y, epochs=2, verbose=0, callbacks=[tfgates.callbacks.SparsityMonitor()]).history
    assert walks == [] and {"macs", "expected_macs"} <= set(history)
    # The choice of units and the plan; the expected cost is known.
    tfgates.cost(gated)
    assert walks == [False]


def test_a_model_without_a_budget_is_walked_once_in_all_its_training(walks):
    gated = tfgates.gate_model(plain())
    walks.clear()
    x, y = np.ones((4, 8, 8, 3), "float32"), np.ones((4, 2), "float32")
    for _ in range(2):
        gated.compile("sgd", "mse")
    assert walks == []
    with pytest.warns(tfgates.GatesWarning):
        history = gated.fit(x, y, epochs=2, verbose=0, callbacks=[tfgates.callbacks.SparsityMonitor()]).history
    assert walks == [True] and {"macs", "expected_macs"} <= set(history)
    gated.evaluate(x, y, verbose=0)
    assert walks == [True]


def verdict(walk):
    """For each group the formula under which it stays, in units that are told apart by their gate and number."""
    return [
        frozenset(frozenset(walk.units[unit] for unit in term) for term in walk.formulas.terms[formula])
        for formula in walk.alive
    ]


def tie(place):
    """The gates of the stream made one."""
    return dataclasses.replace(place, key="stream") if place.units == 4 else place


def coarser(place):
    return dataclasses.replace(place, units=2) if place.units == 4 else place


def without_the_stream(place):
    return None if place.units == 4 else place


@pytest.mark.parametrize("change", [tie, coarser, without_the_stream])
def test_what_follows_for_other_gates_is_what_a_walk_finds(change):
    """Of the walk with gates everywhere, those taken out, tied or made coarser that cannot be as they are."""
    network = Network(residual())
    places = [*unit_places(network, None, Report(), {}), *block_places(network, None, Report())]
    walk = Walk(network, symbolic=True, candidates=candidates_of(places))
    others = candidates_of([place for place in map(change, places) if place is not None])
    known, own = walk.given(others), Walk(network, symbolic=True, candidates=others)
    assert verdict(known) == verdict(own) != verdict(walk)
    assert known.given(candidates_of(places)) is None or change is tie


def test_nothing_follows_for_gates_that_are_elsewhere_or_finer():
    network = Network(residual())
    places = unit_places(network, None, Report(), {})
    walk = Walk(network, symbolic=True, candidates=candidates_of([coarser(place) for place in places[:-1]]))
    assert walk.given(candidates_of(places)) is None
    assert walk.given(candidates_of(places[:-1])) is None
