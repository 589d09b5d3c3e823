"""A layer is its patches times its kernel, whatever its settings."""

import keras
import numpy as np
import pytest

from tfgates.reconstruction import linear

L = keras.layers
CASES = {
    "dense": (lambda: L.Dense(5, activation="relu"), (7, 3)),
    "conv1d": (lambda: L.Conv1D(4, 3, padding="same", activation="tanh"), (9, 3)),
    "conv1d_causal": (lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2), (9, 3)),
    "conv1d_causal_first": (lambda: L.Conv1D(4, 3, padding="causal", data_format="channels_first"), (3, 9)),
    "conv2d": (lambda: L.Conv2D(4, (3, 2), strides=2, padding="same", activation="relu"), (9, 8, 3)),
    "conv2d_dilated": (lambda: L.Conv2D(4, 3, dilation_rate=2), (9, 8, 3)),
    "conv2d_groups": (lambda: L.Conv2D(6, 3, groups=2, padding="same", use_bias=False), (5, 5, 4)),
    "conv2d_first": (lambda: L.Conv2D(4, 3, strides=2, data_format="channels_first"), (3, 9, 8)),
    "conv3d": (lambda: L.Conv3D(4, 2, padding="same"), (4, 5, 3, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_patches_times_kernel_are_the_outputs_before_the_activation(case):
    make, shape = CASES[case]
    layer = make()
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    layer(x)
    if layer.bias is not None:
        layer.bias.assign(np.linspace(-1.0, 1.0, layer.bias.shape[0]))
    assert linear.why_not(layer) is None
    kernel = np.asarray(layer.kernel).reshape(-1, layer.kernel.shape[-1])
    groups = linear.groups_of(layer)
    parts = np.split(kernel, groups, axis=1)
    made = np.concatenate([linear.patches(layer, x, g) @ parts[g] for g in range(groups)], axis=1)
    bias = 0.0 if layer.bias is None else np.asarray(layer.bias)
    expected = linear.before_activation(layer, x)
    np.testing.assert_allclose(made + bias, expected, atol=1e-5)
    # The activation is back, and was left out.
    outputs = np.moveaxis(np.asarray(layer(x)), linear.channel_axis(layer), -1).reshape(expected.shape)
    np.testing.assert_allclose(layer.activation(expected), outputs, atol=1e-6)


def test_the_change_goes_to_the_units_of_its_group():
    layer = L.Conv2D(6, 3, groups=2)
    layer.build((None, 5, 5, 4))
    before = np.array(layer.kernel)
    linear.add_to_weights(layer, 1, np.ones((18, 3), "float32"))
    expected = before + np.r_[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(np.asarray(layer.kernel), expected, atol=1e-6)


@pytest.mark.parametrize(
    "layer, reason",
    [
        (L.DepthwiseConv2D(3), "DepthwiseConv2D is no Dense"),
        (L.Conv2DTranspose(3, 2), "Conv2DTranspose is no"),
        (L.LSTM(3), "LSTM is no"),
    ],
)
def test_what_is_no_such_map_is_said(layer, reason):
    assert reason in linear.why_not(layer)


def test_a_quantized_layer_is_left_alone():
    layer = L.Dense(4)
    layer.build((None, 8))
    layer.quantize("int8")
    assert "quantized" in linear.why_not(layer)
