"""Landing: the actual cost is at or below the budget, and as near as asked."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.pruning.landing import landing_of
from tfgates.pruning.plan import PruningPlan


def network(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((10, 10, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    y = keras.layers.Conv2D(24, 3, padding="same", use_bias=False)(x)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.ReLU()(y)
    y = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(y)
    y = keras.layers.BatchNormalization()(y)
    x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.Conv2D(32, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(20, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def spread(model, seed=0):
    """Gives every gate logits all over its range."""
    rng = np.random.default_rng(seed)
    for gate in model.gates:
        gate.logits.assign(rng.uniform(-4.0, 4.0, gate.logits.shape))


METHODS = ("hard_concrete", "disarm")


@pytest.mark.parametrize("gate", METHODS)
@pytest.mark.parametrize("budget", [{"macs": 0.4}, {"params": 0.3}, {"params": 0.5, "macs": 0.3}])
def test_at_or_below_and_near(gate, budget):
    model = tfgates.gate_model(network(), gate=gate, budget=tfgates.Budget(**budget))
    for level in (4.0, 0.0):
        spread(model)
        for g in model.gates:
            g.logits.assign_add(np.full(g.logits.shape, level))
        plan = PruningPlan(model, landing=landing_of(model, fill=True))
        left = {"params": plan.params / plan.dense_params, "macs": plan.macs / plan.dense_macs}
        assert all(left[name] <= target for name, target in budget.items())
        assert any(left[name] >= target - 0.03 for name, target in budget.items())


def test_prune_lands_and_leaves_the_model_alone():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.25))
    for gate in model.gates:
        gate.logits.assign(np.linspace(1.0, 4.0, gate.units))
    before = [keras.ops.convert_to_numpy(v) for v in model.variables]
    open_before = [int(np.sum(gate.open_units())) for gate in model.gates]
    assert tfgates.cost(model, land=False).macs == tfgates.cost(model).dense_macs
    cost = tfgates.cost(model)
    pruned = tfgates.prune(model)
    assert cost.macs <= 0.25 * cost.dense_macs
    assert pruned.count_params() == cost.params
    assert tfgates.cost(pruned).dense_macs == cost.macs
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    assert [int(np.sum(gate.open_units())) for gate in model.gates] == open_before


def test_the_plan_says_what_landing_closes():
    inputs = keras.Input((3,))
    x = tfgates.layers.GatedDense(4, gate="hard_concrete", name="first")(inputs)
    model = tfgates.GatedModel(inputs, keras.layers.Dense(2)(x), budget=tfgates.Budget(params=0.6))
    gate = model.get_layer("first").gate
    gate.logits.assign([3.0, 2.0, 1.0, -3.0])
    plan = tfgates.plan_pruning(model)
    assert plan.landed == [(gate.name, "closes 1")]
    assert f"to land at the budget:\n  {gate.name}: closes 1" in str(plan)
    gate.logits.assign([3.0, 2.0, -3.0, -3.0])
    assert tfgates.plan_pruning(model).landed == []


def test_the_least_certain_units_close_first():
    model = tfgates.gate_model(network(), layers=["dense"], budget=tfgates.Budget(params=0.99))
    (gate,) = model.gates
    logits = np.linspace(-1.0, 3.0, gate.units)
    gate.logits.assign(np.random.default_rng(0).permutation(logits))
    ranking = np.argsort(keras.ops.convert_to_numpy(gate.logits))
    (values,) = landing_of(model).values()
    closed = np.flatnonzero(values == 0.0)
    assert 0 < len(closed) < gate.units
    np.testing.assert_array_equal(np.sort(ranking[: len(closed)]), closed)


def test_one_unit_stays_in_each_gate():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.1))
    for gate in model.gates:
        gate.logits.assign(np.full(gate.logits.shape, -4.0))
    plan = tfgates.plan_pruning(model)
    assert not plan.empty
    assert plan.macs <= 0.1 * plan.dense_macs


def test_without_fill_nothing_opens():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.9))
    for gate in model.gates:
        gate.logits.assign(np.where(np.arange(gate.units) < 3, 3.0, -3.0))
    assert landing_of(model) == {}
    filled = landing_of(model, fill=True)
    assert sum(int(np.count_nonzero(v)) for v in filled.values()) > 3 * len(model.gates)
    assert all(np.all(v >= 0) for v in filled.values())


def test_per_layer_budgets_hold_in_each_layer():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(params=0.5, per_layer=True))
    for gate in model.gates:
        gate.logits.assign(np.linspace(1.0, 4.0, gate.units))
    plan = tfgates.plan_pruning(model)
    bounded = {bound.layer_name for bound in model._structure.bounds}
    for row in plan.layers:
        if row.name in bounded:
            assert row.params_left <= 0.5 * row.params


def test_whole_branches_can_go():
    model = tfgates.gate_model(network(), residual="block", budget=tfgates.Budget(macs=0.6))
    (gate,) = model.gates
    gate.logits.assign([2.0])
    plan = tfgates.plan_pruning(model)
    assert plan.macs <= 0.6 * plan.dense_macs
    assert plan.dropped == ["conv2d_1", "batch_normalization_1", "conv2d_2", "batch_normalization_2"]


def added(budget):
    """Two gated layers that add up: which of their units are open together decides what an output costs."""
    inputs = keras.Input((6,))
    first, second = (tfgates.layers.GatedDense(8, gate="hard_concrete", name=name)(inputs) for name in ("a", "b"))
    x = keras.layers.Dense(20, activation="relu")(keras.layers.Add()([first, second]))
    return tfgates.GatedModel(inputs, keras.layers.Dense(2)(x), budget=budget)


def test_units_of_added_layers_are_chosen_together():
    """One unit of each, the most open, would leave two channels of the sum where one fits."""
    least = tfgates.costs.ExpectedCost(added(None))
    least = least.evaluate([np.eye(1, 8)[0], np.eye(1, 8)[0]])[0]
    model = added(tfgates.Budget(params=int(least)))
    for gate, best in zip(model.gates, (2, 5), strict=True):
        gate.logits.assign(np.where(np.arange(8) == best, 4.0, -1.0))
    pruned = tfgates.prune(model)
    assert pruned.count_params() <= least


def test_gates_that_matter_only_together_are_closed():
    """Closing one of two gates on the same channels changes no cost, closing both does."""
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8)(inputs)
    x = keras.layers.Add()([tfgates.gates.HardConcreteGate(name="a")(x), tfgates.gates.HardConcreteGate(name="b")(x)])
    model = tfgates.GatedModel(inputs, keras.layers.Dense(2)(x), budget=tfgates.Budget(params=0.5))
    for gate in model.gates:
        gate.logits.assign(np.linspace(1.0, 3.0, 8))
    plan = tfgates.plan_pruning(model)
    assert plan.params <= 0.5 * plan.dense_params
    assert tfgates.prune(model).count_params() == plan.params


@pytest.mark.parametrize("level", [-4.0, 0.0])
def test_positions_of_a_map_stay_within_the_maps_that_stay(level):
    """All closed, a gate on flattened positions must keep one of a map that the convolution's gate keeps."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(10, 3, activation="relu")(x)
    x = keras.layers.Dense(30, activation="relu")(keras.layers.Flatten()(x))
    plain = keras.Model(inputs, keras.layers.Dense(3)(x))
    model = tfgates.gate_model(plain, flattened=True, budget=tfgates.Budget(params=0.02))
    rng = np.random.default_rng(0)
    for gate in model.gates:
        gate.logits.assign(level + rng.uniform(-0.5, 0.5, gate.logits.shape))
    pruned = tfgates.prune(model)
    assert pruned.count_params() <= 0.02 * plain.count_params()
