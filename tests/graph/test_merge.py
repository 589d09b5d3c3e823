"""Additions whose operands are constants: the addition goes, the constants stay."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.gates import HardConcreteGate

K = keras.layers


def network(merge, activation):
    """`merge(x, activation(z * f(x)))` with the gate on f closed."""
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(4, 3, activation="relu", name="stem")(inputs)
    gate = HardConcreteGate(axis=None)
    y = K.Activation(activation)(gate(K.Conv2D(4, 1, name="branch")(x)))
    x = K.Conv2D(3, 1)(merge([x, y]))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(x)))
    gate.logits.assign([-5.0])
    return model


@pytest.mark.parametrize(("activation", "constant"), [("relu", 0.0), ("sigmoid", 0.5), ("softplus", np.log(2.0))])
def test_a_closed_branch_leaves_its_constant(activation, constant):
    model = network(K.Add(), activation)
    plan = tfgates.plan_pruning(model)
    assert plan.dropped == ["branch"]
    pruned = tfgates.prune(model, plan=plan)
    assert not any(isinstance(layer, K.Add) for layer in pruned.layers)
    shifts = [layer.offset for layer in pruned.layers if isinstance(layer, K.Rescaling)]
    assert shifts == ([pytest.approx(constant)] if constant else [])


@pytest.mark.parametrize("merge", [K.Subtract, K.Multiply, K.Maximum, K.Minimum, K.Average])
def test_other_merges_keep_the_operand(merge):
    model = network(merge(), "sigmoid")
    plan = tfgates.plan_pruning(model)
    assert plan.dropped == []
    assert tfgates.prune(model, min_units=1).count_params() <= plan.dense_params


def test_a_product_with_zero_is_zero():
    model = network(K.Multiply(), "relu")
    with pytest.raises(tfgates.pruning.ClosedLayerError):
        tfgates.prune(model)
