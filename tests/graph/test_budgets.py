"""What is promised when an untrained network is gated holds for whatever its weights become."""

import keras
import numpy as np
import pytest

import tfgates
from benchmarks.applications import NETWORKS, SIZES, build, close, randomise
from tests.graph.test_properties import lambda_inside
from tfgates.costs.expected import ExpectedCost

KINDS = ("inner", "tied", "block")
SIZE = 64


def untrained(name):
    """The network at 64 x 64, or at the smallest size it takes above that."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    return build(name, max(SIZE, SIZES.get(name, 0)))


def train(model, generator):
    """Weights and statistics as training may leave them, those that start at 0 included."""
    randomise(model, generator)
    for layer in model._flatten_layers(include_self=False):
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(generator.uniform(0.5, 1.5, layer.gamma.shape))


def gate(model, residual, **settings):
    """The gated model, or None if its budget is refused when it is given, or a lambda in a nested model."""
    try:
        return tfgates.gate_model(model, residual=residual, **settings)
    except ValueError as error:
        refused = "has no layer that can be gated" in str(error) or "`budget` cannot be reached" in str(error)
        assert refused or lambda_inside(error)
        return None


def exceeded(gated, plan, expected=None, values=None):
    """The layers that cost more than was promised: `(name, params, macs, promised params, promised macs)`.

    Args:
        expected: the `ExpectedCost` that promised; by default made anew.
        values: dict from gates to the values that the plan is made for; by default those that it has.
    """
    expected = expected or ExpectedCost(gated)
    values = plan.selection.values if values is None else values
    tests = [values.get(g, np.asarray(g.test_gates())) for g in expected.gates]
    promised = expected.layers([(np.ravel(t) != 0.0).astype(float) for t in tests])
    calls: dict = {}
    for row in plan.layers:
        # The weights of a layer that is called several times, or shares them with others, are paid for once.
        node = plan.network.nodes[row.call]
        calls.setdefault(id(node.op) if node.tie is None else node.tie.calls, []).append(row)
    found = []
    for rows in calls.values():
        left = np.array([sum(row.params_left for row in rows), sum(row.macs_left for row in rows)])
        most = sum(promised[row.call] for row in rows)
        if np.any(left > most + 0.5):
            found.append((rows[0].name, *left, *most))
    return found


def land(name, residual):
    """The plan of a network that was gated untrained with a budget, and trained afterwards; None if refused."""
    generator = np.random.default_rng(0)
    gated = gate(untrained(name), residual, budget=tfgates.Budget(macs=0.5))
    if gated is None:
        return None
    train(gated, generator)
    close(gated, 0.2, generator)
    plan = tfgates.plan_pruning(gated)
    assert not plan.empty
    assert exceeded(gated, plan) == []
    assert plan.macs <= 0.5 * plan.dense_macs
    return plan


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "MobileNetV3Small"])
def test_a_network_gated_untrained_keeps_its_budget(name):
    plan = land(name, "inner")
    assert plan.macs > 0.45 * plan.dense_macs
    pruned = tfgates.prune(plan.model, plan=plan)
    assert pruned.count_params() == plan.params


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gated_untrained_keeps_its_budget(name):
    plans = (land(name, kind) for kind in KINDS)
    # Of one plan at a time: the largest networks fill the memory.
    found = {kind: plan and plan.macs / plan.dense_macs for kind, plan in zip(KINDS, plans, strict=True)}
    print(name, {kind: "refused" if share is None else f"{share:.4f}" for kind, share in found.items()})
    assert any(share is not None for share in found.values())
