"""The cost of a choice of units in the space of groups equals the expected cost at 0 and 1."""

import keras
import numpy as np
import pytest

import tfgates
from tests.graph.random_networks import random_network, randomise
from tfgates.costs import ExpectedCost

# Random networks hand masks to layers that know of none.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking")


def random_model(seed, steps=10):
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = random_network(lambda options: options[rng.integers(len(options))], steps)
    randomise(model, seed)
    return model


@pytest.mark.parametrize("seed", range(12))
def test_costs_of_choices(seed):
    cost = ExpectedCost(random_model(seed))
    rng = np.random.default_rng(seed)
    for share in (0.0, 0.3, 0.7, 1.0):
        values = [(rng.random(gate.units) < share).astype(float) for gate in cost.gates]
        found, expected = cost.widths.costs(values), cost.layers(values)
        # The expectation takes for granted what units leave of a layer that several of them keep.
        assert np.all((found <= expected + 1e-3) | np.isnan(expected))
        if share in (0.7, 1.0):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


def test_a_layer_costs_what_its_units_cost():
    """By hand: 6 inputs, 3 of 8 and 1 of 4 units open."""
    inputs = keras.Input((6,))
    x = tfgates.layers.GatedDense(8, gate="hard_concrete")(inputs)
    x = tfgates.layers.GatedDense(4, gate="hard_concrete")(x)
    cost = ExpectedCost(tfgates.GatedModel(inputs, keras.layers.Dense(2)(x)))
    table = cost.widths.costs([np.arange(8) < 3, np.arange(4) == 2])
    np.testing.assert_array_equal(table, [[7 * 3, 6 * 3], [4 * 1, 3 * 1], [2 * 2, 2]])


@pytest.mark.parametrize("seed", range(12))
def test_what_is_chosen_under_a_budget_never_costs_more(seed):
    """Whatever the graph, the weights and the widths that are asked for: kept, or refused."""
    model = random_model(seed)
    cost = ExpectedCost(model)
    if not cost.gates or np.isnan(cost.dense_macs):
        return
    rng = np.random.default_rng(seed)
    least = np.nansum(cost.layers(cost.least_open())[:, 0]) / cost.dense_params
    target = float(least + (1.0 - least) * rng.uniform(0.1, 0.9))
    budgeted = tfgates.GatedModel(model.inputs, model.outputs, budget=tfgates.Budget(params=target))
    for round_to in (1, 2):
        try:
            plan = tfgates.plan_pruning(budgeted, round_to=round_to)
        except ValueError as error:
            assert "`budget` cannot be kept" in str(error)
            continue
        assert plan.params <= target * plan.dense_params
