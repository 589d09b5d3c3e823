"""Random networks, gated untrained: whatever their weights become, they cost no more than was promised."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfgates
from tests.graph.random_networks import close, random_network, randomise
from tests.graph.test_budgets import exceeded, gate
from tests.graph.test_properties import RESIDUAL, SETTINGS, cannot_be_called, from_generator
from tfgates.costs.expected import ExpectedCost
from tfgates.graph.network import Network
from tfgates.pruning.plan import PruningPlan
from tfgates.selection import Unchanged, held

# Keras says so of each layer that does not hand a mask on.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not support masking"),
    # Of an axis that pooling or pruning has brought to one.
    pytest.mark.filterwarnings("ignore:(.|\\n)*You are using a softmax over axis"),
]

GATES = ["hard_concrete", "disarm", "scaling"]
BUDGETS = [{"macs": 0.5}, {"params": 0.5}, {"macs": 0.6, "per_layer": True}, {"params": 0.7, "per_layer": True}]


def check_promise(draw, steps, seed):
    """Gates a random network before it has ever been trained, and prunes it after; returns what came of it."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    own = draw([True, False, False, False])
    model = random_network(draw, steps, gated=own)
    if cannot_be_called(Network(model)):
        return "fails by itself"
    found = "kept"
    if not own:
        settings = {"gate": draw(GATES), "residual": draw(RESIDUAL)}
        budget = tfgates.Budget(**draw(BUDGETS))
        gated = gate(model, budget=budget, **settings)
        found = "landed" if gated is not None else "refused"
        model = gate(model, **settings) if gated is None else gated
    if model is None:
        return "no place"
    expected = ExpectedCost(model)
    randomise(model, seed, closed=0.2)
    generator = np.random.default_rng(seed)
    for _ in range(2):
        values = {g: some_open(g, generator) for g in expected.gates}
        with held(values):
            plan = PruningPlan(model, selection=Unchanged())
        assert plan.empty or exceeded(model, plan, expected, values) == []
    if found == "landed":
        for g in expected.gates:
            close(g, generator, 0.2)
        for g in expected.gates:
            if g.axis is not None and not np.any(np.asarray(g.test_gates())):
                close(g, generator, 0.0)
        plan = tfgates.plan_pruning(model)
        for bound in model._structure.bounds:
            rows = [row for row in plan.layers if bound.layer in (None, row.call)]
            left = sum(row.params_left if bound.name == "params" else row.macs_left for row in rows)
            assert left <= bound.target, (bound, left, bound.target)
        if plan.empty:
            return "empty"
        assert tfgates.prune(model, plan=plan).count_params() == plan.params
    return found


def some_open(g, generator):
    """Gate values of 0 and 1; 1 for one unit at least, except in a gate on a whole branch."""
    values = (generator.random(g.units) < 0.5).astype("float32")
    if g.axis is not None and not values.any():
        values[int(generator.integers(len(values)))] = 1.0
    return values.reshape(g.unit_shape)


@settings(max_examples=12, **SETTINGS)
@given(data=st.data(), steps=st.integers(3, 10), seed=st.integers(0, 2**16))
def test_networks_gated_untrained_cost_what_was_promised(data, steps, seed):
    check_promise(lambda options: data.draw(st.sampled_from(options)), steps, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_two_thousand_networks_gated_untrained(seed):
    generator = np.random.default_rng(seed)
    found: dict[str, int] = {}
    for _ in range(100):
        word = check_promise(from_generator(generator), int(generator.integers(3, 14)), int(generator.integers(2**16)))
        found[word] = found.get(word, 0) + 1
    assert found.get("landed", 0) > 10, found
