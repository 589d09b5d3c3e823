"""What the installed Keras computes wrongly is said by name, before training where it can be."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.graph.keras_faults import MISPLACED, astray, biases_go_astray, misplaced_bias
from tfgates.pruning.prune import PruningError

L = keras.layers
pytestmark = pytest.mark.skipif(not biases_go_astray(), reason="this Keras adds biases where they belong")


def network(filters, width, **settings):
    inputs = keras.Input((1, width, width))
    settings = {"padding": "same", "data_format": "channels_first", "activation": "relu", **settings}
    x = L.Conv2D(filters, 3, name="first", **settings)(inputs)
    x = L.Conv2D(filters, 3, name="second", **settings)(x)
    x = L.GlobalAveragePooling2D(data_format="channels_first")(x)
    return keras.Model(inputs, L.Dense(3, name="head")(L.Dense(5, activation="relu", name="hidden")(x)))


def test_the_fault():
    """If this fails, Keras has mended it, and the file can go."""
    layer = L.Conv2D(4, 1, data_format="channels_first")
    layer.build((None, 1, 4, 4))
    layer.bias.assign(np.arange(4.0))
    found = np.asarray(layer(np.zeros((1, 1, 4, 4), "float32")))
    np.testing.assert_array_equal(found[0, :, 0, 0], 0.0)
    assert misplaced_bias(layer, (None, 4, 4, 4)) == MISPLACED
    assert misplaced_bias(layer, (None, 4, 4, 5)) is None
    assert misplaced_bias(L.Conv2D(4, 1), (None, 4, 4, 4)) is None


def test_a_layer_that_is_as_wide_as_it_has_channels_stays_whole():
    report = tfgates.gate_model(network(8, 8)).report
    assert dict(report.gated).keys() == {"hidden"}
    assert dict(report.skipped)["second"].endswith(MISPLACED)
    assert set(dict(tfgates.gate_model(network(8, 8, use_bias=False)).report.gated)) == {"first", "second", "hidden"}


def test_pruning_to_that_width_is_refused_by_name():
    gated = tfgates.gate_model(network(12, 8))
    for variable in gated.trainable_weights:
        variable.assign(np.random.default_rng(0).uniform(0.2, 1.0, variable.shape))
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) < 8, 6.0, -6.0))
    with pytest.raises(PruningError, match=r"along the last axis.*Received: layers \['first', 'second'\]"):
        tfgates.prune(gated)
    gated.gates[0].logits.assign(np.where(np.arange(12) < 7, 6.0, -6.0))
    gated.gates[1].logits.assign(np.where(np.arange(12) < 9, 6.0, -6.0))
    small = tfgates.prune(gated)
    assert (small.get_layer("first").filters, small.get_layer("second").filters) == (7, 9)
    assert astray(small) == []
