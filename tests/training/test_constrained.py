"""What a model is asked for is said when it is made."""

import keras
import numpy as np
import pytest

import tfgates


def network():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(8, activation="relu")(inputs)))


@pytest.mark.parametrize("name, value", [("budget", tfgates.Budget(macs=0.3)), ("penalty", {"macs": 1.0})])
@pytest.mark.parametrize("given", [{}, {"budget": tfgates.Budget(macs=0.8)}, {"penalty": {"macs": 0.5}}])
def test_it_cannot_be_changed_afterwards(name, value, given):
    """Nothing would come of it, until the model was saved and loaded."""
    model = tfgates.gate_model(network(), **given)
    message = rf"`{name}` is given when a model is made.*GatedModel\(model.inputs.*Received: {name}=.* in place of "
    with pytest.raises(AttributeError, match=message):
        setattr(model, name, value)
    assert getattr(model, name) == given.get(name)


def test_the_way_that_the_message_tells():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.8))
    other = tfgates.GatedModel(
        model.inputs, model.outputs, budget=tfgates.Budget(macs=0.3), dense_reference=model.dense_reference
    )
    other.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    other.fit(x, x[:, :2], epochs=60, batch_size=8, verbose=0)
    assert other.gates == model.gates
    left = tfgates.cost(tfgates.prune(other)).macs / tfgates.cost(network()).macs
    assert 0.15 < left <= 0.3
