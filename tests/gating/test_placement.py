"""Where gates go when the first place does not do."""

import keras
import numpy as np
import pytest

import tfgates
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import check

L = keras.layers


def network(*between, padding="same"):
    """A convolution with an activation, what is given, and a convolution that cannot take up constants."""
    inputs = keras.Input((10, 10, 3))
    x = L.Conv2D(12, 3, padding="same", activation="relu", name="first")(inputs)
    for layer in between:
        x = layer(x)
    x = L.Conv2D(6, 3, padding=padding, name="second")(x)
    return keras.Model(inputs, L.Dense(4, name="head")(L.GlobalAveragePooling2D()(x)))


BETWEEN = {
    "normalisation": lambda: [L.BatchNormalization(name="norm")],
    "dropout": lambda: [L.Dropout(0.3), L.BatchNormalization(name="norm")],
    "pooling": lambda: [L.LeakyReLU(), L.MaxPooling2D(), L.BatchNormalization(name="norm")],
}


@pytest.mark.parametrize("case", BETWEEN)
def test_a_gate_goes_behind_the_normalisation_where_it_does_nothing_before_it(case):
    keras.utils.set_random_seed(0)
    model = network(*BETWEEN[case]())
    gated = tfgates.gate_model(model)
    assert dict(gated.report.gated)["first"] == "12 units"
    assert isinstance(gated.get_layer("norm"), tfgates.layers.GatedBatchNormalization)
    randomise(gated, 3)
    generator = np.random.default_rng(1)
    for gate in gated.gates:
        close(gate, generator, 0.5)
    assert check(gated, min_units=1) == "smaller"
    small = tfgates.prune(gated, min_units=1)
    assert small.get_layer("first").filters < 12
    assert small.get_layer("norm").gamma.shape[0] == small.get_layer("first").filters


def test_a_gate_stays_where_it_does():
    gated = tfgates.gate_model(network(L.BatchNormalization(name="norm"), padding="valid"))
    assert isinstance(gated.get_layer("first"), tfgates.layers.GatedConv2D)
    assert type(gated.get_layer("norm")) is L.BatchNormalization


def test_no_gate_where_others_read_the_normalisation_s_inputs():
    inputs = keras.Input((10, 10, 3))
    x = L.Conv2D(12, 3, padding="same", activation="relu", name="first")(inputs)
    y = L.Conv2D(6, 3, padding="same", name="second")(L.BatchNormalization(name="norm")(x))
    outputs = [L.GlobalAveragePooling2D()(y), L.GlobalMaxPooling2D()(L.Conv2D(5, 1, name="third")(x))]
    model = keras.Model(inputs, [L.Dense(2, name=f"head{i}")(t) for i, t in enumerate(outputs)])
    report = tfgates.gate_model(model).report
    assert "its zero padding makes a closed channel's constant differ at the border" in dict(report.skipped)["first"]
    assert {"second", "third"} == set(dict(report.gated))


def test_a_shared_convolution_moves_with_all_its_calls():
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    shared = L.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    x = [L.BatchNormalization(name=f"norm{i}")(shared(t)) for i, t in enumerate(inputs)]
    x = [L.GlobalAveragePooling2D()(L.Conv2D(5, 3, padding="same", name=f"behind{i}")(t)) for i, t in enumerate(x)]
    model = keras.Model(inputs, L.Dense(3, name="head")(L.Concatenate()(x)))
    gated = tfgates.gate_model(model)
    (gate,) = (gate for gate in gated.gates if gate.units == 8)
    randomise(gated, 0)
    close(gate, np.random.default_rng(0), 0.5)
    assert check(gated, min_units=1) == "smaller"
    assert tfgates.prune(gated, min_units=1).get_layer("shared").filters < 8


def test_a_normalisation_of_another_axis_is_no_place():
    inputs = keras.Input((10, 10, 3))
    x = L.Conv2D(10, 3, padding="same", activation="relu", name="first")(inputs)
    x = L.Conv2D(6, 3, padding="same", name="second")(L.BatchNormalization(axis=1, name="norm")(x))
    gated = tfgates.gate_model(keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x))))
    assert "first" in dict(gated.report.skipped) and "second" in dict(gated.report.gated)
