"""Weights as tensors."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Keep
from tfgates.anatomy.base import Anatomy
from tfgates.anatomy.declare import register_anatomy
from tfgates.layers.weight import Weight


@register_anatomy(Weight)
class WeightAnatomy(Anatomy):
    """The last axis has the channels, whatever reads them."""

    products = ()
    reads: Mapping[str, str] = {}

    def declared(self, layer: keras.Layer) -> Mapping[str, tuple[Any, ...]]:
        return {"value": (..., "outputs")} if layer.shape else {"value": ()}

    def plain(self, layer: keras.Layer) -> type[keras.Layer]:
        return type(layer)

    def resize(self, layer: keras.Layer, config: dict[str, Any], keep: Keep) -> None:
        if "outputs" in keep:
            config["shape"] = [*layer.shape[:-1], int(np.sum(keep["outputs"]))]
