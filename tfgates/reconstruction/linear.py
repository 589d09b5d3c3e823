"""Dense layers and convolutions as linear maps of patches of their inputs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.anatomy import anatomy_of
from tfgates.anatomy.convolution import ConvolutionAnatomy
from tfgates.anatomy.dense import DenseAnatomy

# Of which others with more to them are subclasses.
KINDS = (DenseAnatomy, ConvolutionAnatomy)


def why_not(layer: keras.Layer) -> str | None:
    """Why the weights of a layer cannot be found by least squares, or None where they can."""
    if type(anatomy_of(layer)) not in KINDS:
        return f"{type(layer).__name__} is no Dense, Conv1D, Conv2D or Conv3D"
    if getattr(layer, "quantization_mode", None) is not None or getattr(layer, "lora_enabled", False):
        return "it is quantized or has LoRA weights"
    return None


def channel_axis(layer: Any) -> int:
    """The axis of the outputs, counted from the end, that carries the channels."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return -1 - layer.rank if first else -1


def before_activation(layer: Any, x: Any) -> np.ndarray:
    """What a layer computes before its activation, `(positions, units)` in float32."""
    with _without_activation(layer):
        y = layer(x)
    return _rows(ops.moveaxis(y, channel_axis(layer), -1))


@contextlib.contextmanager
def _without_activation(layer: Any) -> Iterator[None]:
    activation, layer.activation = layer.activation, None
    try:
        yield
    finally:
        layer.activation = activation


def patches(layer: Any, x: Any, group: int) -> np.ndarray:
    """What the kernel is multiplied with at each position, `(positions, entries of a filter)` in float32."""
    if isinstance(anatomy_of(layer), DenseAnatomy):
        return _rows(x)
    *sizes, inputs, _ = layer.kernel.shape
    columns = int(np.prod(sizes)) * inputs
    axis = channel_axis(layer) % len(x.shape)
    x = ops.take(x, np.arange(group * inputs, (group + 1) * inputs), axis=axis)
    padding = layer.padding
    if padding == "causal":
        before = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
        widths = [(0, 0)] * 3
        widths[1 if axis == 2 else 2] = (before, 0)
        x, padding = ops.pad(x, widths), "valid"
    # A filter for each entry of a patch.
    unit: np.ndarray = np.eye(columns, dtype="float32").reshape(*sizes, inputs, columns)
    found = ops.conv(
        ops.cast(x, "float32"),
        unit,
        strides=list(layer.strides),
        padding=padding,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
    )
    return _rows(ops.moveaxis(found, axis, -1))


def groups_of(layer: Any) -> int:
    """The number of groups of channels that a layer keeps apart."""
    return getattr(layer, "groups", 1)


def add_to_weights(layer: Any, group: int, change: np.ndarray) -> None:
    """Adds `change`, `(entries of a filter, units of the group)`, to the kernel."""
    kernel = np.array(ops.convert_to_numpy(layer.kernel), "float32")
    flat = kernel.reshape(-1, kernel.shape[-1])
    units = flat.shape[1] // groups_of(layer)
    flat[:, group * units : (group + 1) * units] += change
    layer.kernel.assign(flat.reshape(kernel.shape))


def _rows(x: Any) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(ops.reshape(x, (-1, x.shape[-1])), "float32"))
