"""A graph made again: the names of outputs, which losses and logs go by."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.graph.rebuild import named

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = {"cls": np.eye(3, dtype="float32")[np.arange(16) % 3], "reg": X[:, :1]}
LOSS = {"cls": "categorical_crossentropy", "reg": "mse"}


def head(name, units, **arguments):
    layers = [keras.layers.Dense(12, activation="relu"), keras.layers.Dense(units, **arguments)]
    return keras.Sequential(layers, name=name)


def network(structure=list):
    inputs = keras.Input((6,))
    x = keras.layers.Dense(24, activation="relu")(inputs)
    outputs = [head("cls", 3, activation="softmax")(x), head("reg", 1)(x)]
    return keras.Model(inputs, outputs if structure is list else dict(zip(("cls", "reg"), outputs, strict=True)))


@pytest.mark.parametrize("structure", [list, dict])
def test_outputs_of_nested_models_keep_their_names(structure, tmp_path):
    model = network(structure)
    model.compile("sgd", LOSS)
    gated = tfgates.gate_model(model, budget=tfgates.Budget(params=0.5))
    gated.compile("sgd", LOSS)
    logs = gated.fit(X, Y, verbose=0).history
    assert {"cls_loss", "reg_loss"} <= set(logs)
    for small in (tfgates.prune(gated), tfgates.prune_by(model, tfgates.Budget(params=0.5))):
        assert small.output_names == ["cls", "reg"]
        assert set(small.evaluate(X, Y, verbose=0, return_dict=True)) >= {"loss", "cls_loss", "reg_loss"}
        small.save(tmp_path / "small.keras")
        again = keras.saving.load_model(tmp_path / "small.keras")
        assert again.output_names == ["cls", "reg"]
        np.testing.assert_allclose(
            *(keras.tree.flatten(each.predict(X, verbose=0))[0] for each in (small, again)), rtol=1e-6
        )


def test_one_output_is_left_alone():
    inputs = keras.Input((6,))
    one = keras.Model(inputs, head("cls", 3)(inputs))
    assert [type(layer).__name__ for layer in tfgates.gate_model(one).layers] == ["InputLayer", "GatedDense", "Dense"]


def test_a_name_that_a_layer_behind_the_output_has_is_not_given_twice():
    """As where a gate on a whole layer changes what the last normalisation makes."""
    inputs = keras.Input((3,))
    last = keras.layers.Dense(4, name="last")(inputs)
    outputs = [keras.layers.Dense(2, name="changed")(last), keras.layers.Dense(2, name="other")(inputs)]
    found = named(outputs, ["last", "second"], {"last", "changed", "other"})
    assert [tensor._keras_history.operation.name for tensor in found] == ["changed", "second"]
    assert keras.Model(inputs, found).output_names == ["changed", "second"]


def test_gates_on_whole_layers_hide_the_layer_that_an_output_is_called_by():
    inputs = keras.Input((7, 6))
    x = keras.layers.Dense(6)(keras.layers.Dense(8, activation="relu")(inputs))
    x = keras.layers.LayerNormalization(name="norm")(keras.layers.Add()([inputs, x]))
    model = keras.Model(inputs, [x, keras.layers.Dense(2, name="head")(x)])
    gated = tfgates.gate_model(model, residual=("inner", "layer"))
    assert any(gate.axis is None for gate in gated.gates)
    assert gated.get_layer("norm") is not None and gated.output_names[1] == "head"
    assert gated.output_names[0] != "norm"
