"""One of two tensors, place by place: what is 0 in both is 0."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates.gates import HardConcreteGate

K = keras.layers


def network(choose):
    """A gate with every other unit closed, and what `choose` makes of it and of a condition."""
    inputs = keras.Input((5, 4))
    gate = HardConcreteGate(axis=-1)
    x = gate(K.Dense(6, name="dense")(inputs))
    model = keras.Model(inputs, K.Dense(2, name="out")(choose(inputs[..., :1] > 0.0, x)))
    gate.logits.assign(np.where(np.arange(6) % 2, -5.0, 5.0))
    return model


@pytest.mark.parametrize(
    ("choose", "left"),
    [
        (lambda c, x: ops.where(c, ops.zeros_like(x), x), 3),
        (lambda c, x: ops.where(c, x, 0.0), 3),
        (lambda c, x: ops.where(c, 0.0, ops.relu(x)), 3),
        (lambda c, x: ops.where(c, x, 1.0), 6),
        (lambda c, x: ops.where(c, ops.sigmoid(x), 0.5), 3),
        (lambda c, x: ops.where(c, x, ops.ones_like(x)), 6),
    ],
)
def test_what_is_the_same_in_both_is_a_constant(choose, left):
    keras.utils.set_random_seed(0)
    model = network(choose)
    pruned = tfgates.prune(model)
    assert pruned.get_layer("out").kernel.shape[0] == left
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    np.testing.assert_allclose(np.array(pruned(x)), np.array(model(x)), rtol=1e-4, atol=1e-5)
