"""The choice of units: the actual cost is at or below the budget, and as near as asked."""

import re

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array
from tfgates.costs.widths import Widths
from tfgates.graph.rules.linear import LinearRule


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
        plan = tfgates.plan_pruning(model)
        left = {"params": plan.params / plan.dense_params, "macs": plan.macs / plan.dense_macs}
        assert all(left[name] <= target for name, target in budget.items())
        assert any(left[name] >= target - 0.03 for name, target in budget.items())


def test_prune_keeps_the_budget_and_leaves_the_model_alone():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.25))
    for gate in model.gates:
        gate.logits.assign(np.linspace(1.0, 4.0, gate.units))
    before = [array(v) for v in model.variables]
    open_before = [int(np.sum(gate.open_units())) for gate in model.gates]
    assert tfgates.cost(model, chosen=False).macs == tfgates.cost(model).dense_macs
    cost = tfgates.cost(model)
    pruned = tfgates.prune(model)
    assert cost.macs <= 0.25 * cost.dense_macs
    assert pruned.count_params() == cost.params
    assert tfgates.cost(pruned).dense_macs == cost.macs
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    assert [int(np.sum(gate.open_units())) for gate in model.gates] == open_before


def test_the_plan_says_what_the_choice_closes():
    inputs = keras.Input((3,))
    x = tfgates.layers.GatedDense(4, gate="hard_concrete", name="first")(inputs)
    model = tfgates.GatedModel(inputs, keras.layers.Dense(2)(x), budget=tfgates.Budget(params=0.6))
    gate = model.get_layer("first").gate
    gate.logits.assign([3.0, 2.0, 1.0, -3.0])
    plan = tfgates.plan_pruning(model)
    assert plan.chosen == [(gate.name, "closes 1")]
    assert f"chosen to keep the budget:\n  {gate.name}: closes 1" in str(plan)
    gate.logits.assign([3.0, 2.0, -3.0, -3.0])
    assert tfgates.plan_pruning(model).chosen == []


def test_the_least_certain_units_close_first():
    model = tfgates.gate_model(network(), layers=["dense"], budget=tfgates.Budget(params=0.99))
    (gate,) = model.gates
    logits = np.linspace(-1.0, 3.0, gate.units)
    gate.logits.assign(np.random.default_rng(0).permutation(logits))
    ranking = np.argsort(keras.ops.convert_to_numpy(gate.logits))
    (values,) = tfgates.plan_pruning(model).selection.values.values()
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


def test_what_fits_the_budget_is_opened():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.9))
    for gate in model.gates:
        gate.logits.assign(np.where(np.arange(gate.units) < 3, 3.0, -3.0))
    filled = tfgates.plan_pruning(model).selection.values
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


@pytest.mark.parametrize("round_to", [2, 8])
@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
def test_rounding_ends_within_the_budget(round_to, target):
    """As it was, widths were rounded up after the choice and the cost with them."""
    model = tfgates.gate_model(network(), residual=("inner", "tied"), budget=tfgates.Budget(macs=target))
    spread(model)
    plan = tfgates.plan_pruning(model, min_units=2, round_to=round_to)
    cost = tfgates.cost(model, min_units=2, round_to=round_to)
    assert plan.macs == cost.macs <= target * plan.dense_macs
    assert plan.macs >= (target - 0.2) * plan.dense_macs
    widths = {row.name: row.units_left for row in plan.layers if row.units and row.name != "dense_1"}
    assert all(width % round_to == 0 or width == 20 for width in widths.values())
    pruned = tfgates.prune(model, plan=plan)
    assert pruned.count_params() == plan.params


def test_a_width_that_is_kept_anyway_is_used():
    """The units that rounding keeps are open: no channel of the result is 0 everywhere."""
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.4))
    spread(model)
    plan = tfgates.plan_pruning(model, round_to=8)
    rows = {row.name: row.units_left for row in plan.layers}
    for name, gate in (("conv2d_1", model.gates[0]), ("conv2d_3", model.gates[1])):
        values = plan.selection.values.get(gate, keras.ops.convert_to_numpy(gate.test_gates()))
        assert np.count_nonzero(values) == rows[name]


def test_widths_that_no_budget_holds_are_refused():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.1))
    message = (
        r"`budget` cannot be kept: with 12 units \(or all, where there are fewer\) left in each gated layer "
        r"\(for min_units=12\) it is exceeded\. What is left is held by .*\. Received: macs: .* for a budget of"
    )
    for call in (tfgates.plan_pruning, tfgates.prune, tfgates.cost):
        with pytest.raises(ValueError, match=message):
            call(model, min_units=12)
    with pytest.raises(ValueError, match=r"with 32 units .* left in each gated layer \(for round_to=32\)"):
        tfgates.plan_pruning(model, round_to=32)
    with pytest.raises(ValueError, match=message):
        tfgates.reestimate_statistics(model, (np.zeros((4, 10, 10, 3), "float32"),), min_units=12)


def test_ties_are_spread_in_proportion():
    """All gates alike, each layer keeps about the same share of its units, not all of the last ones."""
    model = tfgates.gate_model(network(), layers="conv.*", budget=tfgates.Budget(macs=0.4))
    plan = tfgates.plan_pruning(model)
    shares = [np.mean(plan.selection.values[gate] != 0.0) for gate in model.gates]
    assert max(shares) - min(shares) < 0.1
    again = tfgates.plan_pruning(model)
    assert all(np.array_equal(plan.selection.values[gate], again.selection.values[gate]) for gate in model.gates)


