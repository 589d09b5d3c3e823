"""Dense layers."""

import re
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Keep
from tfgates.anatomy.declare import register_anatomy
from tfgates.anatomy.linear import LinearAnatomy
from tfgates.layers import GatedDense


@register_anatomy(keras.layers.Dense, GatedDense)
class DenseAnatomy(LinearAnatomy):
    variables = {"kernel": ("inputs", "outputs"), "bias": ("outputs",)}
    widths = {"units": "outputs"}

    def channel_axis(self, layer: keras.Layer, rank: int) -> int:
        return rank - 1


@register_anatomy(keras.layers.EinsumDense)
class EinsumDenseAnatomy(DenseAnatomy):
    """Equations that are a dense layer on the last axis, such as "abc,cd->abd"."""

    widths = {}

    def obstacle(self, layer: Any) -> str | None:
        match = re.fullmatch(r"(.*)(\w),(\w)(\w)->(.*)(\w)", layer.equation.replace(" ", ""))
        dense = match and match[1] == match[5] and match[2] == match[3] and match[4] == match[6]
        if not match or not dense or match[2] in match[1] or match[4] in match[1] or len(layer.kernel.shape) != 2:
            return f"the equation {layer.equation!r} is no dense layer on the last axis"
        if layer.bias is not None and len(layer.bias.shape) != 1:
            return "its bias differs from place to place"
        return None

    def resize(self, layer: Any, config: dict[str, Any], keep: Keep) -> None:
        if "outputs" in keep:
            config["output_shape"] = (*layer.partial_output_shape[:-1], int(np.sum(keep["outputs"])))

    def add_bias(self, layer: Any, config: dict[str, Any]) -> None:
        config["bias_axes"] = layer.equation.strip()[-1]
