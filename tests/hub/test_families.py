"""Backbones of KerasHub: gated ones compute what they did, and pruned ones what the gated ones do."""

import contextlib

import keras
import numpy as np
import pytest

import tfgates
from tests.hub import families

hub = pytest.importorskip("keras_hub")

pytestmark = pytest.mark.slow


def outputs(model, x):
    return [np.asarray(keras.ops.convert_to_numpy(y)) for y in keras.tree.flatten(model(x))]


def assert_alike(first, second, x):
    for a, b in zip(outputs(first, x), outputs(second, x), strict=True):
        assert np.abs(a - b).max() <= 1e-4 * max(np.abs(a).max(), 1.0)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_half_of_the_heads_and_units_go(name):
    model = families.backbone(hub, name)
    gated = tfgates.gate_model(model, length=9)
    kinds = [what for _, what in gated.report.gated]
    assert any("heads" in what for what in kinds) and any("units" in what for what in kinds)
    with contextlib.ExitStack() as stack:
        for gate in gated.gates:
            stack.enter_context(gate.held(np.ones(gate.units)))
        assert_alike(model, gated, families.data(model, 9))
    for gate in gated.gates:
        logits = np.where(np.arange(gate.units) % 2, 4.6, -4.6)
        # One that is neither open nor closed.
        logits[-1] = 0.2
        gate.logits.assign(logits)
    plan = tfgates.plan_pruning(gated)
    small = tfgates.prune(gated, plan=plan)
    assert small.count_params() == plan.params < model.count_params()
    for steps in (9, 6):
        assert_alike(gated, small, families.data(model, steps))
