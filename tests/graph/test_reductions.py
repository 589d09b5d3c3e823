"""Reductions over the channels: those that are 0 go, and what is left is as if they were there."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates

K = keras.layers

REDUCTIONS = {
    "mean": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "mean over all": lambda x: ops.mean(x, axis=(1, 2)),
    "sum": lambda x: ops.sum(x, axis=-1),
    "max": lambda x: ops.max(x, axis=2),
    "amax": lambda x: ops.amax(x, axis=-1),
    "min": lambda x: ops.min(x, axis=-1, keepdims=True),
    "amin": lambda x: ops.amin(x, axis=(1, 2)),
    "squares": lambda x: x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-3),
    "any": lambda x: ops.cast(ops.any(x > 0.3, axis=-1), "float32"),
}


def network(function):
    inputs = keras.Input((3, 4))
    hidden = K.Dense(6, activation="elu", name="hidden")(inputs)
    # What is larger, or smaller, than 0 in all channels shows whether those that went count.
    reduced = [function(hidden), function(hidden - 9.0 * ops.sign(hidden) * hidden), function(hidden * 3.0)]
    flat = [K.Flatten()(y) for y in reduced]
    return keras.Model(inputs, K.Dense(2, name="last")(K.Concatenate()(flat)))


@pytest.mark.parametrize("kind", REDUCTIONS)
def test_channels_that_are_0_go(kind):
    keras.utils.set_random_seed(0)
    gated = tfgates.gate_model(network(REDUCTIONS[kind]))
    assert dict(gated.report.gated) == {"hidden": "6 units"}
    gated.gates[0].logits.assign(np.where(np.arange(6) < 2, 3.0, -4.0))
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert pruned.get_layer("hidden").units == 2 and plan.params == pruned.count_params()
    x = np.random.default_rng(0).normal(size=(40, 3, 4)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(gated(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_channels_that_are_another_constant_stay(kind):
    inputs = keras.Input((3, 4))
    gate = tfgates.gates.HardConcreteGate(name="gate")
    hidden = ops.sigmoid(gate(K.Dense(6, name="hidden")(inputs)))
    gated = tfgates.GatedModel(inputs, K.Dense(2)(K.Flatten()(REDUCTIONS[kind](hidden))))
    gate.logits.assign(np.where(np.arange(6) < 2, 3.0, -4.0))
    plan = tfgates.plan_pruning(gated)
    assert plan.params == plan.dense_params and "reads a constant other than 0" in str(plan)


@pytest.mark.parametrize("function", [ops.prod, ops.std, ops.logsumexp], ids=lambda function: function.__name__)
def test_other_reductions_keep_all(function):
    inputs = keras.Input((3, 4))
    hidden = K.Dense(6, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, K.Dense(2)(function(hidden, axis=-1)))
    with pytest.raises(ValueError, match="it runs over the channels too"):
        tfgates.gate_model(model)