def test_closing_much_at_once_is_said():
    model = tfgates.gate_model(network(), layers="conv.*", budget=tfgates.Budget(macs=0.6))
    message = r"Training had not come down to the budget.* \(macs 1.00 of the dense cost, 0.[56]"
    with pytest.warns(tfgates.GatesWarning, match=message):
        tfgates.prune(model)
    for gate, values in tfgates.plan_pruning(model).selection.values.items():
        logits = np.where(values.ravel() > 0, 3.0, -3.0)
        # One unit more than fits, of some thirty.
        logits[np.argmin(logits)] = 1.0 if gate is model.gates[0] else -3.0
        gate.logits.assign(logits)
    assert tfgates.plan_pruning(model).chosen == [(model.gates[0].name, "closes 1")]
    assert tfgates.plan_pruning(model).selection.warning() is None


def test_opening_much_at_once_is_said():
    model = tfgates.gate_model(network(), layers="conv.*", budget=tfgates.Budget(macs=0.6))
    for gate in model.gates:
        gate.logits.assign(np.where(np.arange(gate.units) < 4, 3.0, -6.0))
    said = tfgates.plan_pruning(model).selection.warning()
    assert said.startswith("Training had closed more than the budget asks for: ") and re.search(
        "macs 0.1.* of the dense cost, 0.[56]", said
    )
    with pytest.warns(tfgates.GatesWarning, match="closed more than the budget asks for.*train longer with gates"):
        tfgates.prune(model)


def test_units_of_a_branch_that_goes_are_none_that_are_opened():
    """What a closed branch holds costs nothing, so all of it would fit."""
    inputs = keras.Input((8,))
    x = keras.layers.Dense(16, activation="relu", name="stem")(inputs)
    y = keras.layers.Dense(32, activation="relu", name="up")(x)
    x = keras.layers.Add()([x, keras.layers.Dense(16, name="down")(y)])
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    budget = tfgates.Budget(params=0.5)
    gated = tfgates.gate_model(model, residual=("inner", "block"), budget=budget, flattened=True)
    inner = [gate for gate in gated.gates if gate.axis is not None]
    (block,) = [gate for gate in gated.gates if gate.axis is None]
    block.logits.assign([-6.0])
    for gate in inner:
        gate.logits.assign(np.where(np.arange(gate.units) % 2, 3.0, -6.0))
    plan = tfgates.plan_pruning(gated)
    left = {row.name: row.units_left for row in plan.layers}
    assert left["up"] == 0
    assert "up" not in " ".join(name for name, _ in plan.chosen)


def folding(budget=None):
    """Closed channels leave constants, for which the convolution behind them gets a bias."""
    inputs = keras.Input((8, 8, 2))
    x = tfgates.layers.GatedConv2D(10, 3, use_bias=False, gate="hard_concrete")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(12, 1, use_bias=False, name="reader")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = tfgates.GatedModel(inputs, keras.layers.Dense(3)(x), budget=budget)
    model.get_layer("norm").beta.assign(np.full(10, 0.5))
    model.gates[0].logits.assign(np.linspace(1.0, 3.0, 10))
    return model


@pytest.fixture(params=[True, False], ids=["told", "untold"])
def told(request, monkeypatch):
    """Whether the rule says before training which biases may come; else the actual plan is chosen again."""
    if not request.param:
        monkeypatch.setattr(LinearRule, "bias_gained", lambda *arguments: [])
    return request.param


def test_biases_for_folded_constants_count(told):
    whole = tfgates.cost(folding()).dense_params
    for target in range(whole - 100, whole - 40, 20):
        model = folding(tfgates.Budget(params=target))
        pruned = tfgates.prune(model)
        assert pruned.get_layer("reader").use_bias
        # A unit is 34 parameters: as near as it goes.
        assert target - 34 < pruned.count_params() <= target


def test_a_budget_that_only_the_actual_network_exceeds_is_refused(told):
    """One unit of the ten costs 34 parameters, and the bias for the others 12."""
    least = tfgates.cost(folding()).dense_params - 9 * 34
    message = "`budget` cannot be kept.*Received: params: .* for a budget of"
    with pytest.raises(ValueError, match="`budget` cannot be reached: .* params is still" if told else message):
        tfgates.prune(folding(tfgates.Budget(params=least + 5)))
    assert tfgates.prune(folding(tfgates.Budget(params=least + 12))).count_params() == least + 12


@pytest.mark.parametrize("factor", [0.97, 0.6])
def test_the_network_itself_is_compared_with_the_budget(monkeypatch, factor):
    """Whatever the cost on symbols says, what is left fits: the choice is made again with less."""
    original = Widths.table
    monkeypatch.setattr(Widths, "table", lambda *args: factor * original(*args))
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.4))
    spread(model)
    plan = tfgates.plan_pruning(model)
    assert 0.3 * plan.dense_macs < plan.macs <= 0.4 * plan.dense_macs


def test_where_nothing_fits_it_is_said(monkeypatch):
    monkeypatch.setattr(Widths, "table", lambda *args: np.zeros((50, 2)))
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.4))
    for call in (tfgates.plan_pruning, tfgates.prune, tfgates.cost):
        with pytest.raises(ValueError, match="`budget` cannot be kept.*Received: macs: .* for a budget of 412,013"):
            call(model)
