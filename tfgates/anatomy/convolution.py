"""Convolutions: plain, grouped, transposed, depthwise, separable."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Keep
from tfgates.anatomy.declare import register_anatomy
from tfgates.anatomy.linear import ChannelAnatomy, LinearAnatomy
from tfgates.layers import GatedConv2D

layers = keras.layers


def unpadded(layer: Any) -> bool:
    """Whether all places see the same number of inputs."""
    return layer.padding == "valid" or max(layer.kernel_size) == 1


@register_anatomy(layers.Conv1D, layers.Conv2D, layers.Conv3D, GatedConv2D)
class ConvolutionAnatomy(LinearAnatomy):
    variables = {"kernel": (..., "inputs", "outputs"), "bias": ("outputs",)}
    widths = {"filters": "outputs"}

    def uniform(self, layer: Any) -> bool:
        return unpadded(layer)

    # What is more with groups: which inputs an output has shows in its place.

    def parts(self, layer: Any) -> int:
        return layer.groups

    def declared(self, layer: Any) -> Mapping[str, tuple[Any, ...]]:
        return self.variables if layer.groups == 1 else {**self.variables, "kernel": (..., "outputs")}

    def counts(self, layer: Any) -> dict[str, int]:
        return {**super().counts(layer), "inputs": layer.kernel.shape[-2] * layer.groups}

    def resize(self, layer: Any, config: dict[str, Any], keep: Keep) -> None:
        super().resize(layer, config, keep)
        if layer.groups > 1 and "outputs" in keep:
            config["groups"] = config["filters"] // (len(keep["outputs"]) // layer.groups)

    def mixing(self, layer: Any, values: Mapping[str, np.ndarray]) -> np.ndarray:
        if layer.groups == 1:
            return super().mixing(layer, values)
        kernel, counts = values["kernel"], self.counts(layer)
        matrix = kernel.sum(axis=tuple(range(kernel.ndim - 2)), dtype=np.float64)
        owner_in, owner_out = (np.arange(counts[k]) // (counts[k] // layer.groups) for k in ("inputs", "outputs"))
        return np.where(owner_in[:, None] == owner_out, np.tile(matrix, (layer.groups, 1)), 0.0)


@register_anatomy(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
class TransposedAnatomy(LinearAnatomy):
    variables = {"kernel": (..., "outputs", "inputs"), "bias": ("outputs",)}
    widths = {"filters": "outputs"}
    applied = "inputs"

    def uniform(self, layer: Any) -> bool:
        # Even unpadded, its border sees fewer taps than its middle.
        return max(layer.kernel_size) == 1 and max(layer.strides) == 1


@register_anatomy(layers.SeparableConv1D, layers.SeparableConv2D)
class SeparableAnatomy(LinearAnatomy):
    variables = {
        "depthwise_kernel": (..., "inputs", None),
        "pointwise_kernel": (..., "inputs", "outputs"),
        "bias": ("outputs",),
    }
    widths = {"filters": "outputs"}
    products = ("depthwise_kernel", "pointwise_kernel")

    def uniform(self, layer: Any) -> bool:
        return unpadded(layer)

    def mixing(self, layer: Any, values: Mapping[str, np.ndarray]) -> np.ndarray:
        depthwise, pointwise = values["depthwise_kernel"], values["pointwise_kernel"]
        first = depthwise.sum(axis=tuple(range(depthwise.ndim - 2)), dtype=np.float64)
        return np.einsum("im,imo->io", first, pointwise.reshape(*first.shape, -1))


@register_anatomy(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
class DepthwiseAnatomy(ChannelAnatomy):
    """Of an input as many outputs in a row as the depth multiplier says."""

    variables = {"kernel": (..., "channels", None), "bias": ("channels",)}
    products = ("kernel",)

    def uniform(self, layer: Any) -> bool:
        return unpadded(layer)

    def may_have_bias(self, layer: Any) -> bool:
        return True

    def filters(self, layer: Any, values: Mapping[str, np.ndarray], kind: str = "outputs") -> np.ndarray:
        kernel = values["kernel"]
        return kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1]).T
