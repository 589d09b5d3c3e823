"""Dense layers whose kernels are stacked in one weight."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Keep
from tfgates.anatomy.declare import register_anatomy
from tfgates.anatomy.linear import LinearAnatomy
from tfgates.layers.stacked_dense import StackedDense


@register_anatomy(StackedDense)
class StackedDenseAnatomy(LinearAnatomy):
    """The same unit of each kernel is one unit."""

    variables = {"kernel": (..., "inputs", "outputs")}
    applied = "inputs"

    def declared(self, layer: Any) -> Mapping[str, tuple[Any, ...]]:
        read, kernel, made = layer.letters
        kinds = {read[-1]: "inputs", made[-1]: "outputs"}
        return {"kernel": tuple(kinds.get(letter) for letter in kernel)}

    def stacked(self, layer: Any) -> int:
        """How many kernels a place of what is read counts for as a place of its own."""
        read, kernel, _ = layer.letters
        sizes = zip(kernel, layer.kernel_shape, strict=True)
        return math.prod(size for letter, size in sizes if letter in read[:-1])

    def macs(self, layer: keras.Layer, places: Mapping[str, float], counts: Mapping[str, int] | None = None) -> float:
        return super().macs(layer, places, counts) / self.stacked(layer)

    def channel_axis(self, layer: keras.Layer, rank: int) -> int:
        return rank - 1

    def uniform(self, layer: keras.Layer) -> bool:
        # A constant becomes another one in each kernel.
        return False

    def may_have_bias(self, layer: keras.Layer) -> bool:
        return False

    def plain(self, layer: keras.Layer) -> type[keras.Layer]:
        return type(layer)

    def resize(self, layer: Any, config: dict[str, Any], keep: Keep) -> None:
        axes = self.declared(layer)["kernel"]
        config["kernel_shape"] = [
            int(np.sum(keep[kind])) if kind in keep else size
            for kind, size in zip(axes, layer.kernel_shape, strict=True)
        ]
