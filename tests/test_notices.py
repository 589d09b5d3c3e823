"""Warnings: each at the user's line."""

import keras
import numpy as np
import pytest

import tfgates

X = np.ones((8, 4), "float32")


def gated():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, activation="relu")(inputs)
    return tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x)))


def lines(said):
    return {each.filename for each in said if each.category is tfgates.GatesWarning}


def test_within_functions_that_call_each_other():
    model = gated()
    for name, function in (("prune", tfgates.prune), ("finish", lambda model: tfgates.finish(model, (X, X[:, :2])))):
        with pytest.warns(tfgates.GatesWarning, match="removes nothing") as said:
            function(model)
        assert lines(said) == {__file__}, name


def test_within_callbacks_and_fit():
    model = gated()
    model.compile("sgd", "mse")
    model.gates[0].logits.assign(np.full(6, -20.0))
    with pytest.warns(tfgates.GatesWarning) as said:
        model.fit(X, X[:, :2], verbose=0, callbacks=[tfgates.callbacks.SparsityMonitor()])
    assert lines(said) == {__file__}
    texts = "".join(str(each.message) for each in said)
    assert "Nothing asks the gates" in texts and "All units of gate" in texts
