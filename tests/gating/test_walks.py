"""How often a network is walked through: once before gates are placed, once after, and not in training."""

import keras
import numpy as np
import pytest

import tfgates
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


@pytest.mark.parametrize("network", [plain, residual])
def test_gating_walks_once_before_and_once_after(network, walks):
    model = network()
    gated = tfgates.gate_model(model)
    assert walks == [True] and len(gated.gates) == 1
    walks.clear()
    tfgates.gate_model(model, budget=tfgates.Budget(macs=0.7))
    assert walks == [True, True]


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


def test_what_is_taken_for_granted_of_fewer_gates_is_what_a_walk_finds():
    """Of the walk with gates everywhere, those taken out that cannot be: nothing stays that a walk lets go."""
    network = Network(residual())
    places = unit_places(network, None, Report(), {})
    walk = Walk(network, symbolic=True, candidates=candidates_of(places))
    gone = {places[0].key, places[2].key}
    fewer = [place for place in places if place.key not in gone]
    known, own = walk.with_open(gone), Walk(network, symbolic=True, candidates=candidates_of(fewer))
    assert known.candidates == own.candidates
    for mine, theirs in zip(known.alive, own.alive, strict=True):
        terms = [
            frozenset(frozenset(each.units[unit] for unit in term) for term in each.formulas.terms[formula])
            for each, formula in ((known, mine), (own, theirs))
        ]
        assert terms[0] == terms[1]
