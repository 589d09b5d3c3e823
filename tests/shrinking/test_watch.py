"""When a network is to shrink."""

import keras
import numpy as np
import pytest

import tfgates
from tests.shrinking.test_parts import gated
from tfgates.shrinking.watch import Shrinking, Watch


def watch_of(model, settings, epochs=10):
    """A `Watch` in the midst of a training of 50 steps an epoch."""
    watch = Watch(settings)
    watch.set_model(model)
    watch.set_params({"epochs": epochs})
    watch.start = -50
    return watch


def closed():
    """A network of 384 MACs that is 176 smaller without eight units that are closed."""
    model = gated()
    gate = model.gates[0]
    gate.logits.assign(np.where(np.arange(16) < 8, -5.0, gate.logits))
    return model


def test_it_shrinks_once_waiting_has_cost_a_rebuild():
    watch = watch_of(closed(), Shrinking())
    logs, asked = {}, []
    for epoch in range(4):
        watch.on_epoch_end(epoch, logs)
        asked.append(watch.plan is not None)
    # .7 * 176 / 384 of an epoch each time; a rebuild costs as much as one.
    assert asked == [False, False, False, True] and logs == {"rebuilds": 0}
    (gone,) = watch.state["pending"].values()
    assert gone == list(range(8)) and watch.state["lost"] == 0.0
    watch.shrank(watch.plan, closed())
    assert watch.plan is None


def test_it_does_not_where_too_few_epochs_are_left():
    watch = watch_of(closed(), Shrinking(), epochs=6)
    for epoch in range(6):
        watch.on_epoch_end(epoch)
        assert watch.plan is None


def test_units_to_choose_from_stay():
    watch = watch_of(closed(), Shrinking(rebuild=0.0, spare=2.0))
    watch.on_epoch_end(0)
    # Each saves 22 of 384 MACs, and twice .3 of them stay.
    (gone,) = watch.state["pending"].values()
    assert len(gone) == 6


def test_how_much_stays_is_asked_for_with_a_budget_alone():
    model = tfgates.gate_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)]))
    model.compile("sgd", "mse")
    x, y = np.zeros((4, 4), "float32"), np.zeros((4, 2), "float32")
    with pytest.raises(ValueError, match="`spare` says.*Received: spare=2.0"):
        tfgates.fit(model, x, y, verbose=0, shrink=Shrinking(spare=2.0))


def test_units_have_to_be_closed_in_so_many_epochs_in_a_row():
    model = closed()
    watch = watch_of(model, Shrinking(checks=3, rebuild=0.0))
    gate = model.gates[0]
    for epoch in range(2):
        watch.on_epoch_end(epoch)
        assert watch.plan is None
    # One opens again for an epoch.
    gate.logits.assign(np.where(np.arange(16) == 3, 2.0, gate.logits))
    watch.on_epoch_end(2)
    (gone,) = watch.state["pending"].values()
    assert gone == [0, 1, 2, 4, 5, 6, 7]


def test_an_epoch_is_as_long_as_its_steps():
    watch = watch_of(closed(), Shrinking())
    # Two hundred steps an epoch: four times as much is lost in each.
    watch.start = -200
    watch.on_epoch_end(0)
    assert watch.plan is not None


def test_a_plan_that_cannot_be_made_ends_no_training(monkeypatch):
    def fault(model, units):
        raise TypeError("a fault in a rule")

    monkeypatch.setattr("tfgates.shrinking.watch.ShrinkingPlan", fault)
    watch = watch_of(closed(), Shrinking(rebuild=0.0))
    with pytest.warns(tfgates.GatesWarning, match="goes on without.*TypeError: a fault in a rule"):
        watch.on_epoch_end(0)
    watch.on_epoch_end(1)
    assert watch.plan is None and watch.given_up
