"""Gates that stand alone go into the weights before or behind them; no layer of theirs is left."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.gates import HardConcreteGate


def pruned_layers(build, rng_seed=0):
    """Class names of the layers left when the network `build` has its gates set at random."""
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, build(inputs))
    rng = np.random.default_rng(rng_seed)
    for layer in model.layers:
        if isinstance(layer, HardConcreteGate):
            layer.logits.assign(np.where(rng.random(layer.units) < 0.4, -4.0, rng.uniform(-1.0, 1.0, layer.units)))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(size=layer.bias.shape))
    small = tfgates.prune(model)
    x = rng.normal(size=(3, 8, 8, 2)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(small(x, training=False)), expected, rtol=1e-4, atol=1e-5)
    return [type(layer).__name__ for layer in small.layers]


def conv(**arguments):
    return keras.layers.Conv2D(6, 3, **arguments)


CASES = {
    "into the convolution before": lambda x: conv()(HardConcreteGate()(conv()(x))),
    "through a relu": lambda x: conv()(HardConcreteGate()(conv(activation="relu")(x))),
    "into the batch normalisation before": lambda x: conv()(
        HardConcreteGate()(keras.layers.BatchNormalization()(conv(use_bias=False)(x)))
    ),
    "into the convolution behind": lambda x: conv()(HardConcreteGate()(keras.layers.ReLU()(conv()(x)))),
    "into the dense layer behind a flattening": lambda x: keras.layers.Dense(3)(
        HardConcreteGate()(keras.layers.Flatten()(conv(activation="tanh")(x)))
    ),
    "into the transposed convolution before": lambda x: conv()(
        HardConcreteGate()(keras.layers.Conv2DTranspose(6, 3, activation="relu")(x))
    ),
    "into the transposed convolution behind": lambda x: keras.layers.Conv2DTranspose(4, 3)(
        HardConcreteGate()(keras.layers.ReLU()(conv()(x)))
    ),
    "into the separable convolution before": lambda x: conv()(
        HardConcreteGate()(keras.layers.SeparableConv2D(6, 3, depth_multiplier=2)(x))
    ),
    "into the separable convolution behind": lambda x: keras.layers.SeparableConv2D(4, 3, depth_multiplier=2)(
        HardConcreteGate()(keras.layers.Activation("tanh")(conv()(x)))
    ),
    "into the einsum before": lambda x: conv()(
        HardConcreteGate()(keras.layers.EinsumDense("abcd,de->abce", (8, 8, 6), bias_axes="e")(x))
    ),
    "past dropout": lambda x: keras.layers.Dense(3)(
        keras.layers.Dropout(0.5)(HardConcreteGate()(keras.layers.Flatten()(conv(activation="tanh")(x))))
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_no_layer_is_left_of_the_gate(case):
    assert "Rescaling" not in pruned_layers(CASES[case])


def two_readers(x):
    gated = HardConcreteGate()(keras.layers.ReLU()(conv()(x)))
    return keras.layers.Concatenate()([conv()(gated), keras.layers.Cropping2D(1)(gated)])


def test_a_plain_layer_scales_where_no_weights_can():
    assert "Rescaling" in pruned_layers(two_readers)


def test_flattened_positions_are_gated_and_picked():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Flatten()(conv(activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dropout(0.2)(x)))
    gated = tfgates.gate_model(model, flattened=True)
    assert ("flatten", "216 units") in gated.report.gated
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) % 4 == 0, -4.0, 2.0))
    small = tfgates.prune(gated)
    kernel = small.layers[-1].kernel
    # Channels 0 and 4 of 6 are closed, and every fourth of the 216 positions.
    left = sum(position % 4 != 0 and position % 6 not in (0, 4) for position in range(216))
    assert kernel.shape == (left, 3)
    assert tfgates.cost(gated).params == small.count_params()
